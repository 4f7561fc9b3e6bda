"""Decompositions of small matrices on a CPU of several devices: one matrix at a time.

LAPACK's batched calls (`jnp.linalg.qr`, `cholesky`, `solve`, ...) wait inside XLA's pool of threads for tasks of the
same pool. It has as many threads as there are cores, hence devices, and when all of them wait, they wait for ever
(measured: jax 0.10.2, 2 devices, 1280 matrices of 20 rows, within seconds). A larger pool would help (`NPROC`), but
makes small networks train half as fast. A single matrix is decomposed where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim.types import Array


def each(decompose: Callable[..., Any], *of: Array, axes: int) -> Any:
    """The function of each matrix, or tuple of them, over this many leading axes, in a loop that has a gradient."""
    shape = of[0].shape[:axes]
    flat = tuple(jnp.reshape(array, (-1, *array.shape[axes:])) for array in of)
    found = jax.lax.map(lambda one: decompose(*one), flat)
    return jax.tree.map(lambda leaf: jnp.reshape(leaf, (*shape, *leaf.shape[1:])), found)


@jax.custom_batching.sequential_vmap
def orthonormal(x_XN: Array) -> Array:
    """The Q of a QR decomposition. `vmap` makes a loop of it; it has no gradient."""
    return jnp.linalg.qr(x_XN)[0]


@jax.custom_batching.sequential_vmap
def cholesky(x_XX: Array) -> Array:
    """The lower Cholesky factor. `vmap` makes a loop of it; it has no gradient."""
    return jnp.linalg.cholesky(x_XX)
