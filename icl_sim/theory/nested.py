"""The loss of three nested logits as a study: when an induction head forms, for so many pairs and labels."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from icl_sim.theory.induction import descend
from icl_sim.types import Batch, Key, Leaf, Predictor, Task, setting

LEAST = 0.02  # the loss, in nats, below which the head has formed


@setting
class NestedLogits(Task):
    """What the phenomenological loss of Reddy 2023 depends on. Nothing is drawn: its predictors `calculate`.

    Attributes:
      context: N, labels in the context, one of them right.
      labels: L, of all.
    """

    context: Leaf = 8
    labels: Leaf = 32

    @property
    def calculated(self) -> bool:
        return True

    def check(self) -> None:
        sizes = self.context, self.labels
        if any(size != int(size) for size in sizes) or not 2 <= self.context <= self.labels:
            raise ValueError(
                f"task.context is {self.context} and task.labels is {self.labels}; they must be whole numbers, of 2 <= "
                "context <= labels."
            )

    def sample(self, key: Key, batch_size: int) -> Batch:
        raise ValueError(
            "Nested logits have no sequences to train or to be evaluated on; their predictor must be 'nested_descent'."
        )


@setting
class NestedDescent(Predictor):
    """Gradient descent from 0 on `induction.nested_loss`, in double precision.

    Measures: "drive", the slope of the loss at 0, 1/N - 1/L; "drop_step", the first step with a loss below .02 nats, or
    `steps` where there is none; and "plateau_loss", the loss at half of that time by log L, the loss at first.

    At L = N the slope is 0, but 0 is no minimum: what rounding adds grows exponentially, so that by a rate of .05 and
    N = 8 the loss drops at step 25,669 in single precision and at 59,125 in double. That is arithmetic, not the model.

    Attributes:
      learning_rate: of gradient descent.
      steps: how many to look at.
    """

    learning_rate: Leaf = 0.05
    steps: Leaf = 40_000

    def check(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be positive and finite.")
        if self.steps != int(self.steps) or not 2 <= self.steps <= 10**7:
            raise ValueError(f"steps is {self.steps}; it must be a whole number from 2 to 10^7.")

    def calculate(self, task: Any) -> Mapping[str, np.ndarray]:
        fields = np.broadcast_arrays(task.context, task.labels, self.learning_rate, self.steps)
        columns = zip(*(np.ravel(field) for field in fields), strict=True)
        told = [_told(int(n), int(size), float(rate), int(steps)) for n, size, rate, steps in columns]
        return {name: np.reshape([one[name] for one in told], fields[0].shape) for name in told[0]}


@functools.cache
def _descent(context: int, labels: int, steps: int):
    return jax.jit(lambda rate: descend(steps, context, labels, rate))


def _told(context: int, labels: int, rate: float, steps: int) -> dict[str, float]:
    with jax.enable_x64(True):
        loss_I, parameters_I3 = (np.asarray(told) for told in _descent(context, labels, steps)(rate))
    below_I = loss_I < LEAST
    drop = int(np.argmax(below_I)) if below_I.any() else steps
    drive = float(parameters_I3[1, 2] / rate)
    return {"drive": drive, "drop_step": drop, "plateau_loss": float(loss_I[drop // 2] / math.log(labels))}
