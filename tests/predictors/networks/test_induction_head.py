"""The head of three numbers: by its formula, exact where they are large, and what of it trains."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim import metrics
from icl_sim.predictors import InductionHead
from icl_sim.tasks import Regression
from icl_sim.tasks.sequences.presets import reddy
from icl_sim.types import SUPPORT, Batch

HEAD = InductionHead(hidden=(5, 6), gain=2.0)
run = jax.jit(lambda head, params, batch: head.apply(params, batch, record=True))


@pytest.fixture(scope="module")
def batch() -> Batch:
    return jax.jit(lambda key: reddy(16, 4, context_length=4).sample(key, 6))(jax.random.key(1))


@pytest.fixture(scope="module")
def params(batch):
    return jax.jit(HEAD.init)(jax.random.key(2), batch)


def with_numbers(params, **numbers):
    return {**params, "head": {name: np.float32(value) for name, value in numbers.items()}}


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def test_it_is_the_formula_token_by_token(batch, params):
    beta1, alpha, beta2 = 0.6, 1.4, -0.8
    outputs = run(HEAD, with_numbers(params, beta1=beta1 / 2, alpha=alpha / 2, beta2=beta2 / 2), batch)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for b in range(len(batch.inputs)):
        labels = p["labels"]["vectors"][np.asarray(batch.targets[b])]
        x = [token for pair in zip(np.asarray(batch.inputs[b]), labels, strict=True) for token in pair][:-1]
        u = []
        for j in range(9):
            weight = softmax(np.array([beta1 * (i == j - 1) for i in range(j + 1)]))
            u.append(x[j] + weight @ np.array(x[: j + 1]))
        second = softmax(np.array([alpha * (x[8] @ u[i]) + beta2 * (i % 2) for i in range(9)]))
        h = u[8] + second @ np.array(u)
        for number in range(3):
            layer = p["classifier"][f"layer{number}"]
            h = np.maximum(h @ layer["kernel"] + layer["bias"], 0) if number < 2 else h @ layer["kernel"]
        np.testing.assert_allclose(outputs.record["attention/1"][b, 0, 0], second, atol=1e-5)
        np.testing.assert_allclose(outputs.values[b], h, rtol=1e-4, atol=1e-4)


def test_with_large_numbers_it_looks_at_the_right_label_alone(batch, params):
    outputs = run(HEAD, with_numbers(params, beta1=30.0, alpha=60.0, beta2=300.0), batch)
    np.testing.assert_allclose(metrics.previous_token(outputs, batch), 1, atol=1e-5)
    np.testing.assert_allclose(metrics.right_labels(outputs, batch), 1, atol=1e-3)
    support = np.asarray(batch.kinds[:, :-1] == SUPPORT)
    np.testing.assert_allclose(outputs.record["attention/1"][:, 0, 0, 1::2], support, atol=1e-3)


def test_at_first_attention_is_even(batch, params):
    outputs = run(HEAD, params, batch)
    np.testing.assert_allclose(outputs.record["attention/1"], 1 / 9, rtol=1e-5)
    np.testing.assert_allclose(outputs.record["attention/0"][0, 0], np.tri(9) / np.arange(1, 10)[:, None], rtol=1e-5)
    assert np.all(np.isclose(metrics.induction_strength(outputs, batch), 0, atol=1e-6))


def test_without_beta2_there_are_two_numbers(batch, params):
    two = InductionHead(hidden=(5, 6), gain=2.0, beta2=False)
    assert set(two.init(jax.random.key(2), batch)["head"]) == {"beta1", "alpha"}
    numbers = {"beta1": 0.3, "alpha": 0.7}
    expected = run(HEAD, with_numbers(params, beta2=0.0, **numbers), batch).values
    np.testing.assert_array_equal(run(two, with_numbers(params, **numbers), batch).values, expected)
    assert two.account(with_numbers(params, **numbers)) == {"beta1": pytest.approx(0.6), "alpha": pytest.approx(1.4)}


def test_regression_and_impossible_sizes_are_refused_in_a_sentence():
    batch = jax.eval_shape(lambda key: Regression(dim=2, context_length=3).sample(key, 2), jax.random.key(0))
    with pytest.raises(ValueError, match="with a class"):
        HEAD.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match="at least 1"):
        InductionHead(hidden=(0,)).check()
    with pytest.raises(ValueError, match="positive and finite"):
        InductionHead(gain=0.0).check()
