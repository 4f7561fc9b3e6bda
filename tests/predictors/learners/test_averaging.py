"""Averaging and the best preconditioned step: their forms of a covariance, and the theory's matrices and rates."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Averaging, GradientDescent, Preconditioned
from icl_sim.theory import risks

LAM = np.array([[1.0, 0.3, 0.0, 0.0], [0.3, 0.5, 0.1, 0.0], [0.0, 0.1, 2.0, -0.4], [0.0, 0.0, -0.4, 0.8]])


def moments(batch):
    """X^T y of every prefix, `[B, S, X]`."""
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    before = np.cumsum(x * y[..., None], axis=1)[:, :-1]
    return np.concatenate([np.zeros_like(before[:, :1]), before], axis=1)


@pytest.mark.parametrize("covariance", [0.5, np.array([1.0, 2.0, 0.5, 0.25]), LAM])
def test_averaging_is_its_formula(covariance, make_prompts, answer):
    with jax.enable_x64(True):
        batch = make_prompts(noise=0.3, dtype=np.float64)
        w_BSX = answer(Averaging(covariance=jnp.asarray(covariance)), batch).record["w"]
    matrix = covariance * np.eye(4) if np.ndim(covariance) < 2 else covariance
    expected = np.linalg.solve(matrix, (moments(batch) / np.maximum(np.arange(7), 1)[:, None])[..., None])[..., 0]
    np.testing.assert_allclose(w_BSX, expected, rtol=1e-12, atol=1e-14)


def test_averaging_of_white_inputs_is_a_step_of_rate_1(make_prompts, answer):
    batch = make_prompts()
    np.testing.assert_allclose(
        answer(Averaging(), batch).values, answer(GradientDescent(rate=1.0), batch).values, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("noise", [0.0, 0.7])
@pytest.mark.parametrize("covariance", [0.5, np.array([1.0, 2.0, 0.5, 0.25]), LAM])
def test_the_preconditioner_is_that_of_the_theory(covariance, noise, make_prompts, answer):
    with jax.enable_x64(True):
        batch = make_prompts(dtype=np.float64)
        w_BSX = answer(Preconditioned(covariance=jnp.asarray(covariance), noise=noise), batch).record["w"]
    matrix = covariance * np.eye(4) if np.ndim(covariance) < 2 else covariance
    for k in range(1, 7):
        best = risks.preconditioner(matrix, k, noise=noise)
        np.testing.assert_allclose(w_BSX[:, k], moments(batch)[:, k] @ best / k, rtol=1e-11)


def test_for_white_inputs_it_is_the_step_of_the_best_rate(make_prompts, answer):
    batch = make_prompts(noise=0.5)
    got = answer(Preconditioned(), batch).values  # the noise of the batch
    for k in range(1, 7):
        rate = risks.best_rate(k, 4, noise=0.5)
        np.testing.assert_allclose(got[:, k], answer(GradientDescent(rate=rate), batch).values[:, k], rtol=1e-5)


def with_law(batch, **latents):
    told = {name: jnp.asarray(number, float) for name, number in latents.items()}
    return dataclasses.replace(batch, latents={**batch.latents, **told})


def test_it_is_a_step_from_the_mean_of_w_in_units_of_its_scale(make_prompts, answer):
    with jax.enable_x64(True):
        batch = make_prompts(noise=0.5, dtype=np.float64)
        deviations = answer(Preconditioned(noise=0.25), batch).record["w"]
        moved = dataclasses.replace(batch, targets=batch.targets + 0.7 * jnp.sum(batch.inputs, axis=-1))
        w_BSX = answer(Preconditioned(), with_law(moved, w_scale=2.0, w_mean=0.7)).record["w"]
        np.testing.assert_allclose(w_BSX, 0.7 + deviations, rtol=1e-12, atol=1e-12)
        fixed = answer(Preconditioned(noise=0.25), with_law(batch, w_mean=0.7)).record["w"]
        np.testing.assert_array_equal(fixed, deviations)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_weights_of_scale_0_are_known(noise, make_prompts, answer):
    batch = with_law(make_prompts(noise=noise), w_scale=0.0, w_mean=1.0)
    np.testing.assert_array_equal(answer(Preconditioned(), batch).record["w"], 1.0)


def test_for_uniform_inputs_it_is_the_step_of_the_best_rate(make_prompts, answer):
    x_BSX = np.random.default_rng(0).uniform(-0.5, 0.5, size=(3, 11, 10))
    batch = make_prompts(inputs=x_BSX, every=False)
    got = answer(Preconditioned(covariance=1 / 12, noise=0.0, kurtosis=9 / 5), batch).values
    np.testing.assert_allclose(got, answer(GradientDescent(rate=6.060606), batch).values, rtol=1e-5)


@pytest.mark.parametrize(
    ("learner", "sentence"),
    [
        (Averaging(covariance=0.0), "covariance of averaging is 0.0; it must be positive"),
        (Averaging(covariance=np.array([1.0, -1.0])), "covariance of averaging is .* it must be positive"),
        (Averaging(covariance=np.array([[1.0, 2.0], [2.0, 1.0]])), "positive definite"),
        (Averaging(covariance=np.array([[1.0, 0.2], [0.0, 1.0]])), "positive definite"),
        (Preconditioned(noise=-1.0), "noise of the preconditioned step is -1.0; it must be at least 0"),
        (Preconditioned(kurtosis=0.5), "kurtosis of the preconditioned step is 0.5; none is below 1"),
    ],
)
def test_refuses_with_a_sentence(learner, sentence):
    with pytest.raises(ValueError, match=sentence):
        learner.check()


def test_refuses_a_covariance_of_other_inputs(make_prompts):
    with pytest.raises(ValueError, match=r"has shape \(3,\) for inputs of 4; allowed: \(\), \(4,\), \(4, 4\)"):
        Averaging(covariance=jnp.ones(3)).apply({}, make_prompts())
