"""Finite pools of tasks: row i is a function of (seed, i), so that a pool of 2^20 tasks is never stored.

What samples tasks from a pool and the oracle that knows the pool draw the same rows here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.draws import normal
from icl_sim.keys import stream
from icl_sim.types import Array, Key, Leaf

LAWS = ("normal", "laplace")
MAX_POOL = 2**24  # sizes travel as float32, which is exact up to here


def rows(seed: Leaf, index_N: Array, dim: int, law: str = "normal") -> Array:
    """Rows of these numbers, `[N, dim]`, with independent coordinates of mean 0 and variance 1."""
    key = stream(seed, "data", 0)
    return jax.vmap(lambda index: draw(jax.random.fold_in(key, index), dim, law))(index_N)


def draw(key: Key, dim: int, law: str = "normal") -> Array:
    """One row, `[dim]`."""
    if law == "laplace":
        return jax.random.laplace(key, (dim,)) / jnp.sqrt(2.0)
    return normal(key, (dim,))
