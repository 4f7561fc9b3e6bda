"""Nearest neighbours: every prefix against the definition, classes and real targets."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Nearest
from icl_sim.types import Batch

answers = jax.jit(lambda learner, batch: learner.apply({}, batch).values)


def regression(B=6, S=9, d=3, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        inputs=rng.normal(size=(B, S, d)).astype(np.float32),
        targets=rng.normal(size=(B, S)).astype(np.float32),
        kinds=np.zeros((B, S), np.int8),
        weights=np.ones((B, S), np.float32),
    )


@pytest.mark.parametrize("weighting", ["uniform", "inverse", "inverse_square"])
@pytest.mark.parametrize("neighbours", [1, 3, 20])
def test_every_prefix_is_answered_by_its_nearest_pairs(weighting, neighbours):
    batch = regression()
    got_BS = answers(Nearest(neighbours=neighbours, weighting=weighting), batch)
    x, y = np.asarray(batch.inputs, np.float64), np.asarray(batch.targets, np.float64)
    expected_BS = np.zeros(y.shape)
    for b, s in np.ndindex(*y.shape):
        distance_L = np.linalg.norm(x[b, :s] - x[b, s], axis=1)
        near = np.argsort(distance_L)[:neighbours]
        if s:
            power = {"uniform": 0, "inverse": -1, "inverse_square": -2}[weighting]
            expected_BS[b, s] = np.average(y[b, near], weights=distance_L[near] ** power)
    np.testing.assert_allclose(got_BS, expected_BS, rtol=1e-5, atol=1e-6)
    alone = dataclasses.replace(batch, weights=None)
    np.testing.assert_allclose(
        answers(Nearest(neighbours=neighbours, weighting=weighting), alone), got_BS[:, -1:], rtol=1e-6
    )


@pytest.mark.parametrize("weighting", ["inverse", "inverse_square"])
def test_a_pair_at_the_query_alone_decides(weighting):
    batch = regression(S=6)
    batch.inputs[:, -1] = batch.inputs[:, 2]
    learner = Nearest(neighbours=3, weighting=weighting)
    np.testing.assert_array_equal(answers(learner, batch)[:, -1], batch.targets[:, 2])
    batch.inputs[:, 4] = batch.inputs[:, 2]
    expected_B = (batch.targets[:, 2] + batch.targets[:, 4]) / 2
    np.testing.assert_allclose(answers(learner, batch)[:, -1], expected_B, rtol=1e-6)


@pytest.mark.parametrize("weighting", ["inverse", "inverse_square"])
def test_gradients_are_finite_at_a_pair_at_the_query(weighting):
    """The pair alone decides there, and so the slope is 1 in its target, 0 in all inputs and other targets."""
    batch = regression(S=6)
    batch.inputs[:, -1] = batch.inputs[:, 2]
    learner = Nearest(neighbours=3, weighting=weighting)

    @jax.grad
    def slopes(part):
        return jnp.sum(learner.apply({}, dataclasses.replace(batch, **part)).values[:, -1])

    found = jax.jit(slopes)({"inputs": jnp.asarray(batch.inputs), "targets": jnp.asarray(batch.targets)})
    np.testing.assert_array_equal(found["targets"], np.tile(np.arange(6) == 2, (6, 1)))
    np.testing.assert_array_equal(found["inputs"], 0.0)


def test_classes_are_shares_of_the_nearest_in_every_slot():
    batch = Batch(
        inputs=np.asarray([[[5.0], [1.0], [2.0], [0.0]]], np.float32),
        targets=np.asarray([[0, 1, 2, 0]], np.int32),
        kinds=np.asarray([[0, 0, 0, 2]], np.int8),
        weights=np.ones((1, 4), np.float32),
        num_classes=3,
    )
    p_SC = np.exp(answers(Nearest(neighbours=2), batch))[0]
    np.testing.assert_allclose(p_SC[1:], [[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(p_SC[0], [1e-7] * 3, rtol=1e-5)
    p_C = np.exp(answers(Nearest(neighbours=2, weighting="inverse_square"), batch))[0, -1]
    np.testing.assert_allclose(p_C, [0, 0.8, 0.2], atol=1e-6)  # distances 1 and 2
    alone = dataclasses.replace(batch, weights=None)
    np.testing.assert_allclose(np.exp(answers(Nearest(neighbours=2), alone)), p_SC[-1:], rtol=1e-6)


def test_published_errors_of_three_neighbours_in_20_dimensions():
    """Measured on 20k prompts for the specification; err/d at k = 5, 10, 20, 40."""
    B, S, d = 3000, 41, 20
    kx, kw = jax.random.split(jax.random.key(1))
    x_BSX, w_BX = jax.random.normal(kx, (B, S, d)), jax.random.normal(kw, (B, d))
    y_BS = jnp.einsum("BSX,BX->BS", x_BSX, w_BX)
    batch = Batch(inputs=x_BSX, targets=y_BS, kinds=jnp.zeros((B, S), jnp.int8), weights=jnp.ones((B, S)))
    values_BS = answers(Nearest(neighbours=3), batch)
    error_BS = np.asarray((values_BS - y_BS) ** 2)[:, [5, 10, 20, 40]] / d
    published = np.asarray([1.09, 0.86, 0.81, 0.66])
    bound = 3.5 * error_BS.std(0) / B**0.5 + 0.01 * published  # and their rounding
    assert (np.abs(error_BS.mean(0) - published) < bound).all(), (error_BS.mean(0), published, bound)


def test_later_pairs_and_the_own_target_change_nothing():
    batch, other = regression(), regression(seed=1)
    learner = Nearest(neighbours=3, weighting="inverse_square")
    for s in (0, 3, 8):
        changed = regression()
        changed.inputs[:, s + 1 :], changed.targets[:, s:] = other.inputs[:, s + 1 :], other.targets[:, s:]
        got_BS, expected_BS = np.asarray(answers(learner, changed)), np.asarray(answers(learner, batch))
        np.testing.assert_array_equal(got_BS[:, : s + 1], expected_BS[:, : s + 1])


def test_refuses_with_a_sentence():
    with pytest.raises(ValueError, match="neighbours is 0"):
        Nearest(neighbours=0).check()
    with pytest.raises(ValueError, match="weighting is 'inverse_sqare'; .* Did you mean 'inverse_square'"):
        Nearest(weighting="inverse_sqare").check()
