"""What can be read linearly from the activations of a network, in closed form."""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.types import Array, Leaf


def linear_probe(h_ND: Array, v_NX: Array, penalty: Leaf = 0.0) -> tuple[Array, Array]:
    """Ridge regression of targets v on activations h: minimises sum_n |h_n W + b - v_n|^2 + penalty |W|^2.

    That is the linear probe of one token, alpha one-hot, in closed form. The intercept b is free. By singular values,
    of which those below D * eps of the largest count as 0, so that it is sound in float32 and, at penalty 0, of least
    norm.

    Returns:
      The kernel W `[D, X]` and the bias b `[X]`.
    """
    centre_D, centre_X = jnp.mean(h_ND, axis=0), jnp.mean(v_NX, axis=0)
    left_NR, size_R, right_RD = jnp.linalg.svd(h_ND - centre_D[None], full_matrices=False)
    counted_R = size_R > max(h_ND.shape) * jnp.finfo(h_ND.dtype).eps * size_R[0]
    filter_R = jnp.where(counted_R, size_R / jnp.where(counted_R, jnp.square(size_R) + penalty, 1.0), 0.0)
    kernel_DX = (right_RD.T * filter_R[None]) @ (left_NR.T @ (v_NX - centre_X[None]))
    return kernel_DX, centre_X - centre_D @ kernel_DX
