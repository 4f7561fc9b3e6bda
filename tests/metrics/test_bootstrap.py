"""Bootstrap intervals: numpy's for the same draws, coverage of a known law, and what cannot be resampled."""

from __future__ import annotations

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim.metrics import bootstrap
from icl_sim.metrics.bootstrap import counts

run = jax.jit(bootstrap, static_argnames="resamples")


def test_counts_are_those_of_draws_with_replacement(key):
    """Multinomial: mean 1, variance 1 - 1/n, covariance -1/n."""
    count_RN = np.asarray(jax.vmap(lambda k: counts(k, 8))(jax.random.split(key, 20_000)))
    np.testing.assert_array_equal(count_RN.sum(axis=1), np.full(20_000, 8))
    np.testing.assert_allclose(count_RN.mean(axis=0), np.ones(8), atol=0.03)
    np.testing.assert_allclose(np.cov(count_RN.T), np.eye(8) - 1 / 8, atol=0.05)


@pytest.mark.parametrize("chunk", [2**22, 300])
def test_equals_numpy_for_the_same_draws(chunk, key, monkeypatch):
    """Also where the resamples do not fit in memory at once."""
    monkeypatch.setattr(importlib.import_module("icl_sim.metrics.bootstrap"), "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    value_NP, weight_NP = 5 + rng.normal(size=(50, 3)), rng.uniform(size=(50, 3))
    jitted = jax.jit(functools.partial(bootstrap, resamples=70, interval=0.8))
    found = jitted(jnp.asarray(value_NP), jnp.asarray(weight_NP), key)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(70))
    count_RN = np.asarray(jax.vmap(lambda k: counts(k, 50))(keys))
    mean_RP = count_RN @ (value_NP * weight_NP) / (count_RN @ weight_NP)
    np.testing.assert_allclose(found, np.percentile(mean_RP, [10, 90], axis=0), rtol=1e-6)


def test_covers_the_mean_as_often_as_it_says(key):
    """Of 100 normal values: 1.637 errors to either side, in units of the t-statistic with 99 degrees of freedom."""
    sampling, resampling = jax.random.split(key)
    value_NP = jax.random.normal(sampling, (100, 2000))  # 2000 positions are as many data sets
    low_P, high_P = run(value_NP, jnp.ones_like(value_NP), resampling, resamples=400)
    share = (0.05 * 399 + 1) / 401  # that the 5th percentile of 400 numbers leaves below it
    z = -stats.norm.ppf(share)
    covered = 1 - 2 * stats.t(99).sf(z * np.sqrt(99 / 100))
    error = np.sqrt(0.9 * 0.1 / 2000)
    assert np.mean((low_P <= 0) & (high_P >= 0)) == pytest.approx(covered, abs=3 * error)
    assert np.mean(low_P > 0) == pytest.approx((1 - covered) / 2, abs=3 * error)
    # The standard deviation of 100 values, dividing by 100, is 0.9925 on average.
    assert np.mean(high_P - low_P) == pytest.approx(2 * z * 0.9925 / 10, rel=0.01)


@pytest.mark.parametrize("value", [0.3, 1e-30, -7e8])
def test_equal_values_have_no_width(value, key):
    weight_NP = jnp.asarray(np.random.default_rng(0).uniform(size=(30, 2)), jnp.float32)
    low_P, high_P = run(jnp.full((30, 2), value), weight_NP, key, resamples=50)
    np.testing.assert_array_equal(low_P, high_P)
    np.testing.assert_allclose(low_P, np.full(2, value), rtol=1e-6)


def test_small_differences_beside_a_large_mean(key):
    """Of 1e4 + z in single precision, whose rounding is 1e-3 z: as wide as z's own, shifted."""
    z_NP = np.round(np.random.default_rng(0).normal(size=(500, 1)) * 64) / 64
    low, high = (float(x[0]) for x in run(jnp.asarray(z_NP), jnp.ones((500, 1)), key, resamples=200))
    far = [float(x[0]) for x in run(jnp.asarray(1e4 + z_NP), jnp.ones((500, 1)), key, resamples=200)]
    np.testing.assert_allclose(far, [1e4 + low, 1e4 + high], atol=2e-3)


def test_values_without_weight_are_not_looked_at(key):
    value_NP = jnp.asarray(np.random.default_rng(0).normal(size=(40, 3)), jnp.float32)
    weight_NP = jnp.ones((40, 3)).at[:20, 0].set(0).at[:, 1].set(0)
    hidden_NP = value_NP.at[:20, 0].set(jnp.nan)
    found, expected = (run(v, weight_NP, key, resamples=100) for v in (hidden_NP, value_NP))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.isnan(found), [[False, True, False]] * 2)  # nothing counts at all


def test_a_resample_in_which_nothing_counts_is_left_out(key):
    """One prompt of four counts: 32 % of resamples miss it."""
    value_NP, weight_NP = jnp.arange(4.0)[:, None], jnp.asarray([[0.0], [0.0], [2.0], [0.0]])
    np.testing.assert_array_equal(run(value_NP, weight_NP, key, resamples=100), [[2], [2]])


def test_lost_values_lose_their_position_alone(key):
    value_NP = jnp.ones((40, 3)).at[3, 1].set(jnp.nan).at[5, 2].set(jnp.inf)
    np.testing.assert_array_equal(np.isnan(run(value_NP, jnp.ones((40, 3)), key)), [[False, True, True]] * 2)
