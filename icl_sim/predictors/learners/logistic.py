"""Logistic regression of two classes."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from icl_sim.decompositions import each
from icl_sim.predictors.learners.prefixes import contract, prefixes
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting, static

_SHARES = tuple(2.0**-halvings for halvings in range(8))  # of a Newton step


@setting
class LogisticRegression(Predictor):
    """w = argmin sum_i log(1 + exp(-s_i w.x_i)) + a |w|^2 / 2 over the pairs before, s_i = 1 for class 1 and -1 for 0,
    without intercept (Cox 1958). Its answer is log p(1) / p(0) = w.x; before any pair both are as likely.

    By Newton's method from w = 0, where each step takes that of 1, 1/2, ..., 1/128 of its length with the lowest loss.

    Attributes:
      penalty: a, above 0: the weights have the prior N(0, 1 / a).
      steps: of Newton's method.
    """

    penalty: Leaf = 0.1
    steps: int = static(8)

    def check(self) -> None:
        if not 0 < self.penalty < math.inf:
            raise ValueError(f"The penalty of logistic regression is {self.penalty}; it must be a number above 0.")
        if self.steps < 1:
            raise ValueError(f"The steps of logistic regression are {self.steps}; there must be at least 1.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        if batch.num_classes != 2:
            raise ValueError(
                f"The batch has {batch.num_classes or 'no'} classes; logistic regression tells two of them apart."
            )
        signs_BS = 2.0 * batch.targets.astype(batch.inputs.dtype) - 1.0
        asked = prefixes(dataclasses.replace(batch, targets=signs_BS, num_classes=0))
        away_BLX = asked.x_BLX * asked.y_BL[..., None]  # s x: w.(s x) is the margin

        def losses(w_KBPX: Array) -> Array:
            margin_KBPL = contract("KBPX,BLX->KBPL", w_KBPX, away_BLX)
            missed_KBP = contract("PL,KBPL->KBP", asked.seen_PL, jax.nn.softplus(-margin_KBPL))
            return missed_KBP + self.penalty * jnp.sum(jnp.square(w_KBPX), axis=-1) / 2

        def step(w_BPX: Array, _: None) -> tuple[Array, None]:
            wrong_BPL = jax.nn.sigmoid(-contract("BPX,BLX->BPL", w_BPX, away_BLX)) * asked.seen_PL[None]
            slope_BPX = self.penalty * w_BPX - contract("BPL,BLX->BPX", wrong_BPL, away_BLX)
            weight_BPL = wrong_BPL * (1.0 - wrong_BPL)
            bend_BPXZ = contract("BPL,BLX,BLZ->BPXZ", weight_BPL, away_BLX, away_BLX)
            bend_BPXZ += self.penalty * jnp.eye(away_BLX.shape[2], dtype=bend_BPXZ.dtype)[None, None]
            newton_BPX = each(jnp.linalg.solve, bend_BPXZ, slope_BPX, axes=2)
            tried_KBPX = w_BPX[None] - jnp.asarray(_SHARES, w_BPX.dtype)[:, None, None, None] * newton_BPX[None]
            best_BP = jnp.argmin(losses(tried_KBPX), axis=0)
            return jnp.take_along_axis(tried_KBPX, best_BP[None, ..., None], axis=0)[0], None

        w_BPX, _ = jax.lax.scan(step, jnp.zeros_like(asked.query_BPX), None, length=self.steps)
        answered = asked.answer(w_BPX, record)
        values_BPC = jnp.stack([jnp.zeros_like(answered.values), answered.values], axis=-1)
        return dataclasses.replace(answered, values=values_BPC[:, 0] if batch.weights is None else values_BPC)
