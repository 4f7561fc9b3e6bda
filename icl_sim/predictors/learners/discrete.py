"""Bayes predictors that know the finite pool of linear tasks they were trained on (Raventos et al. 2023)."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import names, pools
from icl_sim.predictors.learners.prefixes import contract, latents, prefixes
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static, unbounded


@setting
class DiscreteMMSE(Predictor):
    """The Bayes predictor for w uniform over a pool w_1, ..., w_M and noise N(0, sigma^2)  (dMMSE, eq. 3):

        w = sum_i p_i w_i,    p = softmax_i(-sum_j (y_j - w_i.x_j)^2 / (2 sigma^2)).

    Before any pair it is the mean of the pool. At M = inf it is the limit, Ridge((sigma / tau)^2), which for a pool of
    another law than the normal is only the best linear one. The pool is drawn in chunks as it is gone through, so that
    memory is O(B chunk); time is O(B S M d). The answers have derivatives (reverse mode).

    Attributes:
      pool: M, from 1 to 2^24, or inf.
      noise: sigma, at least 0; it counts at least 100 eps (tau + |mu|), where rounding cannot tell it from 0.
      w_scale, w_mean: tau and mu; w_i = mu + tau * row i of the pool.
      seed: of the pool.
        Each of these five, where it is None, is the batch's latent: "pool", "noise", "w_scale", "w_mean", "pool_seed".
      law: of the rows, as in `icl_sim.pools`; where the pool is the task's, its law.
      chunk: how many rows are held at a time.
    """

    pool: Leaf | None = unbounded(None)
    noise: Leaf | None = None
    w_scale: Leaf | None = None
    w_mean: Leaf | None = None
    seed: Leaf | None = None
    law: str = static("normal")
    chunk: int = static(512)

    def check(self) -> None:
        _check(self)

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        return _answer(self, batch, 0.0, record)


@setting
class SmoothedMMSE(Predictor):
    """The Bayes predictor for w from a mixture of N(w_i, s^2 I) around the pool  (Raventos et al. 2023, appendix):

        w = sum_i p_i m_i,    p_i ~ N(y; X w_i, C),    m_i = w_i + s^2 X^T C^{-1} (y - X w_i),

    with C = s^2 X X^T + sigma^2 I. At s = 0 it is `DiscreteMMSE`, whose fields and limits it shares; with M = 1 it is
    ridge regression towards w_1.

    Attributes:
      width: s, at least 0; where it is learned, its start, above 0.
      learned: whether s is a parameter, exp("log_width"), which training fits.
    """

    width: Leaf = 0.1
    pool: Leaf | None = unbounded(None)
    noise: Leaf | None = None
    w_scale: Leaf | None = None
    w_mean: Leaf | None = None
    seed: Leaf | None = None
    law: str = static("normal")
    chunk: int = static(512)
    learned: bool = static(False)

    def check(self) -> None:
        _check(self)
        if not 0 <= self.width < math.inf or (self.learned and self.width == 0):
            least = "above 0, since it is learned by its logarithm" if self.learned else "at least 0"
            raise ValueError(f"The width of smoothed dMMSE is {self.width}; it must be finite and {least}.")

    def init(self, key: Key, batch: Batch) -> Params:
        del key, batch
        return {"log_width": jnp.log(jnp.asarray(self.width, jnp.float32))} if self.learned else {}

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        return _answer(self, batch, jnp.exp(params["log_width"]) if self.learned else self.width, record)


_LATENTS = {"pool": "pool", "noise": "noise", "w_scale": "w_scale", "w_mean": "w_mean", "seed": "pool_seed"}


def _check(known: DiscreteMMSE | SmoothedMMSE) -> None:
    size = known.pool
    if size is not None and size != math.inf and not (1 <= size <= pools.MAX_POOL and size == int(size)):
        most = f"{pools.MAX_POOL} (2^24)"
        raise ValueError(f"The pool is {size}; it must be a whole number from 1 to {most}, or inf, or None.")
    if known.noise is not None and not 0 <= known.noise < math.inf:
        raise ValueError(f"The noise is {known.noise}; it must be a number of at least 0, or None.")
    if known.w_scale is not None and not 0 <= known.w_scale < math.inf:
        raise ValueError(f"The w_scale is {known.w_scale}; it must be a number of at least 0, or None.")
    if known.w_mean is not None and not math.isfinite(known.w_mean):
        raise ValueError(f"The w_mean is {known.w_mean}; it must be a finite number, or None.")
    if known.seed is not None and (known.seed != int(known.seed) or not 0 <= known.seed < 2**32):
        raise ValueError(f"The seed is {known.seed}; it must be a whole number from 0 to 2^32 - 1, or None.")
    names.require("law", known.law, pools.LAWS)
    if known.chunk < 1:
        raise ValueError(f"chunk is {known.chunk}; it must be at least 1.")


def _answer(known: DiscreteMMSE | SmoothedMMSE, batch: Batch, width: Leaf, record: bool) -> Outputs:
    """Pairs are whitened by what a component of the mixture expects of them, w_i.a + b, and how surely. What is left is
    a pool of points under unit noise, from whose mean row the components' means follow, being affine in it."""
    asked = prefixes(batch)
    if known.pool is None and batch.pool_law not in (None, known.law):
        raise ValueError(
            f"The law of {type(known).__name__} is {known.law!r}, and that of the task's pool {batch.pool_law!r}; they "
            "must be the same."
        )
    size, noise, w_scale, w_mean, seed = (
        latents(batch, (latent,), type(known).__name__, name)[0] if (given := getattr(known, name)) is None else given
        for name, latent in _LATENTS.items()
    )
    dtype = asked.x_BLX.dtype
    rounding, finite = jnp.finfo(dtype), jnp.isfinite(jnp.asarray(size, dtype))
    # An infinite pool is a normal law of width tau around mu, whatever the one row that is then gone through.
    variance = jnp.square(width) + jnp.where(finite, 0.0, jnp.square(w_scale))
    noise = jnp.maximum(noise, 100 * rounding.eps * (w_scale + jnp.abs(w_mean)) + rounding.tiny**0.25)
    y_BL = asked.y_BL - w_mean * jnp.sum(asked.x_BLX, axis=-1)
    a_BLX, b_BL, root_BSXZ, shift_BSX = jax.vmap(_whiten, in_axes=(0, 0, None, None))(
        asked.x_BLX, y_BL, jnp.asarray(noise, dtype), jnp.asarray(variance, dtype)
    )
    count = jnp.where(finite, size, 1).astype(jnp.int32)
    row_BSX = _mean_row(a_BLX * w_scale, b_BL, seed, count, known.law, known.chunk)
    row_BSX = jnp.where(finite, row_BSX * w_scale, 0.0)
    w_BSX = w_mean + shift_BSX + contract("BSXZ,BSYZ,BSY->BSX", root_BSXZ, root_BSXZ, row_BSX)
    return asked.answer(w_BSX[:, -len(asked.count_P) :], record)


def _whiten(x_LX: Array, y_L: Array, noise: Array, variance: Array) -> tuple[Array, Array, Array, Array]:
    """What a component N(w_i, s^2 I) makes of each pair, given those before it.

    After k pairs its mean is F w_i + c and its covariance s^2 F. It expects y with mean x.(F w_i + c) and variance
    v = sigma^2 + s^2 x.F x, so that (y - x.c - (F x).w_i) / sqrt(v) is standard normal. F is kept as a square root,
    F = R R^T (Potter), since F itself would lose its small eigenvalues to rounding where noise is small.

    Returns F x / sqrt(v) `[L, X]` and (y - x.c) / sqrt(v) `[L]` of every pair, R `[S, X, X]` and c `[S, X]` of every
    prefix.
    """

    def add(state: tuple[Array, Array], pair: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        root_XZ, shift_X = state
        x_X, y = pair
        f_Z = contract("XZ,X->Z", root_XZ, x_X)
        spread_X = contract("XZ,Z->X", root_XZ, f_Z)
        v = jnp.square(noise) + variance * jnp.sum(jnp.square(f_Z))
        deviation = jnp.sqrt(v)
        surprise = y - jnp.sum(x_X * shift_X)
        after = (
            root_XZ - spread_X[:, None] * f_Z[None, :] * (variance / (v + noise * deviation)),
            shift_X + spread_X * (variance * surprise / v),
        )
        return after, (spread_X / deviation, surprise / deviation, *after)

    d = x_LX.shape[1]
    root_XZ, shift_X = jnp.eye(d, dtype=x_LX.dtype), jnp.zeros_like(x_LX[0])
    _, (a_LX, b_L, root_LXZ, shift_LX) = jax.lax.scan(add, (root_XZ, shift_X), (x_LX, y_L))
    return a_LX, b_L, jnp.concatenate([root_XZ[None], root_LXZ]), jnp.concatenate([shift_X[None], shift_LX])


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _mean_row(x_BLX: Array, y_BL: Array, seed: Leaf, count: Array, law: str, chunk: int) -> Array:
    """Means of rows u_i, weighted by prod_j N(y_j; u_i.x_j, 1), after 0, 1, ..., L pairs, `[B, S, X]`."""
    return _mean_row_forward(x_BLX, y_BL, seed, count, law, chunk)[0]


def _mean_row_forward(x_BLX: Array, y_BL: Array, seed: Leaf, count: Array, law: str, chunk: int) -> tuple[Array, Any]:
    """By a running log-sum-exp over chunks of the pool; in a chunk, pair after pair, which stays in cache."""
    B, L, d = x_BLX.shape
    x_SBX = jnp.pad(jnp.moveaxis(x_BLX, 1, 0), ((0, 1), (0, 0), (0, 0)))
    y_SB = jnp.pad(y_BL.T, ((0, 1), (0, 0)))

    def add(number: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        u_NX, log_prior_N = _rows(number, seed, count, d, law, chunk, x_BLX.dtype)
        u1_NY = jnp.append(u_NX, jnp.ones_like(u_NX[:, :1]), axis=1)

        def weigh(log_p_BN: Array, pair: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            x_BX, y_B = pair
            top_B = jnp.max(log_p_BN, axis=1)
            weighted_BY = contract("BN,NY->BY", jnp.exp(log_p_BN - top_B[:, None]), u1_NY)
            residual_BN = y_B[:, None] - contract("BX,NX->BN", x_BX, u_NX)
            return log_p_BN - jnp.square(residual_BN) / 2, (top_B, weighted_BY)

        start_BN = jnp.broadcast_to(log_prior_N[None], (B, chunk))
        _, sums_of_chunk = jax.lax.scan(weigh, start_BN, (x_SBX, y_SB))
        return _merge(sums, sums_of_chunk)

    start = jnp.full((L + 1, B), -jnp.inf, x_BLX.dtype), jnp.zeros((L + 1, B, d + 1), x_BLX.dtype)
    top_SB, weighted_SBY = jax.lax.fori_loop(0, (count + chunk - 1) // chunk, add, start)
    mean_BSX = jnp.moveaxis(weighted_SBY[..., :-1] / weighted_SBY[..., -1:], 0, 1)
    log_total_BS = (top_SB + jnp.log(weighted_SBY[..., -1])).T
    return mean_BSX, (x_BLX, y_BL, seed, count, mean_BSX, log_total_BS)


def _mean_row_backward(law: str, chunk: int, kept: Any, out_BSX: Array) -> tuple[Array, Array, None, None]:
    """d mean = sum_i p_i (u_i - mean) d log p_i, chunk by chunk: a loop of unknown length has no derivative itself."""
    x_BLX, y_BL, seed, count, mean_BSX, log_total_BS = kept

    def add(number: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        u_NX, log_prior_N = _rows(number, seed, count, x_BLX.shape[2], law, chunk, x_BLX.dtype)

        def log_likelihood(x_BLX: Array, y_BL: Array) -> Array:
            residual_BLN = y_BL[..., None] - contract("BLX,NX->BLN", x_BLX, u_NX)
            return jnp.pad(jnp.cumsum(-jnp.square(residual_BLN) / 2, axis=1), ((0, 0), (1, 0), (0, 0)))

        log_p_BSN, pull_back = jax.vjp(log_likelihood, x_BLX, y_BL)
        p_BSN = jnp.exp(log_p_BSN + log_prior_N[None, None] - log_total_BS[..., None])
        along_BSN = contract("BSX,NX->BSN", out_BSX, u_NX) - jnp.sum(out_BSX * mean_BSX, axis=-1, keepdims=True)
        dx_BLX, dy_BL = pull_back(p_BSN * along_BSN)
        return sums[0] + dx_BLX, sums[1] + dy_BL

    start = jnp.zeros_like(x_BLX), jnp.zeros_like(y_BL)
    dx_BLX, dy_BL = jax.lax.fori_loop(0, (count + chunk - 1) // chunk, add, start)
    return dx_BLX, dy_BL, None, None


_mean_row.defvjp(_mean_row_forward, _mean_row_backward)


def _rows(number: Array, seed: Leaf, count: Array, d: int, law: str, chunk: int, dtype: Any) -> tuple[Array, Array]:
    """A chunk of the pool `[N, X]`, and 0 for each row that exists, -inf for those past the end."""
    index_N = number * chunk + jnp.arange(chunk)
    u_NX = pools.rows(seed, index_N, d, law).astype(dtype)
    return u_NX, jnp.where(index_N < count, 0.0, -jnp.inf).astype(dtype)


def _merge(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """Adds sums of exponentials that are each relative to the largest of them."""
    top_SB = jnp.maximum(one[0], other[0])
    first_SB1, second_SB1 = (jnp.exp(part[0] - top_SB)[..., None] for part in (one, other))
    return top_SB, first_SB1 * one[1] + second_SB1 * other[1]
