"""The lasso: optimality conditions of every prefix, its limits, and scikit-learn's answer."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Lasso
from icl_sim.types import Batch


def sparse(B=4, S=16, d=6, noise=0.1, dtype=jnp.float32, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    x_BSX = rng.normal(size=(B, S, d))
    y_BS = x_BSX[..., 0] - 2 * x_BSX[..., -1] + noise * rng.normal(size=(B, S))
    return Batch(
        inputs=jnp.asarray(x_BSX, dtype),
        targets=jnp.asarray(y_BS, dtype),
        kinds=jnp.zeros((B, S), jnp.int8),
        weights=jnp.ones((B, S)),
    )


@jax.jit
def outputs(learner: Lasso, batch: Batch):
    return learner.apply({}, batch, record=True)


def weights(learner: Lasso, batch: Batch) -> np.ndarray:
    return np.asarray(outputs(learner, batch).record["w"])


@pytest.mark.parametrize("penalty", [0.01, 0.3])
def test_every_prefix_meets_the_conditions_of_optimality(penalty):
    """X^T (y - X w) / k is a sign(w) where w is not 0, and at most a in size elsewhere (Tibshirani 1996)."""
    with jax.enable_x64(True):
        batch = sparse(dtype=jnp.float64)
        w_BSX = weights(Lasso(penalty=penalty), batch)
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    assert (w_BSX[:, 0] == 0).all()
    zeros = 0
    for b, k in np.ndindex(4, 16):
        if k:
            w_X = w_BSX[b, k]
            pull_X = x[b, :k].T @ (y[b, :k] - x[b, :k] @ w_X) / k
            np.testing.assert_allclose(pull_X[w_X != 0], penalty * np.sign(w_X[w_X != 0]), atol=1e-8)
            assert (np.abs(pull_X) <= penalty + 1e-8).all()
            zeros += (w_X == 0).sum()
    assert zeros > 50


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [1e-4, 0.1])
def test_agrees_with_scikit_learn_in_single_precision(noise, penalty):
    peer = pytest.importorskip("sklearn.linear_model").lars_path
    batch = sparse(S=31, d=20, noise=noise)
    w_BSX = weights(Lasso(penalty=penalty), batch)
    x, y = np.asarray(batch.inputs, float), np.asarray(batch.targets, float)
    for b in range(4):
        for k in (1, 2, 5, 10, 15, 19, 20, 21, 30):
            expected_X = peer(x[b, :k], y[b, :k], alpha_min=penalty, method="lasso")[2][:, -1]
            np.testing.assert_allclose(w_BSX[b, k], expected_X, atol=3e-4 * max(1, np.abs(expected_X).max()))


def test_its_derivative_is_that_of_differences():
    with jax.enable_x64(True):
        batch = sparse(B=1, S=9, d=12, dtype=jnp.float64)

        def total(targets_BS):
            return jnp.sum(outputs(Lasso(penalty=0.1), dataclasses.replace(batch, targets=targets_BS)).values)

        slope_S = jax.grad(total)(batch.targets)[0]
        for s in range(9):
            step = jnp.zeros_like(batch.targets).at[0, s].set(1e-6)
            difference = total(batch.targets + step) - total(batch.targets - step)
            assert slope_S[s] == pytest.approx(float(difference) / 2e-6, abs=1e-6)


def test_without_penalty_it_is_least_squares_and_with_a_large_one_nothing():
    with jax.enable_x64(True):
        batch = sparse(S=13, d=3, dtype=jnp.float64)
        free_BX = weights(Lasso(penalty=0.0), batch)[:, -1]
        none_BS = outputs(Lasso(penalty=100.0), batch).values
    for b in range(4):
        x, y = np.asarray(batch.inputs[b, :-1]), np.asarray(batch.targets[b, :-1])
        np.testing.assert_allclose(free_BX[b], np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-9)
    assert (np.asarray(none_BS) == 0).all()


def test_without_penalty_and_with_few_pairs_it_fits_with_the_least_sum_of_sizes():
    """A linear program (basis pursuit), in single precision."""
    optimize = pytest.importorskip("scipy.optimize")
    batch = sparse(S=31, d=20, noise=1.0)
    w_BSX = weights(Lasso(penalty=0.0), batch)
    x, y = np.asarray(batch.inputs, float), np.asarray(batch.targets, float)
    for b, k in np.ndindex(4, 11):
        if k:
            best = optimize.linprog(np.ones(40), A_eq=np.hstack([x[b, :k], -x[b, :k]]), b_eq=y[b, :k])
            np.testing.assert_allclose(x[b, :k] @ w_BSX[b, k], y[b, :k], atol=1e-3)
            assert np.abs(w_BSX[b, k]).sum() == pytest.approx(best.fun, rel=1e-3)


def test_in_one_dimension_it_is_a_soft_threshold():
    batch = Batch(
        inputs=jnp.asarray([[[1.0], [2.0], [3.0]]]),
        targets=jnp.asarray([[2.0, 1.0, 9.0]]),
        kinds=jnp.zeros((1, 3), jnp.int8),
        weights=jnp.ones((1, 3)),
    )
    # k = 1: (2 - a) / 1 * 2; k = 2: (4 - 2a) / 5 * 3.
    np.testing.assert_allclose(outputs(Lasso(penalty=0.5), batch).values, [[0.0, 3.0, 1.8]], rtol=1e-6)


def test_a_coordinate_that_is_always_0_changes_nothing():
    batch = sparse()
    padded = dataclasses.replace(batch, inputs=jnp.pad(batch.inputs, ((0, 0), (0, 0), (0, 2))))
    got = outputs(Lasso(), padded)
    np.testing.assert_allclose(got.values, outputs(Lasso(), batch).values, rtol=1e-4, atol=1e-5)


def test_later_pairs_and_the_own_target_change_nothing():
    batch, other = sparse(), sparse(seed=1)
    changed = dataclasses.replace(
        batch, inputs=batch.inputs.at[:, 8:].set(other.inputs[:, 8:]), targets=batch.targets.at[:, 7:].set(0.0)
    )
    np.testing.assert_allclose(
        outputs(Lasso(), changed).values[:, :8], outputs(Lasso(), batch).values[:, :8], rtol=1e-4, atol=1e-5
    )


def test_refuses_with_a_sentence():
    with pytest.raises(ValueError, match="The penalty of the lasso is -1.0;"):
        Lasso(penalty=-1.0).check()
