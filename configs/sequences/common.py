"""What the studies of class sequences share: scales, training and evaluation.

The part after the colon of `--config=FILE:WORDS` names a scale:

    reference   three seeds, minutes to an hour on 2 cores; what docs/reference shows, and what runs without any word
    quick       one seed, a minute or two: shapes, no claims
"""

from __future__ import annotations

import dataclasses

import icl_sim as icl
from icl_sim.studies.claims import Value
from icl_sim.studies.figures import Quantity

NETWORK = "network"
# What a figure says of the evaluation sets (docs/sequences.md).
ICL = Quantity("error", "icl", "New classes (in-context)")
ICL_RESTRICTED = Quantity("restricted_error", "icl", "New classes, of the context's labels")
SWAP = Quantity("error", "swap", "Labels one further (in-context)")
IWL = Quantity("error", "iwl", "Not in the context (in-weight)")
CIWL = Quantity("error", "ciwl", "Label shown elsewhere (in-weight)")
CIWL_RESTRICTED = Quantity("restricted_error", "ciwl", "Label shown elsewhere, of the context's labels")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of a study to run."""

    steps: int
    seeds: int
    points: int


def of(metric: str, eval_set: str = "icl", predictor: str = NETWORK, **where) -> Value:
    return Value(predictor=predictor, metric=metric, eval_set=eval_set, where=where)


def training(scale: Scale, learning_rate: float) -> icl.Training:
    """Adam at a constant rate on batches of 128."""
    return icl.Training(steps=scale.steps, batch_size=128, learning_rate=learning_rate)


def evaluation(scale: Scale) -> icl.Evaluation:
    return icl.Evaluation(sequences=512, batch_size=128, points=scale.points)
