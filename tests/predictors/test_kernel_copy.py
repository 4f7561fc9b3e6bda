"""h copies: closed forms of its probabilities, cost and gradient."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import KernelCopy, Nearest
from icl_sim.types import SUPPORT, Batch

FLOOR_COST = -math.log(1e-7)  # 16.118


answers = jax.jit(lambda learner, params, batch: learner.apply(params, batch).values)


@jax.jit
def cross_entropy(values_BC, batch: Batch):
    return -jnp.take_along_axis(values_BC, batch.targets[:, -1:], axis=1)[:, 0]


@pytest.mark.parametrize("learner", [KernelCopy(), KernelCopy(double_exponential=True), Nearest()])
def test_with_one_pair_copies_its_label(learner, make_batch, key):
    batch = make_batch(sequences=64, length=1, classes=4)
    cost_B = cross_entropy(answers(learner, learner.init(key, batch), batch), batch)
    matched_B = np.asarray(batch.kinds[:, 0] == SUPPORT)
    assert matched_B.any() and not matched_B.all()
    np.testing.assert_allclose(cost_B, np.where(matched_B, 0.0, FLOOR_COST), rtol=1e-6)


def test_is_a_softmax_over_squared_distances(make_batch):
    batch = make_batch(sequences=5, length=3, shape=(2,), classes=3)
    got_BC = np.exp(answers(KernelCopy(), {"theta": np.log(0.5)}, batch))
    x, y = np.asarray(batch.inputs, np.float64), np.asarray(batch.targets)
    for b in range(5):
        weight_L = np.exp(-((x[b, :-1] - x[b, -1]) ** 2).sum(-1) / 0.5)
        expected = [max(weight_L[y[b, :-1] == c].sum() / weight_L.sum(), 1e-7) for c in range(3)]
        np.testing.assert_allclose(got_BC[b], expected, rtol=1e-4, atol=1e-7)


def test_starts_at_the_given_temperature_and_the_papers_at_e(make_batch, key):
    batch = make_batch(length=3, shape=(2,))
    sane = KernelCopy(temperature=0.25).init(key, batch)
    assert np.exp(sane["theta"]) == pytest.approx(0.25)
    paper = KernelCopy(double_exponential=True)
    theta = paper.init(key, batch)["theta"]
    assert theta == 0.0
    expected = answers(KernelCopy(), {"theta": 1.0}, batch)  # tau = exp(1) = e
    np.testing.assert_allclose(answers(paper, {"theta": theta}, batch), expected, rtol=1e-6)
    # However small theta, the paper's tau stays above 1.
    coldest = answers(paper, {"theta": -50.0}, batch)
    np.testing.assert_allclose(coldest, answers(KernelCopy(), {"theta": 0.0}, batch), rtol=1e-6)


@pytest.mark.parametrize("double_exponential", [True, False])
def test_the_temperature_has_no_gradient_with_one_pair(double_exponential, make_batch, key):
    model = KernelCopy(double_exponential=double_exponential)

    def slope(length):
        batch = make_batch(sequences=16, length=length, shape=(2,), classes=3)
        params = model.init(key, batch)
        return jax.jit(jax.grad(lambda p: cross_entropy(model.apply(p, batch).values, batch).sum()))(params)["theta"]

    assert slope(1) == 0.0
    assert slope(3) != 0.0


@pytest.mark.parametrize("learner", [KernelCopy(), Nearest(neighbours=2)])
def test_the_order_of_the_context_does_not_matter(learner, make_batch, key):
    batch = make_batch(length=4)
    order = np.asarray([2, 0, 3, 1, 4])
    shuffled = dataclasses.replace(
        batch, inputs=batch.inputs[:, order], targets=batch.targets[:, order], kinds=batch.kinds[:, order]
    )
    params = learner.init(key, batch)
    np.testing.assert_allclose(answers(learner, params, batch), answers(learner, params, shuffled), atol=1e-5)


def test_nearest_counts_the_labels_of_the_k_nearest():
    batch = Batch(
        inputs=np.asarray([[[5.0], [1.0], [2.0], [0.0]]], np.float32),
        targets=np.asarray([[0, 1, 2, 0]], np.int32),
        kinds=np.asarray([[1, 0, 0, 2]], np.int8),
        num_classes=3,
    )
    p = {k: np.exp(answers(Nearest(neighbours=k), {}, batch))[0] for k in (1, 2, 9)}
    np.testing.assert_allclose(p[1], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(p[2], [0, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(p[9], [1 / 3] * 3, atol=1e-6)


@pytest.mark.parametrize("changes", [dict(temperature=0.0), dict(floor=0.0), dict(floor=1.0)])
def test_refuses_with_a_sentence(changes):
    with pytest.raises(ValueError, match=f"is {next(iter(changes.values()))};"):
        KernelCopy(**changes).check()


def test_nearest_refuses_no_neighbours():
    with pytest.raises(ValueError, match="neighbours is 0"):
        Nearest(neighbours=0).check()
