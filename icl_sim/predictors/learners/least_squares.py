"""Least squares on every prefix of the context, exact and damped."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.predictors.learners.prefixes import law_of_w, prefixes
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting

# A row of X counts as dependent on those before it where less of its norm than so many roundings lies outside of their
# span; in single precision that is 1e-5.
ROUNDINGS = 100


@setting
class LeastSquares(Predictor):
    """w = X^+ y, the least squares fit of minimal norm (Akyurek et al. 2023, section 3; Garg et al. 2022).

    Without noise its error is max(0, 1 - k/d) of that of answering 0.
    """

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        return _fit(batch, 0.0, record)


@setting
class Ridge(Predictor):
    """w = (X^T X + l I)^{-1} X^T y (Akyurek et al. 2023, section 3; Raventos et al. 2023, eq. 4).

    With l = (sigma / tau)^2 it is the Bayes predictor for w ~ N(0, tau^2 I) and noise N(0, sigma^2); at l = 0 it is
    the limit, `LeastSquares`. In single precision w has a relative error of some 1e-7 |x| / sqrt(l): 1e-4 at l = 1e-6.

    Attributes:
      penalty: l, at least 0; None is the predictor of Bayes for what the latents "noise" (sigma), "w_scale" (tau) and
        "w_mean" (mu) say: l = (sigma / tau)^2, and w shrinks towards mu, which it is where tau is 0.
    """

    penalty: Leaf | None = None

    def check(self) -> None:
        if self.penalty is not None and not 0 <= self.penalty < float("inf"):
            raise ValueError(f"The penalty of ridge regression is {self.penalty}; it must be a number of at least 0.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        if self.penalty is not None:
            return _fit(batch, self.penalty, record)
        ratio, mean = law_of_w(batch, "Ridge", "penalty")
        return _fit(batch, jnp.square(ratio), record, mean)


def _fit(batch: Batch, penalty: Leaf, record: bool, mean: Leaf = 0.0) -> Outputs:
    asked = prefixes(batch).around(mean)
    w_BSX = jax.vmap(weights, in_axes=(0, 0, None))(asked.x_BLX, asked.y_BL, penalty)
    return asked.answer(mean + w_BSX[:, -len(asked.count_P) :], record)


def weights(x_LX: Array, y_L: Array, penalty: Leaf) -> Array:
    """The (damped) least squares weights after 0, 1, ..., L pairs, `[S, X]`, pair by pair.

    It keeps a square root R of G = (X^T X + l I)^+ = R R^T, so that the condition of X enters once and not squared
    (Potter's form of recursive least squares), and an orthonormal basis of the rows seen. For a pair (x, y),

        w += g (y - x.w),    R += -g (R^T x)^T + g e^T                 for a new direction u, g = u / |u|^2,
                             R += -g (R^T x)^T / (1 + sqrt(a))         otherwise, g = a G x, a = 1 / (1 + x.G x),

    where u is the part of x outside the span of the rows before it (Greville 1960) and e the next column of R that is
    empty. With l > 0 it starts from R = I / sqrt(l), and no direction is new.
    """
    d = x_LX.shape[1]
    damped = jnp.asarray(penalty > 0)
    cutoff = ROUNDINGS * jnp.finfo(x_LX.dtype).eps
    start_XZ = jnp.eye(d, dtype=x_LX.dtype) * jnp.where(damped, 1 / jnp.sqrt(jnp.where(damped, penalty, 1.0)), 0.0)

    def add(state: tuple[Array, ...], pair: tuple[Array, Array]) -> tuple[tuple[Array, ...], Array]:
        w_X, root_XZ, basis_XZ, rank = state
        x_X, y = pair
        # Sums of products rather than matrix products: small, fused, and in full precision everywhere.
        f_Z = _dot(root_XZ, x_X[:, None], 0)
        outside_X = x_X
        for _ in range(2):  # once more, since the first leaves rounding errors of the size of x
            outside_X -= _dot(basis_XZ, _dot(basis_XZ, outside_X[:, None], 0)[None, :], 1)
        square = _dot(outside_X, outside_X, 0)
        new = (rank < d) & (square > cutoff**2 * _dot(x_X, x_X, 0))
        square = jnp.where(new, square, 1.0)
        share = 1 / (1 + _dot(f_Z, f_Z, 0))
        next_Z = (jnp.arange(d) == rank).astype(x_X.dtype)
        gain_X = jnp.where(new, outside_X / square, share * _dot(root_XZ, f_Z[None, :], 1))
        taken_Z = jnp.where(new, f_Z - next_Z, f_Z / (1 + jnp.sqrt(share)))
        along_Z = jnp.where(new, next_Z / jnp.sqrt(square), 0.0)
        w_X += gain_X * (y - _dot(x_X, w_X, 0))
        root_XZ -= gain_X[:, None] * taken_Z[None, :]
        basis_XZ += outside_X[:, None] * along_Z[None, :]
        return (w_X, root_XZ, basis_XZ, rank + new), w_X

    start_X = jnp.zeros_like(x_LX[0])
    state = (start_X, start_XZ.astype(x_LX.dtype), jnp.zeros((d, d), x_LX.dtype), jnp.where(damped, d, 0))
    _, w_LX = jax.lax.scan(add, state, (x_LX, y_L.astype(x_LX.dtype)))
    return jnp.concatenate([start_X[None], w_LX])


def _dot(a: Array, b: Array, axis: int) -> Array:
    return jnp.sum(a * b, axis=axis)
