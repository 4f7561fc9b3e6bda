"""Gradient descent that takes the pairs of the context one after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim.predictors.learners.prefixes import Prefixes, prefixes
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting


@setting
class OnePassSGD(Predictor):
    """w <- w - 2 rate (x_i (x_i.w - y_i) + l w), once for every pair in the order of the prompt, from w = 0.

    Akyurek et al. 2023, section 3.

    Attributes:
      rate: alpha.
      penalty: l.
    """

    rate: Leaf = 0.03
    penalty: Leaf = 0.01

    def check(self) -> None:
        _check("one-pass SGD", self.rate, self.penalty)

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        asked = prefixes(batch)

        def step(w_BX: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
            x_BX, y_B = pair
            error_B = jnp.sum(x_BX * w_BX, axis=1) - y_B
            w_BX -= 2 * self.rate * (x_BX * error_B[:, None] + self.penalty * w_BX)
            return w_BX, w_BX

        return asked.answer(_pair_by_pair(step, lambda w_BX: w_BX, asked), record)


@setting
class GrowingSGD(Predictor):
    """One step of gradient descent per pair, on all the pairs up to it: w <- w - rate g for i = 1, ..., k, from w = 0.

    g = clip(2 (X_i^T (X_i w - y_i) + l w)) on the first i pairs, every coordinate clipped to [-clip, clip]. What the
    released code of Akyurek et al. 2023 calls SGD on the full window; their text has one batch step instead.

    Attributes:
      rate: alpha.
      penalty: l.
      clip: of the gradient's coordinates.
    """

    rate: Leaf = 0.02
    penalty: Leaf = 0.01
    clip: Leaf = 20.0

    def check(self) -> None:
        _check("growing SGD", self.rate, self.penalty)
        if not self.clip > 0:
            raise ValueError(f"The clip of growing SGD is {self.clip}; it must be positive.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        asked = prefixes(batch)

        def step(state: tuple[Array, Array, Array], pair: tuple[Array, Array]) -> tuple[tuple[Array, ...], Array]:
            w_BX, gram_BXZ, moment_BX = state
            x_BX, y_B = pair
            gram_BXZ += x_BX[:, :, None] * x_BX[:, None, :]
            moment_BX += x_BX * y_B[:, None]
            slope_BX = jnp.sum(gram_BXZ * w_BX[:, None, :], axis=2) - moment_BX + self.penalty * w_BX
            w_BX -= self.rate * jnp.clip(2 * slope_BX, -self.clip, self.clip)
            return (w_BX, gram_BXZ, moment_BX), w_BX

        def begin(w_BX: Array) -> tuple[Array, Array, Array]:
            return w_BX, jnp.zeros((*w_BX.shape, w_BX.shape[1]), w_BX.dtype), w_BX

        return asked.answer(_pair_by_pair(step, begin, asked), record)


def _pair_by_pair(step: Callable[..., Any], begin: Callable[[Array], Any], asked: Prefixes) -> Array:
    """The weights after every prefix that is asked about, `[B, P, X]`, of a learner that takes one pair after another.

    Args:
      step: (state, (x_BX, y_B)) -> (state, w_BX).
      begin: the state from w = 0.
    """
    start_BX = jnp.zeros_like(asked.query_BPX[:, 0])
    pairs = jnp.moveaxis(asked.x_BLX, 1, 0), asked.y_BL.T
    _, w_LBX = jax.lax.scan(step, begin(start_BX), pairs)
    w_BSX = jnp.moveaxis(jnp.concatenate([start_BX[None], w_LBX]), 0, 1)
    return w_BSX[:, -len(asked.count_P) :]


def _check(whose: str, rate: Leaf, penalty: Leaf) -> None:
    if not math.isfinite(rate):
        raise ValueError(f"The rate of {whose} is {rate}; it must be a finite number.")
    if not penalty >= 0:
        raise ValueError(f"The penalty of {whose} is {penalty}; it must be at least 0.")
