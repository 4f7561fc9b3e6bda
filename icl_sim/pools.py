"""Finite pools of tasks: row i is a function of (seed, i), so that a pool of 2^20 tasks is never stored.

What samples tasks from a pool and the oracle that knows the pool draw the same rows here.
"""

from __future__ import annotations

import math

import jax

from icl_sim import draws
from icl_sim.keys import stream
from icl_sim.types import Array, Key, Leaf

LAWS = ("normal", "laplace")
MAX_POOL = 2**24  # sizes travel as float32, which is exact up to here


def rows(seed: Leaf, index_N: Array, dim: int, law: str = "normal") -> Array:
    """Rows of these numbers, `[N, dim]`, with independent coordinates of mean 0 and variance 1."""
    return jax.vmap(lambda index: draw(key(seed, index), dim, law))(index_N)


def key(seed: Leaf, index: Leaf) -> Key:
    """What a row is drawn from."""
    return jax.random.fold_in(stream(seed, "data", 0), index)


def draw(key: Key, dim: int, law: str = "normal") -> Array:
    """One row, `[dim]`."""
    return draws.laplace(key, (dim,)) / math.sqrt(2) if law == "laplace" else draws.normal(key, (dim,))
