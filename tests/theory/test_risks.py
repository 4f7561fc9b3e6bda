"""Closed-form risks against Monte Carlo within its own standard errors, published numbers, and each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_sim import predictors
from icl_sim.theory import risks
from icl_sim.types import Batch

D, L = 5, 14
K = np.arange(L + 1)
weights = jax.jit(lambda learner, batch: learner.apply({}, batch, record=True).record["w"])


def prompts(noise, sequences=20_000, mix=None, half_width=None, pairs=L, dim=D, seed=0):
    """Prompts of x ~ N(0, mix mix^T), or uniform ones, and their w."""
    rng = np.random.default_rng(seed)
    shape = (sequences, pairs + 1, dim)
    x_BSX = rng.normal(size=shape) if half_width is None else rng.uniform(-half_width, half_width, size=shape)
    x_BSX = x_BSX if mix is None else x_BSX @ mix.T
    w_BX = rng.normal(size=(sequences, dim))
    y_BS = np.einsum("BSX,BX->BS", x_BSX, w_BX) + noise * rng.normal(size=shape[:2])
    kinds = jnp.zeros(shape[:2], jnp.int8)
    batch = Batch(
        inputs=jnp.asarray(x_BSX, jnp.float32), targets=jnp.asarray(y_BS, jnp.float32), kinds=kinds, weights=kinds + 1.0
    )
    return batch, w_BX


def agrees(learner, batch, w_BX, risk_S, spread=None, where=slice(None)):
    """The mean of (w - w*)^T spread (w - w*) / d is the risk at every prefix, within 4 standard errors."""
    off_BSX = np.asarray(weights(learner, batch), np.float64) - w_BX[:, None]
    spread = np.eye(w_BX.shape[1]) if spread is None else spread
    error_BS = np.einsum("BSX,XZ,BSZ->BS", off_BSX, spread, off_BSX)[:, where] / w_BX.shape[1]
    gap_S = np.abs(error_BS.mean(0) - risk_S[where])
    assert (gap_S <= 4 * error_BS.std(0) / np.sqrt(len(error_BS)) + 1e-9).all(), (error_BS.mean(0), risk_S[where])


def test_least_squares_without_noise():
    batch, w_BX = prompts(0.0)
    risk_S = risks.least_squares(K, D)
    np.testing.assert_allclose(risk_S, [1, 0.8, 0.6, 0.4, 0.2, *[0] * 10])
    agrees(predictors.LeastSquares(), batch, w_BX, risk_S)


def test_least_squares_with_noise():
    # The error has a variance, and the mean of a sample an error, where E |X^+|^4 exists: |k - d| > 3.
    batch, w_BX = prompts(0.7, dim=6, pairs=20)
    risk_S = risks.least_squares(np.arange(21), 6, noise=0.7)
    assert np.isinf(risk_S[5:8]).all() and np.isfinite(np.delete(risk_S, [5, 6, 7])).all()
    agrees(predictors.LeastSquares(), batch, w_BX, risk_S, where=np.array([0, 1, 2, *range(11, 21)]))


def test_least_squares_with_noise_below_d():
    batch, w_BX = prompts(1.0, dim=16, pairs=11, sequences=8000)
    agrees(predictors.LeastSquares(), batch, w_BX, risks.least_squares(np.arange(12), 16, noise=1.0))


def test_one_dimension_with_noise_has_a_mean_only_without_or_with_many_pairs():
    np.testing.assert_allclose(risks.least_squares([0, 1, 2, 3, 4], 1, noise=1.0), [1, np.inf, np.inf, 1, 0.5])


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_averaging_and_one_step(noise):
    batch, w_BX = prompts(noise)
    agrees(predictors.Averaging(), batch, w_BX, risks.averaging(K, D, noise=noise))
    step = predictors.GradientDescent(rate=0.6)
    agrees(step, batch, w_BX, risks.one_step(K, D, 0.6, noise=noise))
    step = predictors.GradientDescent(rate=0.03, convention="sum")
    agrees(step, batch, w_BX, risks.one_step(K, D, 0.03, noise=noise, convention="sum"))
    agrees(predictors.Preconditioned(noise=noise), batch, w_BX, risks.best_one_step(K, D, noise=noise))


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_the_best_step_for_any_covariance(noise):
    mix = np.random.default_rng(5).normal(size=(4, 4))
    lam = mix @ mix.T
    batch, w_BX = prompts(noise, mix=mix, dim=4)
    risk_S = np.array([np.trace(lam) / 4, *risks.preconditioned(lam, K[1:], noise=noise)])
    agrees(predictors.Preconditioned(covariance=jnp.asarray(lam), noise=noise), batch, w_BX, risk_S, spread=lam)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_one_step_for_uniform_inputs(noise):
    batch, w_BX = prompts(noise, half_width=0.8)
    spread = 0.8**2 / 3 * np.eye(D)
    risk_S = np.array([0.8**2 / 3, *risks.one_step_uniform(K[1:], D, 2.0, half_width=0.8, noise=noise)])
    agrees(predictors.GradientDescent(rate=2.0), batch, w_BX, risk_S, spread=spread)
    risk_S = np.array([0.8**2 / 3, *risks.best_one_step_uniform(K[1:], D, half_width=0.8, noise=noise)])
    best = predictors.Preconditioned(covariance=0.8**2 / 3, noise=noise, kurtosis=9 / 5)
    agrees(best, batch, w_BX, risk_S, spread=spread)


def test_ridge_from_least_squares():
    # Monte Carlo of the bound, l^2 E tr (X^T X)^{-2} / d, and of the distance itself for a small l.
    with jax.enable_x64(True):
        batch, w_BX = prompts(0.0, dim=2, pairs=16)
        batch = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), batch)
        off = weights(predictors.Ridge(penalty=1e-3), batch) - weights(predictors.LeastSquares(), batch)
    distance_BS = (np.asarray(off) ** 2).mean(2)[:, 10:]
    expected_S = risks.ridge_from_least_squares(1e-3, np.arange(10, 17), 2)
    gap_S = np.abs(distance_BS.mean(0) - expected_S)
    assert (gap_S <= 4 * distance_BS.std(0) / np.sqrt(len(w_BX)) + 1e-3 * expected_S).all()


def test_published_numbers():
    assert risks.best_rate_uniform(10, 10) == pytest.approx(6.0606, abs=5e-5)
    assert 10 * risks.best_one_step_uniform(10, 10) == pytest.approx(0.41246, abs=5e-6)
    assert 5 * risks.best_one_step_uniform(10, 10) == pytest.approx(0.20623, abs=5e-6)
    assert 10 * risks.one_step_uniform(10, 10, 0.0) / 2 == pytest.approx(0.41667, abs=5e-6)
    # Garg et al.: averaging at k = 5, 10, 20, 40 for d = 20.
    np.testing.assert_allclose(risks.averaging([5, 10, 20, 40], 20), [4.2, 2.1, 1.05, 0.525])


COUNTS, DIMS, NOISES = st.integers(1, 200), st.integers(1, 100), st.floats(0, 3)


@given(k=COUNTS, d=DIMS, noise=NOISES, convention=st.sampled_from(risks.CONVENTIONS))
def test_the_best_rate_is_the_best(k, d, noise, convention):
    rate = risks.best_rate(k, d, noise=noise, convention=convention)
    at = risks.one_step(k, d, rate * np.array([0.99, 1.0, 1.01]), noise=noise, convention=convention)
    assert at[1] == pytest.approx(risks.best_one_step(k, d, noise=noise), rel=1e-12)
    assert at[0] > at[1] < at[2]
    uniform = dict(half_width=0.7, noise=noise)
    rate = risks.best_rate_uniform(k, d, **uniform)
    at = risks.one_step_uniform(k, d, rate * np.array([0.99, 1.0, 1.01]), **uniform)
    assert at[1] == pytest.approx(risks.best_one_step_uniform(k, d, **uniform), rel=1e-12)
    assert at[0] > at[1] < at[2]


@given(k=COUNTS, d=st.integers(1, 12), noise=NOISES)
def test_white_inputs_need_no_matrix(k, d, noise):
    best = risks.preconditioner(np.eye(d), k, noise=noise)
    np.testing.assert_allclose(best, risks.best_rate(k, d, noise=noise) * np.eye(d), rtol=1e-12)
    risk = risks.preconditioned(np.eye(d), k, noise=noise)
    assert risk == pytest.approx(risks.best_one_step(k, d, noise=noise), rel=1e-9, abs=1e-12)


def test_they_broadcast_and_are_numbers_for_numbers():
    assert risks.least_squares(K[:, None], [3, 5], noise=0.1).shape == (L + 1, 2)
    assert risks.one_step(K[:, None], D, [0.1, 0.2, 0.3]).shape == (L + 1, 3)
    assert risks.preconditioner(np.eye(3), K[1:, None], noise=[0.0, 0.1]).shape == (L, 2, 3, 3)
    assert risks.preconditioned(np.eye(3), K[1:, None], noise=[0.0, 0.1]).shape == (L, 2)
    assert isinstance(risks.averaging(3, 4), float)


@pytest.mark.parametrize(
    ("function", "arguments", "sentence"),
    [
        (risks.least_squares, (-1, 4), "seen is -1; allowed: whole numbers of at least 0"),
        (risks.averaging, (2.5, 4), "seen is 2.5; allowed: whole"),
        (risks.best_one_step, (2, 0), "dim is 0; allowed: whole numbers of at least 1"),
        (risks.one_step, (2, 4, float("nan")), "rate is nan; allowed: finite numbers"),
        (risks.one_step_uniform, (0, 4, 1.0), "seen is 0; allowed: whole numbers of at least 1"),
        (risks.ridge_from_least_squares, (0.1, [9, 7], 4), "seen is 7 where dim is 4; allowed: .* above dim . 3"),
        (risks.preconditioner, (np.ones(3), 4), "covariance is .* symmetric positive definite"),
        (risks.preconditioner, (np.array([[1.0, 2.0], [2.0, 1.0]]), 4), "covariance is .* symmetric positive definite"),
    ],
)
def test_refuses_with_a_sentence(function, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        function(*arguments)


def test_refuses_noise_half_widths_and_conventions():
    with pytest.raises(ValueError, match="noise is -1; allowed: finite numbers of at least 0"):
        risks.least_squares(3, 4, noise=-1)
    with pytest.raises(ValueError, match="half_width is 0; allowed: finite numbers above 0"):
        risks.best_rate_uniform(3, 4, half_width=0)
    with pytest.raises(ValueError, match="convention of the rate is 'men'; allowed: mean, sum. Did you mean 'mean'"):
        risks.best_rate(3, 4, convention="men")
