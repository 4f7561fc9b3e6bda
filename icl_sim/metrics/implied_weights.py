"""The linear functions that predictors imply, from their answers to many queries after the same exemplars."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim.decompositions import each
from icl_sim.metrics.distance import require_regression
from icl_sim.metrics.sensitivity import asked, by_slot, check_positions
from icl_sim.types import Answerer, Array, Batch, Comparison, setting, static


@setting
class ImpliedWeights(Comparison):
    """ILWD, the distance of two predictors' implied linear weights (Akyurek et al. 2023, section 3).

    After the first k exemplars of a prompt a predictor A is asked about n queries x'_j, each in turn in place of the
    input that follows them, and w_A minimises sum_j (A(x'_j) - w.x'_j)^2, without an intercept. `[B, P]`:

    - `ilwd`: |w_A - w_B|^2 / d;
    - `linearity`: R^2 = 1 - sum_j (A(x'_j) - w_A.x'_j)^2 / sum_j A(x'_j)^2 of the first predictor's fit: 1 where it
      is linear in the query, NaN where all its answers are 0.

    The queries are the last inputs of the other prompts of the batch, then the inputs before those, until there are
    n: independent of the prompt, of the law of inputs where that is the same in every prompt and slot. The same ones
    serve every k. For a linear A, w_A is its weight vector, to rounding.

    Attributes:
      queries: n, better 4d or more. Each costs a pass of both predictors over the batch, for every k.
      positions: numbers k of exemplars; empty for all. Where only the query is asked, k = L alone.
      references: what to compare with; empty for all that a study has.
    """

    queries: int = static(128)
    positions: tuple[int, ...] = static(())
    references: tuple[str, ...] = static(())

    def check(self) -> None:
        if self.queries < 1:
            raise ValueError(f"The number of queries of ImpliedWeights is {self.queries}; it must be at least 1.")
        check_positions(self.positions)

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        require_regression(batch, "ImpliedWeights")
        slots = asked(self.positions, batch)
        query_BNX = fresh_queries(batch, self.queries)
        d = query_BNX.shape[-1]
        # Directions that no query has are left out; there a weight is 0.
        inverse_BXN = each(jnp.linalg.pinv, query_BNX, axes=1)

        def fits(slot: Array) -> tuple[Array, Array]:
            y_BN, y_other_BN = (answers(who, batch, slot, query_BNX) for who in (a, b))
            w_BX, w_other_BX = (_product(inverse_BXN, y) for y in (y_BN, y_other_BN))
            left_B = jnp.sum(jnp.square(y_BN - _product(query_BNX, w_BX)), axis=1)
            all_B = jnp.sum(jnp.square(y_BN), axis=1)
            linearity_B = 1 - left_B / jnp.where(all_B > 0, all_B, jnp.nan)
            return jnp.sum(jnp.square(w_BX - w_other_BX), axis=1) / d, linearity_B

        ilwd_KB, linearity_KB = jax.lax.map(fits, jnp.array(slots))
        return {
            "ilwd": by_slot(ilwd_KB.T, slots, batch),
            "linearity": by_slot(linearity_KB.T, slots, batch),
        }


def fresh_queries(batch: Batch, n: int) -> Array:
    """n inputs of other prompts for each prompt, `[B, n, X]`: the last ones first."""
    B, S = batch.inputs.shape[:2]
    if n > (B - 1) * S:
        raise ValueError(
            f"{n} fresh queries were asked for, but the other {B - 1} prompts of a batch of {B} have {(B - 1) * S} "
            "inputs; take a larger batch."
        )
    number_N = jnp.arange(n)
    other_BN = (jnp.arange(B)[:, None] + 1 + number_N[None] % (B - 1)) % B
    slot_BN = jnp.broadcast_to((S - 1 - number_N // (B - 1))[None], (B, n))
    return batch.inputs[other_BN, slot_BN]


def answers(who: Answerer, batch: Batch, slot: Array, query_BNX: Array) -> Array:
    """What the predictor says of each query after the first `slot` exemplars, `[B, N]`; NaN where it does not answer.

    The query takes the place of the slot's input, so that all k share one program; what follows it is not looked at.
    """
    S = batch.inputs.shape[1]

    def answer(query_BX: Array) -> Array:
        here_S = (jnp.arange(S) == slot)[None, :, None]
        values_BP = who(dataclasses.replace(batch, inputs=jnp.where(here_S, query_BX[:, None], batch.inputs)))
        number = slot - (S - values_BP.shape[1])
        return jnp.where(number < 0, jnp.nan, jnp.take(values_BP, jnp.maximum(number, 0), axis=1))

    # One query after the other: `vmap` would make batches of the decompositions of learners (`decompositions`).
    return jax.lax.map(answer, jnp.swapaxes(query_BNX, 0, 1)).T


def _product(matrix_BNX: Array, vector_BX: Array) -> Array:
    return jnp.einsum("BNX,BX->BN", matrix_BNX, vector_BX, precision=jax.lax.Precision.HIGHEST)
