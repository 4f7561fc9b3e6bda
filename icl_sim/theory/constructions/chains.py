"""Learners as chains of primitives: theorems 1 and 2 of Akyurek et al. 2023.

The input is three columns: x_1, then y_1, then the query x_2. Row 0 is the slot of y and rows 1 to d are those of x.
The answer stands in the last column: in row 3 + 3d of the first chain, in the last row of the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim.theory.constructions.primitives import aff, div, mov, mul
from icl_sim.types import Array, Leaf

OPERATIONS: Mapping[str, Callable[..., Array]] = {"mov": mov, "mul": mul, "div": div, "aff": aff}
Step = tuple[str, tuple[Any, ...]]  # an operation, and its arguments after H


def columns(x_1_X: Array, y_1: Leaf, x_2_X: Array, rows: int) -> Array:
    """The input of a chain, `[rows, 3]`."""
    d = len(x_1_X)
    h_R3 = jnp.zeros((rows, 3), x_1_X.dtype)
    return h_R3.at[1 : 1 + d, 0].set(x_1_X).at[0, 1].set(y_1).at[1 : 1 + d, 2].set(x_2_X)


def run(steps: Sequence[Step], h_RT: Array) -> Array:
    """H after a chain of primitives."""
    for operation, arguments in steps:
        h_RT = OPERATIONS[operation](h_RT, *arguments)
    return h_RT


def sgd_rows(dim: int) -> int:
    """Rows of `sgd_chain`: O(d)."""
    return 4 + 4 * dim


def sgd_chain(x_1_X: Array, y_1: Leaf, x_2_X: Array, weights_X: Array, rate: Leaf, decay: Leaf) -> tuple[Array, Array]:
    """One step of SGD on ridge regression from constant weights (theorem 1).

    The answer is w'.x_2 with w' = w - 2 rate (x_1 (w.x_1 - y_1) + decay w). The appendix subtracts decay w, which is
    not the gradient of ridge regression.

    Returns:
      H `[4 + 4d, 3]` after the chain, and the answer.
    """
    d = len(x_1_X)
    h = run(sgd_steps(weights_X, rate, decay), columns(x_1_X, y_1, x_2_X, sgd_rows(d)))
    return h, h[3 + 3 * d, 2]


def sgd_steps(weights_X: Array, rate: Leaf, decay: Leaf) -> list[Step]:
    """The primitives of `sgd_chain`."""
    d = len(weights_X)
    y, x, fit, residual = (0, 1), (1, 1 + d), (1 + d, 2 + d), (2 + d, 3 + d)
    gradient, old = (3 + d, 3 + 2 * d), (3 + 2 * d, 3 + 3 * d)
    answer, new = (3 + 3 * d, 4 + 3 * d), (4 + 3 * d, 4 + 4 * d)
    eye, none = jnp.eye(d), jnp.zeros((d, d))

    return [
        ("mov", (0, 1, x, x)),
        ("aff", (x, y, fit, weights_X[None], jnp.zeros((1, 1)), jnp.zeros(1))),
        ("aff", (fit, y, residual, jnp.ones((1, 1)), -jnp.ones((1, 1)), jnp.zeros(1))),
        ("mul", ((d, 1, 1), x, residual, gradient)),
        ("aff", (x, x, old, none, none, weights_X)),
        ("aff", (gradient, old, gradient, eye, decay * eye, jnp.zeros(d))),
        ("aff", (old, gradient, new, eye, -2 * rate * eye, jnp.zeros(d))),
        ("mov", (1, 2, new, new)),
        ("mul", ((1, d, 1), new, x, answer)),
    ]


def sherman_morrison_rows(dim: int) -> int:
    """Rows of `sherman_morrison_chain`: O(d^2)."""
    return 3 + 5 * dim + 3 * dim**2


def sherman_morrison_chain(x_1_X: Array, y_1: Leaf, x_2_X: Array, ridge: Leaf) -> tuple[Array, Array]:
    """Ridge regression on one pair, by the inverse of a matrix plus a product of vectors (theorem 2).

    With A = ridge I, the answer is w'.x_2 with w' = (A^-1 - A^-1 x_1 x_1^T A^-1 / (1 + x_1^T A^-1 x_1)) x_1 y_1.

    Returns:
      H `[3 + 5d + 3d^2, 3]` after the chain, and the answer.
    """
    d = len(x_1_X)
    h = run(sherman_morrison_steps(d, ridge), columns(x_1_X, y_1, x_2_X, sherman_morrison_rows(d)))
    return h, h[-1, 2]


def sherman_morrison_steps(dim: int, ridge: Leaf) -> list[Step]:
    """The primitives of `sherman_morrison_chain`."""
    d = dim
    y, x, moment = (0, 1), (1, 1 + d), (1 + d, 1 + 2 * d)
    at = 1 + 2 * d
    inverse, left, right = (at, at + d**2), (at + d**2, at + d**2 + d), (at + d**2 + d, at + d**2 + 2 * d)
    at = right[1]
    outer, divisor = (at, at + d**2), (at + d**2, at + d**2 + 1)
    updated = (divisor[1], divisor[1] + d**2)
    weights, answer = (updated[1], updated[1] + d), (updated[1] + d, updated[1] + d + 1)
    eye, none = jnp.eye(d**2), jnp.zeros((d**2, d))

    return [
        ("mov", (0, 1, x, x)),
        ("mul", ((d, 1, 1), x, y, moment)),
        ("aff", (x, x, inverse, none, none, jnp.ravel(jnp.eye(d)) / ridge)),
        ("mul", ((d, d, 1), inverse, x, left)),
        ("mul", ((1, d, d), x, inverse, right)),
        ("mul", ((d, 1, d), left, right, outer)),
        ("mul", ((1, d, 1), x, left, divisor)),
        ("aff", (divisor, divisor, divisor, jnp.ones((1, 1)), jnp.zeros((1, 1)), jnp.ones(1))),
        ("div", (outer, divisor[0], outer)),
        ("aff", (inverse, outer, updated, eye, -eye, jnp.zeros(d**2))),
        ("mul", ((d, d, 1), updated, moment, weights)),
        ("mov", (1, 2, weights, weights)),
        ("mul", ((1, d, 1), weights, x, answer)),
    ]


def sherman_morrison(x_LX: Array, y_L: Array, ridge: Leaf) -> Array:
    """The same over many pairs: weights of ridge regression on each prefix, `[L, X]`, one pair at a time.

    Per pair u = A^-1 x, A^-1 <- A^-1 - u u^T / (1 + x.u), b <- b + x y, w = A^-1 b.
    """

    def step(carry: tuple[Array, Array], pair: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (inverse_XX, moment_X), (x_X, y) = carry, pair
        u_X = inverse_XX @ x_X
        inverse_XX = inverse_XX - jnp.outer(u_X, u_X) / (1 + x_X @ u_X)
        moment_X = moment_X + x_X * y
        return (inverse_XX, moment_X), inverse_XX @ moment_X

    d = x_LX.shape[1]
    start = (jnp.eye(d, dtype=x_LX.dtype) / ridge, jnp.zeros(d, x_LX.dtype))
    return jax.lax.scan(step, start, (x_LX, y_L))[1]
