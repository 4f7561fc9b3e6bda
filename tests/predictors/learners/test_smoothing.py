"""Kernel smoothing against the definition, and against the attention and the nearest neighbour that it is."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import KernelSmoothing, Nearest
from icl_sim.predictors.networks import attention
from icl_sim.types import Batch


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return Batch(
        inputs=jnp.asarray(rng.normal(size=(4, 7, 3)), jnp.float32),
        targets=jnp.asarray(rng.normal(size=(4, 7)), jnp.float32),
        kinds=jnp.zeros((4, 7), jnp.int8),
        weights=jnp.ones((4, 7)),
    )


@pytest.mark.parametrize("similarity", ["dot", "squared_distance"])
def test_every_prefix_is_a_weighted_mean_of_targets(batch, similarity):
    got_BS = KernelSmoothing(similarity=similarity, temperature=0.7).apply({}, batch).values
    x, y = np.asarray(batch.inputs, np.float64), np.asarray(batch.targets, np.float64)
    expected_BS = np.zeros(y.shape)
    for b, s in np.ndindex(*y.shape):
        dot, distance = x[b, :s] @ x[b, s], np.sum((x[b, :s] - x[b, s]) ** 2, axis=1)
        if s:
            weight = np.exp((dot if similarity == "dot" else -distance / 2) / 0.7)
            expected_BS[b, s] = np.average(y[b, :s], weights=weight)
    np.testing.assert_allclose(got_BS, expected_BS, rtol=1e-5, atol=1e-6)
    alone = KernelSmoothing(similarity=similarity, temperature=0.7).apply({}, dataclasses.replace(batch, weights=None))
    np.testing.assert_allclose(alone.values, got_BS[:, -1:], rtol=1e-6)


def test_it_is_a_head_of_softmax_attention(batch):
    mixed_B1X, _ = attention.attend(batch.inputs[:, -1:], batch.inputs[:, :-1], batch.targets[:, :-1, None], None)
    # `attend` divides by the root of the width of keys.
    got_BS = KernelSmoothing(temperature=3**0.5).apply({}, batch).values
    np.testing.assert_allclose(got_BS[:, -1], mixed_B1X[:, 0, 0], rtol=1e-5)


def test_cold_it_is_the_nearest_neighbour_and_hot_the_mean(batch):
    cold = KernelSmoothing(similarity="squared_distance", temperature=1e-4).apply({}, batch).values
    np.testing.assert_allclose(cold, Nearest(neighbours=1).apply({}, batch).values, rtol=1e-5)
    hot = KernelSmoothing(temperature=1e6).apply({}, batch).values
    np.testing.assert_allclose(hot[:, -1], jnp.mean(batch.targets[:, :-1], axis=1), rtol=1e-3, atol=1e-5)


def test_a_learned_temperature_has_a_gradient(batch):
    learner = KernelSmoothing(temperature=2.0, learned=True)
    params = learner.init(jax.random.key(0), batch)
    np.testing.assert_allclose(
        learner.apply(params, batch).values, KernelSmoothing(temperature=2.0).apply({}, batch).values, rtol=1e-6
    )
    slope = jax.grad(lambda params: jnp.mean(learner.apply(params, batch).values ** 2))(params)["log_temperature"]
    assert jnp.isfinite(slope) and slope != 0


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": float("nan")}, {"similarity": "cosine"}])
def test_refuses_with_a_sentence(settings):
    with pytest.raises(ValueError, match="temperature is .*positive number|similarity is 'cosine'.*dot"):
        KernelSmoothing(**settings).check()
