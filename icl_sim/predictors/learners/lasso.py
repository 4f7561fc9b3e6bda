"""Least squares with few nonzero weights."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from icl_sim.decompositions import each
from icl_sim.predictors.learners.prefixes import prefixes
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting


@setting
class Lasso(Predictor):
    """w = argmin |y - X w|^2 / (2k) + a |w|_1, without intercept (Tibshirani 1996; Garg et al. 2022, appendix A).

    Exact, by following the solution from w = 0 down to the penalty (Osborne et al. 2000): descent needs thousands of
    steps where there are fewer pairs than coordinates. A coordinate that no input has stays 0.

    Attributes:
      penalty: a, at least 0; 0.01 was best of 1, 0.1, ..., 0.0001 on 3-sparse weights in 20 dimensions. 0 is the limit,
        least squares of the least |w|_1.
    """

    penalty: Leaf = 0.01

    def check(self) -> None:
        if not 0 <= self.penalty < math.inf:
            raise ValueError(f"The penalty of the lasso is {self.penalty}; it must be a number of at least 0.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        asked = prefixes(batch)
        equations = jax.vmap(jax.vmap(_equations), in_axes=(0, 0, None, None))
        penalty_P = self.penalty * asked.count_P.astype(asked.x_BLX.dtype)
        found = equations(asked.gram_BPXZ(), asked.moment_BPX(), penalty_P, asked.count_P)
        return asked.answer(each(jnp.linalg.solve, *found, axes=2), record)


def _equations(gram_XZ: Array, moment_X: Array, penalty: Array, count: Array) -> tuple[Array, Array]:
    """The matrix `[X, X]` and the right side `[X]` of argmin w.G w / 2 - b.w + penalty |w|_1, G = X^T X, b = X^T y.

    Given the signs it is linear, G_AA w_A = b_A - penalty sign_A, and only that has a derivative.
    """
    sign_X = _signs(*jax.lax.stop_gradient((gram_XZ, moment_X, penalty)), count)
    active_X = sign_X != 0
    among_XZ = jnp.where(active_X[:, None] & active_X[None, :], gram_XZ, jnp.eye(len(sign_X), dtype=gram_XZ.dtype))
    return among_XZ, jnp.where(active_X, moment_X - penalty * sign_X, 0.0)


def _signs(gram_XZ: Array, moment_X: Array, penalty: Array, count: Array) -> Array:
    """Signs of the solution's coordinates, `[X]`, by following it while the penalty l falls from max |b|.

    With c = b - G w, every coordinate is either active, c_i = l sign_i, or idle, w_i = 0. What is not so fixed is z_i:
    w_i of active and c_i of idle ones. It is linear in what is, z = h + T v, v_i = l sign_i or 0, hence in l, so that
    the next l is known at which an active w_i reaches 0 or an idle c_i reaches l or -l. There i changes sides: z_i and
    v_i swap their places, which is a pivot of h and T.
    """
    d, info = len(moment_X), jnp.finfo(moment_X.dtype)
    top = jnp.max(jnp.abs(moment_X))
    last = jnp.maximum(penalty, 100 * info.eps * top)
    number_X = jnp.arange(d)
    first = jnp.argmax(jnp.abs(moment_X))

    def pivot(h_X: Array, table_XZ: Array, i: Array) -> tuple[Array, Array]:
        own_X = number_X == i
        row_Z, share_X = table_XZ[i], jnp.where(own_X, 1.0, table_XZ[:, i]) / table_XZ[i, i]
        others_X, others_XZ = jnp.where(own_X, 0.0, h_X), jnp.where(own_X[:, None], 0.0, table_XZ)
        kept_Z = jnp.where(own_X, -1.0, row_Z)
        return others_X - share_X * h_X[i], jnp.where(own_X[None], 0.0, others_XZ) - share_X[:, None] * kept_Z[None]

    def unfinished(state: tuple[Array, ...]) -> Array:
        penalty, _, _, _, _, _, steps = state
        return (penalty > last) & (steps < 8 * d)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        penalty, i, was, sign_X, h_X, table_XZ, steps = state
        h_X, table_XZ = pivot(h_X, table_XZ, i)
        slope_X = jnp.sum(table_XZ * sign_X[None], axis=1)
        active_X, moved_X = sign_X != 0, number_X == i
        # As many active coordinates as pairs leave nothing to explain but rounding.
        may_join_X = ~active_X & (jnp.sum(active_X) < count)
        event_EX = jnp.stack(
            [
                jnp.where(active_X & ~moved_X, -h_X / _nonzero(slope_X), 0.0),
                jnp.where(may_join_X & ~(moved_X & (was > 0)), h_X / _nonzero(1 - slope_X), 0.0),
                jnp.where(may_join_X & ~(moved_X & (was < 0)), -h_X / _nonzero(1 + slope_X), 0.0),
            ]
        )
        event_E = jnp.where(event_EX < penalty, event_EX, 0.0).ravel()
        next_ = jnp.argmax(event_E)
        to, i = jnp.asarray([0.0, 1.0, -1.0], h_X.dtype)[next_ // d], next_ % d
        # The last change is made only if it comes before the end.
        was, happens = sign_X[i], event_E[next_] > last
        sign_X = jnp.where((number_X == i) & happens, to, sign_X)
        return event_E[next_], i, was, sign_X, h_X, table_XZ, steps + 1

    starts = (number_X == first) & (top > last)
    sign_X = jnp.where(starts, jnp.sign(moment_X), 0.0)
    start = (top, first, jnp.zeros_like(top), sign_X, moment_X, -gram_XZ, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, step, start)[3]


def _nonzero(x: Array) -> Array:
    return jnp.where(x == 0, 1e-30, x)
