"""Logistic regression: the conditions of optimality of every prefix, scikit-learn's answer, and what it refuses."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import LogisticRegression
from icl_sim.types import Batch


def classes(B=3, S=25, d=4, noise=0.5, dtype=jnp.float32, weights=True) -> Batch:
    rng = np.random.default_rng(0)
    x_BSX = rng.normal(size=(B, S, d))
    z_BS = x_BSX @ rng.normal(size=d) + noise * rng.normal(size=(B, S))
    return Batch(
        inputs=jnp.asarray(x_BSX, dtype),
        targets=jnp.asarray(z_BS > 0, jnp.int32),
        kinds=jnp.zeros((B, S), jnp.int8),
        weights=jnp.ones((B, S)) if weights else None,
        num_classes=2,
    )


@jax.jit
def outputs(learner: LogisticRegression, batch: Batch):
    return learner.apply({}, batch, record=True)


@pytest.mark.parametrize("noise", [0.0, 2.0])  # without, classes can be told apart, and only the penalty ends w
@pytest.mark.parametrize("penalty", [1e-2, 0.1, 10.0])
def test_every_prefix_meets_the_conditions_of_optimality(penalty, noise):
    with jax.enable_x64(True):
        batch = classes(noise=noise, dtype=jnp.float64)
        w_BPX = np.asarray(outputs(LogisticRegression(penalty=penalty, steps=12), batch).record["w"])
    x, s = np.asarray(batch.inputs), 2 * np.asarray(batch.targets) - 1
    assert (w_BPX[:, 0] == 0).all()
    for b, k in np.ndindex(w_BPX.shape[:2]):
        margin = s[b, :k] * (x[b, :k] @ w_BPX[b, k])
        pull_X = (s[b, :k] / (1 + np.exp(margin))) @ x[b, :k]
        np.testing.assert_allclose(pull_X, penalty * w_BPX[b, k], atol=1e-9)


def test_agrees_with_scikit_learn_in_single_precision():
    peer = pytest.importorskip("sklearn.linear_model").LogisticRegression(C=10.0, fit_intercept=False, tol=1e-8)
    batch = classes(S=31, d=20)
    told = np.asarray(outputs(LogisticRegression(), batch).values)
    for b in range(3):
        peer.fit(np.asarray(batch.inputs[b, :30]), np.asarray(batch.targets[b, :30]))
        wanted = peer.decision_function(np.asarray(batch.inputs[b, 30:]))[0]
        assert told[b, 30, 1] - told[b, 30, 0] == pytest.approx(wanted, abs=1e-3)


def test_a_query_alone_is_the_last_prefix_and_no_answer_looks_ahead():
    batch = classes()
    whole = np.asarray(outputs(LogisticRegression(), batch).values)
    alone = np.asarray(outputs(LogisticRegression(), dataclasses.replace(batch, weights=None)).values)
    np.testing.assert_allclose(alone, whole[:, -1], atol=1e-4)
    later = dataclasses.replace(batch, targets=batch.targets.at[:, 10:].set(1 - batch.targets[:, 10:]))
    changed = np.asarray(outputs(LogisticRegression(), later).values)
    np.testing.assert_allclose(changed[:, :11], whole[:, :11], atol=1e-4)
    assert (np.abs(changed[:, 11:] - whole[:, 11:]).max(axis=(0, 2)) > 0.01).all()


def test_the_answer_has_a_derivative_by_the_penalty():
    with jax.enable_x64(True):
        batch = classes(dtype=jnp.float64)

        def told(penalty):
            return jnp.sum(outputs(LogisticRegression(penalty=penalty, steps=12), batch).values[..., 1])

        slope, step = jax.grad(told)(0.5), 1e-5
        assert float(slope) == pytest.approx(float(told(0.5 + step) - told(0.5 - step)) / (2 * step), rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"penalty": 0.0}, "penalty of logistic regression is 0.0"), ({"steps": 0}, "steps of logistic regression are 0")],
)
def test_settings_that_fit_nothing_are_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        LogisticRegression(**fields).check()


@pytest.mark.parametrize("num_classes", [0, 3])
def test_other_than_two_classes_are_refused(num_classes):
    batch = dataclasses.replace(classes(), num_classes=num_classes)
    with pytest.raises(ValueError, match="logistic regression tells two of them apart"):
        LogisticRegression().apply({}, batch)
