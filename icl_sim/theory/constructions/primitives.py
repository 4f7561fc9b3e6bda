"""The four operations that a transformer's layer can do, of which Akyurek et al. 2023 (section 3.1) build learners.

They act on a matrix H `[rows, columns]`: a column is a time step, a row a hidden unit. Ranges of rows are half-open
pairs that count from 0. Whatever the operation, a layer does it in every column alike; only `mov` goes from one to
another. Results replace what stood in their rows.
"""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.types import Array

Rows = tuple[int, int]


def mov(h_RT: Array, source: int, target: int, source_rows: Rows, target_rows: Rows) -> Array:
    """Copies rows of column `source` into rows of a column at or after it: attention."""
    if target < source:
        raise ValueError(f"mov goes from column {source} to {target}; attention is causal, so it must not go back.")
    _require("mov", target_rows, _size(source_rows))
    return h_RT.at[slice(*target_rows), target].set(h_RT[slice(*source_rows), source])


def mul(h_RT: Array, shape: tuple[int, int, int], left: Rows, right: Rows, target: Rows) -> Array:
    """The product of rows read as matrices a x b and b x c, row-major, with (a, b, c) the shape: an MLP."""
    a, b, c = shape
    for rows, size in ((left, a * b), (right, b * c), (target, a * c)):
        _require("mul", rows, size)
    left_ABT = jnp.reshape(h_RT[slice(*left)], (a, b, -1))
    right_BCT = jnp.reshape(h_RT[slice(*right)], (b, c, -1))
    product_ACT = jnp.einsum("ABT,BCT->ACT", left_ABT, right_BCT)
    return h_RT.at[slice(*target)].set(jnp.reshape(product_ACT, (a * c, -1)))


def div(h_RT: Array, dividend: Rows, divisor: int, target: Rows) -> Array:
    """Rows over the absolute value of one row: a layer norm. Columns without a divisor become infinite or NaN."""
    _require("div", target, _size(dividend))
    return h_RT.at[slice(*target)].set(h_RT[slice(*dividend)] / jnp.abs(h_RT[divisor])[None])


def aff(
    h_RT: Array, first: Rows, second: Rows, target: Rows, first_map: Array, second_map: Array, bias: Array
) -> Array:
    """W_1 h[first] + W_2 h[second] + b for constant W_1, W_2 and b."""
    _require("aff", target, len(bias))
    value_RT = first_map @ h_RT[slice(*first)] + second_map @ h_RT[slice(*second)] + bias[:, None]
    return h_RT.at[slice(*target)].set(value_RT)


def _size(rows: Rows) -> int:
    return rows[1] - rows[0]


def _require(operation: str, rows: Rows, size: int) -> None:
    if _size(rows) != size:
        raise ValueError(f"{operation} has rows {rows[0]} to {rows[1]}, which are {_size(rows)}; it needs {size}.")
