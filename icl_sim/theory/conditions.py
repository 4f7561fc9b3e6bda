"""The bounds as a study: conditions instead of sequences, and each bound as a predictor of the cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from icl_sim.theory import bounds
from icl_sim.types import Batch, Key, Leaf, Predictor, Task, setting


@setting
class Conditions(Task):
    """What the bounds of Chan et al. 2025 depend on. Nothing is drawn: its predictors `calculate`.

    Attributes:
      exposures: N_x, how many training queries were equal to x.
      irrelevant: k, how many labels of the context are not the query's.
      context_length: L.
      label_noise: eps.
      distance_range: the largest minus the smallest squared distance of an item from the query.
      temperature: of the in-context predictor's softmax.
      floor: least probability of a class, which is all that is left at k = L.
    """

    exposures: Leaf = 1.0
    irrelevant: Leaf = 0
    context_length: Leaf = 8
    label_noise: Leaf = 0.0
    distance_range: Leaf = 4.0
    temperature: Leaf = 1.0
    floor: Leaf = 0.01

    @property
    def calculated(self) -> bool:
        return True

    def check(self) -> None:
        bounds.in_weight_upper(self.exposures, label_noise=self.label_noise)
        bounds.in_context_best(self.irrelevant, self.context_length, **_similarity(self))

    def sample(self, key: Key, batch_size: int) -> Batch:
        raise ValueError(
            "Conditions have no sequences to train or to be evaluated on; their predictors must be bounds, such as "
            "'in_weight_upper'."
        )


@setting
class InWeightUpper(Predictor):
    """`bounds.in_weight_upper`.

    Attributes:
      constant: what stands for the big O.
      num_inputs, delta: of the bound that holds for all inputs at once; 0 for the form without them.
    """

    constant: Leaf = 1.0
    num_inputs: Leaf = 0.0
    delta: Leaf = 0.0

    def check(self) -> None:
        self.calculate(Conditions())

    def calculate(self, task: Any) -> Mapping[str, np.ndarray]:
        num_inputs, delta = np.broadcast_arrays(self.num_inputs, self.delta)
        for_all = (num_inputs != 0) | (delta != 0)
        given = {"label_noise": task.label_noise, "constant": self.constant}
        upper = bounds.in_weight_upper(task.exposures, **given)
        if np.any(for_all):
            union = {"num_inputs": np.where(for_all, num_inputs, 1), "delta": np.where(for_all, delta, 0.5)}
            upper = np.where(for_all, bounds.in_weight_upper(task.exposures, **given, **union), upper)
        return {"cross_entropy": np.asarray(upper)}


@setting
class InContextUpper(Predictor):
    """`bounds.in_context_upper`."""

    def calculate(self, task: Any) -> Mapping[str, np.ndarray]:
        upper = bounds.in_context_upper(task.irrelevant, task.context_length, floor=task.floor)
        return {"cross_entropy": np.asarray(upper)}


@setting
class InContextBest(Predictor):
    """`bounds.in_context_best`, the exact best case."""

    def calculate(self, task: Any) -> Mapping[str, np.ndarray]:
        best = bounds.in_context_best(task.irrelevant, task.context_length, **_similarity(task))
        return {"cross_entropy": np.asarray(best)}


@setting
class InContextLower(Predictor):
    """`bounds.in_context_lower`.

    Attributes:
      factor: 1 for a bound of the cross-entropy; 2 for what Figure 1 of the paper draws, which is none.
    """

    factor: Leaf = 1.0

    def check(self) -> None:
        if not 0 < self.factor < math.inf:
            raise ValueError(f"factor is {self.factor}; it must be positive and finite.")

    def calculate(self, task: Any) -> Mapping[str, np.ndarray]:
        lower = bounds.in_context_lower(task.irrelevant, task.context_length, factor=self.factor, **_similarity(task))
        return {"cross_entropy": np.asarray(lower)}


def _similarity(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name in ("distance_range", "temperature", "floor")}
