"""How far a mean over prompts may be off: percentile intervals from resampled prompts."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.types import Array, Key, Leaf

_CHUNK = 2**22  # counts in memory at a time


def bootstrap(
    values_NP: Array, weights_NP: Array, key: Key, resamples: int = 1000, interval: Leaf = 0.9
) -> tuple[Array, Array]:
    """Percentile bootstrap of the weighted means of N prompts at each of P positions.

    The N prompts are drawn N times with replacement, whole, `resamples` times; the limits are the (1 - interval) / 2
    and (1 + interval) / 2 quantiles of the means so found: the 5th and 95th percentile of 1000 means of 1280 prompts
    in Garg et al. 2022.

    Args:
      values_NP: what to average, `[N, P]`. A value that is not finite makes the limits of its position NaN.
      weights_NP: how much each counts, at least 0, `[N, P]`. Values of weight 0 are not looked at.
      key: of the draws.
      resamples: how many times.
      interval: the share of means between the limits, in (0, 1).

    Returns:
      The lower and the upper limits, `[P]` each; NaN where nothing counts.
    """
    N, P = values_NP.shape
    # Around the mean, so that rounding is that of deviations and equal values have no width at all.
    total_P = jnp.sum(weights_NP, axis=0)
    weighed_NP = jnp.where(weights_NP > 0, values_NP * weights_NP, 0.0)
    mean_P = jnp.sum(weighed_NP, axis=0) / jnp.where(total_P > 0, total_P, jnp.nan)
    deviation_NP = jnp.where(weights_NP > 0, (values_NP - mean_P[None]) * weights_NP, 0.0)
    columns_NQ = jnp.concatenate([deviation_NP, weights_NP.astype(deviation_NP.dtype)], axis=1)

    def sums(number: Array) -> Array:
        count_N = counts(jax.random.fold_in(key, number), N).astype(columns_NQ.dtype)
        return jnp.matmul(count_N[None], columns_NQ, precision=jax.lax.Precision.HIGHEST)[0]

    sum_RQ = jax.lax.map(sums, jnp.arange(resamples), batch_size=max(1, min(resamples, _CHUNK // N)))
    weight_RP = sum_RQ[:, P:]
    # A resample may hold nothing that counts.
    deviation_RP = jnp.where(weight_RP > 0, sum_RQ[:, :P] / jnp.where(weight_RP > 0, weight_RP, 1.0), jnp.nan)
    share_2 = 0.5 + jnp.asarray([-0.5, 0.5]) * interval
    low_P, high_P = jnp.nanquantile(deviation_RP, share_2, axis=0)
    return mean_P + low_P, mean_P + high_P


def counts(key: Key, n: int) -> Array:
    """How often each of n things is drawn in n draws with replacement, `[n]`."""
    return jnp.bincount(jax.random.randint(key, (n,), 0, n), length=n)
