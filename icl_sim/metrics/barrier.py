"""Whether two trained networks lie in one basin of the loss."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from icl_sim.types import Array, Params


def barrier(loss: Callable[[Params], Array], params_a: Params, params_b: Params, points: int = 11) -> Array:
    """How far the loss rises above the line between its ends, on the straight way from one to the other.

        max over alpha in [0, 1] of loss((1 - alpha) a + alpha b) - ((1 - alpha) loss(a) + alpha loss(b)),

    the linear mode connectivity barrier (Frankle et al. 2020; Entezari et al. 2022): 0 where the loss is convex on
    the way. It is at least 0, the value at the ends.

    Args:
      loss: of parameters, a scalar.
      params_a, params_b: trees of arrays of the same shapes.
      points: how many alphas, spaced evenly, ends included; at least 2.

    Raises:
      ValueError: where the trees differ, or `points` is below 2.
    """
    if points < 2:
        raise ValueError(f"A barrier at {points} points; there must be at least 2, the ends.")
    shapes_a, shapes_b = (jax.tree.map(jnp.shape, params) for params in (params_a, params_b))
    if shapes_a != shapes_b:
        raise ValueError("A barrier lies between parameters of the same names and shapes, and these differ.")
    alpha_A = jnp.linspace(0.0, 1.0, points)

    def between(alpha: Array) -> Array:
        return loss(jax.tree.map(lambda a, b: (1 - alpha) * a + alpha * b, params_a, params_b))

    loss_A = jax.lax.map(between, alpha_A)
    # From differences, exactly 0 at both ends.
    return jnp.max((loss_A - loss_A[0]) - alpha_A * (loss_A[-1] - loss_A[0]))
