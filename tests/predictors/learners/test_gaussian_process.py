"""The posterior of a Gaussian process: every prefix by an inverse, ridge regression, and rounding."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.kernels import LinearKernel, Periodic, SquaredExponential
from icl_sim.predictors import GaussianProcessPosterior
from icl_sim.types import Batch


def pairs(B=4, S=9, d=2, dtype=jnp.float32, seed=0, noise=None) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        inputs=jnp.asarray(rng.normal(size=(B, S, d)), dtype),
        targets=jnp.asarray(rng.normal(size=(B, S)), dtype),
        kinds=jnp.zeros((B, S), jnp.int8),
        weights=jnp.ones((B, S)),
        latents={} if noise is None else {"noise": jnp.asarray(noise)},
    )


@pytest.mark.parametrize("kernel", [SquaredExponential(length_scale=0.7, variance=2.0), Periodic(period=3.0)])
def test_every_prefix_is_its_formula(kernel):
    with jax.enable_x64(True):
        batch = pairs(dtype=jnp.float64)
        got_BS = GaussianProcessPosterior(kernel=kernel, noise=0.3).apply({}, batch).values
        k_BST = np.asarray(kernel(batch.inputs, batch.inputs))
    y = np.asarray(batch.targets)
    expected_BS = [
        [k[s, :s] @ np.linalg.solve(k[:s, :s] + 0.09 * np.eye(s), y[b, :s]) for s in range(9)]
        for b, k in enumerate(k_BST)
    ]
    np.testing.assert_allclose(got_BS, expected_BS, rtol=1e-10, atol=1e-12)


def test_with_a_linear_kernel_it_is_ridge_regression():
    with jax.enable_x64(True):
        batch = pairs(S=12, d=5, dtype=jnp.float64)
        learner = GaussianProcessPosterior(kernel=LinearKernel(variance=1.5**2), noise=0.5)
        got_BS = learner.apply({}, batch).values
    penalty, x, y = (0.5 / 1.5) ** 2, np.asarray(batch.inputs), np.asarray(batch.targets)
    for b, s in np.ndindex(4, 12):
        w_X = np.linalg.solve(x[b, :s].T @ x[b, :s] + penalty * np.eye(5), x[b, :s].T @ y[b, :s])
        assert got_BS[b, s] == pytest.approx(w_X @ x[b, s], abs=1e-10)


def test_interpolates_without_noise_and_knows_a_repeated_input():
    batch = pairs()
    again = dataclasses.replace(batch, inputs=batch.inputs.at[:, -1].set(batch.inputs[:, 3]))
    got_BS = GaussianProcessPosterior(noise=0.0).apply({}, again).values
    np.testing.assert_allclose(got_BS[:, -1], again.targets[:, 3], atol=0.02)


@pytest.mark.parametrize("kernel", [SquaredExponential(length_scale=30.0), LinearKernel()])
def test_singular_covariances_stay_finite_in_single_precision(kernel):
    rng = np.random.default_rng(0)
    x_BSX = jnp.asarray(rng.normal(size=(300, 41, 3)), jnp.float32).at[:, 0].set(0.0)
    y_BS = jnp.sum(x_BSX, axis=-1)
    batch = Batch(inputs=x_BSX, targets=y_BS, kinds=jnp.zeros((300, 41), jnp.int8), weights=jnp.ones((300, 41)))
    got_BS = jax.jit(lambda batch: GaussianProcessPosterior(kernel=kernel, noise=0.0).apply({}, batch).values)(batch)
    assert np.isfinite(got_BS).all()
    if isinstance(kernel, LinearKernel):  # 40 pairs without noise say what w is
        np.testing.assert_allclose(got_BS[:, 10:], y_BS[:, 10:], atol=0.05)


def test_takes_the_noise_that_the_batch_knows_and_answers_the_query_alone():
    batch = pairs(noise=0.4)
    expected_BS = GaussianProcessPosterior(noise=0.4).apply({}, batch).values
    np.testing.assert_array_equal(GaussianProcessPosterior().apply({}, batch).values, expected_BS)
    alone = dataclasses.replace(batch, weights=None)
    np.testing.assert_array_equal(GaussianProcessPosterior().apply({}, alone).values, expected_BS[:, -1:])
    with pytest.raises(ValueError, match="takes its noise from the task's latent 'noise'"):
        GaussianProcessPosterior().apply({}, pairs())


def test_later_pairs_and_the_own_target_change_nothing():
    batch, other = pairs(), pairs(seed=1)
    learner = GaussianProcessPosterior(noise=0.1)
    for s in (0, 4, 8):
        changed = dataclasses.replace(
            batch,
            inputs=batch.inputs.at[:, s + 1 :].set(other.inputs[:, s + 1 :]),
            targets=batch.targets.at[:, s:].set(jnp.nan if s == 8 else 3.0),
        )
        np.testing.assert_allclose(
            learner.apply({}, changed).values[:, : s + 1], learner.apply({}, batch).values[:, : s + 1], atol=1e-5
        )


def test_refuses_with_a_sentence():
    with pytest.raises(ValueError, match="The noise is -1;"):
        GaussianProcessPosterior(noise=-1).check()
    with pytest.raises(ValueError, match="length_scale of SquaredExponential is 0;"):
        GaussianProcessPosterior(kernel=SquaredExponential(length_scale=0)).check()
    classes = dataclasses.replace(pairs(noise=0.1), num_classes=3)
    with pytest.raises(ValueError, match="3 classes"):
        GaussianProcessPosterior().apply({}, classes)
