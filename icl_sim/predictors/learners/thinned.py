"""Which prefixes a dear learner is fitted on, where it is not fitted on all."""

from __future__ import annotations

import numpy as np

from icl_sim.predictors.learners.prefixes import Prefixes


def thinned(asked: Prefixes, every: int) -> tuple[np.ndarray, np.ndarray]:
    """The lengths of the prefixes to fit, multiples of `every`, and for each of the P questions the number of the
    longest of them that it may look at. Both are structure: they depend on shapes alone."""
    slots, questions = asked.x_BLX.shape[1] + 1, asked.query_BPX.shape[1]
    length_P = np.arange(slots - questions, slots) // every * every
    return np.unique(length_P, return_inverse=True)
