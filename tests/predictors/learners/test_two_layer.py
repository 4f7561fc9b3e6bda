"""The network trained on the context: against a plain loop of Adam, and what it may look at."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import TwoLayerNet
from icl_sim.types import Batch


def pairs(B=2, S=6, d=2, seed=0, weights=True, dtype=jnp.float32) -> Batch:
    rng = np.random.default_rng(seed)
    x_BSX = rng.normal(size=(B, S, d))
    return Batch(
        inputs=jnp.asarray(x_BSX, dtype),
        targets=jnp.asarray(np.maximum(x_BSX[..., 0], 0.0) - x_BSX[..., -1], dtype),
        kinds=jnp.zeros((B, S), jnp.int8),
        weights=jnp.ones((B, S)) if weights else None,
    )


@jax.jit
def answers(learner: TwoLayerNet, batch: Batch) -> jax.Array:
    return learner.apply({}, batch).values


def by_hand(learner: TwoLayerNet, x_LX, y_L, query_X) -> float:
    """Adam (Kingma and Ba 2015) on all pairs at once, with the gradients written out."""
    p = {name: np.asarray(leaf, np.float64) for name, leaf in learner._draw(x_LX.shape[1]).items()}
    m, v = ({name: np.zeros_like(leaf) for name, leaf in p.items()} for _ in range(2))
    for t in range(1, learner.steps + 1):
        hidden_LF = x_LX @ p["W"] + p["b"]
        slope_L = 2 * (np.maximum(hidden_LF, 0) @ p["a"] + p["c"] - y_L) / len(y_L)
        back_LF = slope_L[:, None] * p["a"] * (hidden_LF > 0)
        g = {"W": x_LX.T @ back_LF, "b": back_LF.sum(0), "a": slope_L @ np.maximum(hidden_LF, 0), "c": slope_L.sum()}
        for name in p:
            m[name] = 0.9 * m[name] + 0.1 * g[name]
            v[name] = 0.999 * v[name] + 0.001 * g[name] ** 2
            p[name] = p[name] - learner.rate * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
    return float(np.maximum(query_X @ p["W"] + p["b"], 0) @ p["a"] + p["c"])


def test_every_prefix_has_the_network_of_a_plain_loop():
    """With at least as many pairs per step as there are, nothing is random."""
    learner = TwoLayerNet(width=5, batch_size=10, steps=30, rate=0.02)
    with jax.enable_x64(True):
        batch = pairs(dtype=jnp.float64)
        got_BS = np.asarray(answers(learner, batch))
        x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
        expected_BS = [
            [by_hand(learner, x[b, :s], y[b, :s], x[b, s]) if s else 0.0 for s in range(6)] for b in range(2)
        ]
    np.testing.assert_allclose(got_BS, expected_BS, rtol=1e-8, atol=1e-10)


def test_learns_its_own_pairs_and_a_line_from_minibatches():
    rng = np.random.default_rng(0)
    x_BSX = jnp.asarray(rng.normal(size=(4, 61, 2)), jnp.float32)
    batch = Batch(inputs=x_BSX, targets=x_BSX[..., 0] - x_BSX[..., 1], kinds=jnp.zeros((4, 61), jnp.int8))
    learner = TwoLayerNet(width=50, steps=1500)
    asked_again = dataclasses.replace(batch, inputs=batch.inputs.at[:, -1].set(batch.inputs[:, 7]))
    np.testing.assert_allclose(answers(learner, asked_again)[:, 0], batch.targets[:, 7], atol=0.1)
    assert np.abs(answers(learner, batch)[:, 0] - batch.targets[:, -1]).max() < 0.3


def test_thinned_networks_answer_until_the_next():
    batch = pairs(S=8)
    learner = TwoLayerNet(width=5, steps=20)
    all_BS = np.asarray(answers(learner, batch))
    thinned_BS = np.asarray(answers(dataclasses.replace(learner, every=3), batch))
    np.testing.assert_allclose(thinned_BS[:, [3, 6]], all_BS[:, [3, 6]], rtol=1e-5, atol=1e-6)
    assert (thinned_BS[:, :3] == 0).all()
    # Slot 7 is asked as if it were slot 6.
    moved = dataclasses.replace(batch, inputs=batch.inputs.at[:, 6].set(batch.inputs[:, 7]))
    np.testing.assert_allclose(thinned_BS[:, 7], answers(learner, moved)[:, 6], rtol=1e-5, atol=1e-6)
    alone = answers(learner, dataclasses.replace(batch, weights=None))
    np.testing.assert_allclose(alone, all_BS[:, -1:], rtol=1e-5, atol=1e-6)


def test_later_pairs_and_the_own_target_change_nothing():
    batch, other = pairs(S=8), pairs(S=8, seed=1)
    learner = TwoLayerNet(width=5, steps=20, batch_size=2)
    changed = dataclasses.replace(
        batch, inputs=batch.inputs.at[:, 5:].set(other.inputs[:, 5:]), targets=batch.targets.at[:, 4:].set(9.0)
    )
    np.testing.assert_allclose(answers(learner, changed)[:, :5], answers(learner, batch)[:, :5], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [dict(rate=0), dict(seed=-1), dict(width=0), dict(steps=0), dict(every=0)])
def test_refuses_with_a_sentence(changes):
    with pytest.raises(ValueError, match=f"is {next(iter(changes.values()))};"):
        TwoLayerNet(**changes).check()
