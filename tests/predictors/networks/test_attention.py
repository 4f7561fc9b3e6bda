"""Softmax attention against its formula, and momentum of values against its closed form and its recurrence."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors.networks.attention import attend, momentum


@pytest.mark.parametrize("tokens", [3, 5], ids=["fewer_than_channels", "more_than_channels"])
def test_the_mix_is_that_of_the_softmax_and_has_its_gradient(tokens):
    rng = np.random.default_rng(0)
    q_BQK, k_BTK, v_BTK = (jnp.asarray(rng.normal(size=(2, tokens, 4)), jnp.float32) for _ in range(3))
    seen_TT = jnp.tri(tokens, dtype=bool)

    def softmax(q, k, v):
        map_BQT = jax.nn.softmax(jnp.einsum("BQK,BTK->BQT", q, k) / 2, where=seen_TT[None])
        return map_BQT @ v, map_BQT

    def both(attend):
        def loss(*qkv):
            mix, weights = attend(*qkv)
            return jnp.sum(jnp.sin(3 * mix)) + jnp.sum(weights**2)

        return jax.jit(lambda *qkv: (attend(*qkv), jax.grad(loss, (0, 1, 2))(*qkv)))(q_BQK, k_BTK, v_BTK)

    ours, theirs = both(lambda *qkv: attend(*qkv, seen_TT)), both(softmax)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)


def test_logits_of_any_size_give_weights():
    """What is not seen may be as large as it likes."""
    q_BQK, k_BTK = jnp.full((1, 3, 1), 1e4), jnp.asarray([[[-1e4], [-1e4], [1e4]]])
    mix_BQK, map_BQT = attend(q_BQK, k_BTK, jnp.asarray([[[1.0], [3.0], [7.0]]]), jnp.tri(3, dtype=bool))
    np.testing.assert_array_equal(map_BQT, [[[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]])
    np.testing.assert_array_equal(mix_BQK, [[[1], [2], [7]]])


def test_momentum_is_the_recurrence_and_the_closed_form():
    with jax.enable_x64(True):
        v_TK, eta = np.random.default_rng(1).normal(size=(7, 2)), 0.37
        got = np.asarray(momentum(7, eta, exclude_self=True, normalised=False) @ v_TK)
        m = np.zeros(2)
        for t in range(7):
            np.testing.assert_allclose(got[t], m, atol=1e-14)
            closed = sum((eta ** (t - i) * v_TK[i] for i in range(t)), np.zeros(2))
            np.testing.assert_allclose(got[t], closed, atol=1e-14)
            m = eta * (m + v_TK[t])


def test_momentum_with_the_token_itself_and_normalised_is_a_running_mean():
    with jax.enable_x64(True):
        eta, ones_T = 0.6, np.ones(9)
        excluded = momentum(9, eta, exclude_self=True, normalised=False)
        included = momentum(9, eta, exclude_self=False, normalised=False)
        np.testing.assert_allclose(included - excluded, np.eye(9), atol=1e-15)
        mean = momentum(9, eta, exclude_self=False, normalised=True) @ ones_T
        np.testing.assert_allclose(mean, 1 - eta ** np.arange(1, 10), atol=1e-14)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_momentum_can_be_learned(eta):
    """d/d eta of sum_{i<t} eta^(t-i) is sum of n eta^(n-1), at 0 too."""
    slope = jax.grad(lambda e: jnp.sum(momentum(4, e, exclude_self=True, normalised=False)[3]))(eta)
    assert slope == pytest.approx(1 + 2 * eta + 3 * eta**2)
