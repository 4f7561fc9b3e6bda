"""Gradients of predictions with respect to the input that they are about: the weights of a linear prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim.metrics.distance import require_regression
from icl_sim.types import Answerer, Array, Batch, Comparison, setting, static


@setting
class Sensitivity(Comparison):
    """Two predictors to first order in the query: s = d y_query / d x_query (von Oswald et al. 2023, section 3).

    - `sensitivity_cosine`: s_a.s_b / (|s_a| |s_b|), NaN where either is 0;
    - `sensitivity_difference`: |s_a - s_b|;
    - `prediction_difference`: |y_a - y_b|, each `[B]`.

    NaN where the last slot is not asked. Only the query's input moves, the context stays. For a prediction linear
    in the query, such as that of linear self-attention, s is its weight vector.
    """

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        require_regression(batch, "Sensitivity")
        query = (batch.inputs.shape[1] - 1,)
        (y_a_B, s_a_BX), (y_b_B, s_b_BX) = (
            (values_BP[:, -1], gradient_BKX[:, 0])
            for values_BP, gradient_BKX in (slot_gradients(answerer, batch, query) for answerer in (a, b))
        )
        found = {
            "sensitivity_cosine": _cosine(s_a_BX, s_b_BX),
            "sensitivity_difference": jnp.linalg.norm(s_a_BX - s_b_BX, axis=-1),
            "prediction_difference": jnp.abs(y_a_B - y_b_B),
        }
        if batch.weights is None:
            return found
        return {name: jnp.where(batch.weights[:, -1] > 0, value_B, jnp.nan) for name, value_B in found.items()}


@setting
class GradientAlignment(Comparison):
    """Whether a prediction moves with its input as the true function does (Garg et al. 2022, section 4).

    With g_k = d y_k / d x_k after k exemplars X, and w from `latents`, both of the first predictor alone, `[B, P]`:

    - `gradient_cosine`: cosine of g_k and w;
    - `projected_gradient_cosine`: of g_k and the projection of w on the span of X, which is all of w that noiseless
      exemplars tell.

    NaN where either is 0, as without exemplars, and at slots that are not asked for.

    Attributes:
      positions: numbers k of exemplars, each a pass backwards; empty for all.
      references: whose names the measures end in; one is enough, since it is not looked at.
    """

    positions: tuple[int, ...] = static(())
    references: tuple[str, ...] = static(())

    def check(self) -> None:
        check_positions(self.positions)

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        del b
        require_regression(batch, "GradientAlignment")
        if "w" not in batch.latents:
            raise ValueError("GradientAlignment needs the latent w, and the task is no linear function of its inputs.")
        slots = asked(self.positions, batch)
        _, gradient_BKX = slot_gradients(a, batch, slots)
        w_BX = batch.latents["w"]
        told_BKX = jax.vmap(projections)(batch.inputs, w_BX)[:, jnp.array(slots)]
        w_BKX = jnp.broadcast_to(w_BX[:, None], gradient_BKX.shape)
        return {
            "gradient_cosine": by_slot(_cosine(gradient_BKX, w_BKX), slots, batch),
            "projected_gradient_cosine": by_slot(_cosine(gradient_BKX, told_BKX), slots, batch),
        }


def slot_gradients(answerer: Answerer, batch: Batch, slots: tuple[int, ...]) -> tuple[Array, Array]:
    """Predictions `[B, P]`, and d prediction / d input of each of these slots, `[B, K, X]`; 0 of those not answered."""
    values_BP, pull = jax.vjp(lambda x_BSX: answerer(dataclasses.replace(batch, inputs=x_BSX)), batch.inputs)
    B, P = values_BP.shape
    first = batch.inputs.shape[1] - P

    def gradient(slot: Array) -> Array:
        # Prompts do not mix, so that one pass backwards serves all of them.
        chosen_BP = jnp.broadcast_to((jnp.arange(P) == slot - first).astype(values_BP.dtype)[None], (B, P))
        (gradient_BSX,) = pull(chosen_BP)
        return jnp.take(gradient_BSX, slot, axis=1)

    gradient_KBX = jax.lax.map(gradient, jnp.array(slots))
    return values_BP, jnp.swapaxes(gradient_KBX, 0, 1)


def projections(x_SX: Array, w_X: Array) -> Array:
    """Projections of w on the span of the first k inputs, k = 0..S-1, `[S, X]`.

    By Gram-Schmidt, each input orthogonalised twice, which keeps the directions orthogonal to rounding.
    """
    least = 32 * jnp.finfo(x_SX.dtype).eps

    def add(basis_XX: Array, x_X: Array) -> tuple[Array, Array]:
        new_X = x_X - basis_XX @ x_X
        new_X = new_X - basis_XX @ new_X
        size = jnp.linalg.norm(new_X)
        new_X = jnp.where(size > least * jnp.linalg.norm(x_X), new_X / jnp.where(size > 0, size, 1.0), 0.0)
        return basis_XX + jnp.outer(new_X, new_X), basis_XX @ w_X

    d = x_SX.shape[1]
    _, projection_SX = jax.lax.scan(add, jnp.zeros((d, d), x_SX.dtype), x_SX)
    return projection_SX


def check_positions(positions: tuple[int, ...]) -> None:
    """Raises ValueError where a number of exemplars is impossible or given twice."""
    if any(k < 0 for k in positions) or len(set(positions)) < len(positions):
        raise ValueError(f"positions are {positions}; each must be at least 0, and none given twice.")


def asked(positions: tuple[int, ...], batch: Batch) -> tuple[int, ...]:
    """The slots of these numbers of exemplars, all where none is given; the query alone where no other is asked."""
    L = batch.inputs.shape[1] - 1
    if any(k > L for k in positions):
        raise ValueError(f"positions are {positions}, but a prompt has {L} exemplars; none may be above.")
    if batch.weights is None:
        return (L,)
    return positions or tuple(range(L + 1))


def by_slot(values_BK: Array, slots: tuple[int, ...], batch: Batch) -> Array:
    """`[B, S]` with NaN at every other slot; `[B, 1]` where only the query is asked."""
    if batch.weights is None:
        return values_BK
    nothing_BS = jnp.full(batch.inputs.shape[:2], jnp.nan, values_BK.dtype)
    return nothing_BS.at[:, jnp.array(slots)].set(values_BK)


def _cosine(a: Array, b: Array) -> Array:
    """Of the last axis, NaN where either vector is 0."""
    size = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    return jnp.sum(a * b, axis=-1) / jnp.where(size > 0, size, jnp.nan)
