"""Gradient descent on the squared error of every prefix of the context, from w = 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim import names
from icl_sim.predictors.learners.prefixes import Prefixes, contract, prefixes
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static

CONVENTIONS = ("mean", "sum")
MAX_STEPS = 100_000  # of what answers again at every evaluation; beyond that a run would seem to hang


@setting
class GradientDescent(Predictor):
    """n steps of w <- w - c (X^T (X w - y) + l w) from w = 0, on the k pairs of every prefix.

    Attributes:
      rate: with "mean", c = rate / k (von Oswald et al. 2023, section 2); with "sum", c = 2 rate (Akyurek et al. 2023,
        section 3). A number, or a tuple with one for every step.
      steps: n.
      convention: "mean" or "sum".
      penalty: l.
      learned: the rate is a parameter `rate` that starts at the field.
      per_step: a learned rate is one per step. From one number they start spread around it, from half of it to one and
        a half, since equal rates stay equal: their order does not matter, so they have equal gradients.
    """

    rate: Leaf | tuple[Leaf, ...] = 1.0
    steps: int = static(1)
    convention: str = static("mean")
    penalty: Leaf = 0.0
    learned: bool = static(False)
    per_step: bool = static(False)

    def check(self) -> None:
        names.require("The convention of gradient descent", self.convention, CONVENTIONS)
        check_steps("gradient descent", self.steps, self.per_step, self.learned, rate=self.rate)
        if not 0 <= self.penalty < math.inf:
            raise ValueError(f"The penalty of gradient descent is {self.penalty}; it must be at least 0 and finite.")

    def init(self, key: Key, batch: Batch) -> Params:
        del key, batch
        return {"rate": first(self.rate, self.steps, self.per_step)} if self.learned else {}

    def account(self, params: Params) -> Mapping[str, Array]:
        return params

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        asked = prefixes(batch)
        rates = each(params["rate"] if self.learned else self.rate, self.steps, asked.mean_P)

        def step(w_BPX: Array, rate: Array) -> tuple[Array, None]:
            scale_P = rate * asked.mean_P if self.convention == "mean" else jnp.full_like(asked.mean_P, 2 * rate)
            return w_BPX + scale_P[None, :, None] * (_descent(asked, w_BPX) - self.penalty * w_BPX), None

        w_BPX, _ = jax.lax.scan(step, jnp.zeros_like(asked.query_BPX), rates)
        return asked.answer(w_BPX, record)


def _descent(asked: Prefixes, w_BPX: Array) -> Array:
    """X^T (y - X w) of every prefix."""
    error_BPL = asked.y_BL[:, None] - contract("BPX,BLX->BPL", w_BPX, asked.x_BLX)
    return contract("BPL,BLX->BPX", error_BPL * asked.seen_PL[None], asked.x_BLX)


def check_steps(whose: str, steps: int, per_step: bool, learned: bool, **numbers: Any) -> None:
    """ValueError unless these numbers can be of so many steps."""
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"The steps of {whose} are {steps}; it takes from 1 to {MAX_STEPS:,}.")
    if per_step and not learned:
        raise ValueError(f"per_step of {whose} is True where learned is False; only learned numbers start spread.")
    for name, value in numbers.items():
        if np.shape(value) not in ((), (steps,)) or not np.all(np.isfinite(value)):
            raise ValueError(f"The {name} of {whose} is {value}; it must be a finite number, or {steps} of them.")


def first(value: Leaf | tuple[Leaf, ...], steps: int, per_step: bool) -> Array:
    """Where a learned number starts, `[]`, or `[steps]` if there is one per step."""
    start = jnp.asarray(value, jnp.float32)
    return start * jnp.linspace(0.5, 1.5, steps) if per_step and steps > 1 and start.ndim == 0 else start


def each(value: Leaf | tuple[Leaf, ...], steps: int, like: Array) -> Array:
    """The number of every step, `[steps]`."""
    return jnp.broadcast_to(jnp.asarray(value, like.dtype), (steps,))
