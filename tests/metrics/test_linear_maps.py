"""Comparisons of layers by their weights, on layers whose weights are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import metrics
from icl_sim.metrics.linear_maps import CopySensitivity, Interpolation, Rollout
from icl_sim.predictors import KernelCopy, LinearAttention
from icl_sim.theory.constructions import Constructed, construct
from icl_sim.types import Answerer, Batch, Outputs

DIM, PAIRS = 3, 6


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.5, 0.5, (5, PAIRS + 1, DIM)).astype(np.float32)
    y = np.einsum("bsx,bx->bs", x, rng.normal(size=(5, DIM))).astype(np.float32)
    return Batch(inputs=jnp.asarray(x), targets=jnp.asarray(y), kinds=jnp.zeros(y.shape, jnp.int8))


def made(batch, kind="gd", rate=4.0, network=None, **kwargs) -> Answerer:
    predictor = Constructed(network=network or LinearAttention(), construction=kind, rate=rate, **kwargs)
    return Answerer(predictor, predictor.init(jax.random.key(0), batch))


def disguised(answerer: Answerer, scale: float) -> Answerer:
    """The same function by other weights: keys and queries turned, values turned, a factor moved from P to W_Q."""
    rng = np.random.default_rng(1)
    D = answerer.params["query"].shape[-1]
    turn, squeeze = (jnp.asarray(rng.normal(size=(D, D)), jnp.float32) for _ in range(2))
    params = answerer.params
    inverse_turn, inverse_squeeze = jnp.linalg.inv(turn), jnp.linalg.inv(squeeze)
    return Answerer(
        LinearAttention(),
        {
            "query": scale * jnp.einsum("de,lhef->lhdf", turn, params["query"]),
            "key": jnp.einsum("ed,lhef->lhdf", inverse_turn, params["key"]),
            "value": jnp.einsum("de,lhef->lhdf", squeeze, params["value"]),
            "out": jnp.einsum("lhde,ef->lhdf", params["out"], inverse_squeeze) / scale,
        },
    )


def loss(answerer, batch):
    return metrics.loss(Outputs(values=answerer(batch)), batch)


@pytest.mark.parametrize("kind, shrink", [("gd", 0.0), ("gd++", 0.1)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_average_of_a_layer_and_its_disguise_is_that_layer(batch, kind, shrink, share):
    a = made(batch, kind, shrink=shrink)
    b = disguised(a, -7.0)
    np.testing.assert_allclose(b(batch), a(batch), rtol=1e-3, atol=1e-4)
    assert np.abs(np.asarray(b.params["query"]) - np.asarray(a.params["query"])).max() > 1
    found = Interpolation(share=share).compare(a, b, batch)["interpolation_loss"]
    assert found.shape == (5,)
    np.testing.assert_allclose(found, loss(a, batch), rtol=2e-3, atol=1e-4)
    # Without the products, averaged weights are another function.
    naive = Answerer(LinearAttention(), jax.tree.map(lambda x, y: (x + y) / 2, a.params, b.params))
    assert np.abs(np.asarray(naive(batch) - a(batch))).max() > 0.05


def test_between_two_rates_lies_their_mean(batch):
    """One step is linear in eta, so that the average of steps of 2 and 6 is one of 4, and 3/4 of the way one of 5."""
    a, b = made(batch, rate=2.0), disguised(made(batch, rate=6.0), 3.0)
    for share, rate in ((0.5, 4.0), (0.75, 5.0)):
        found = Interpolation(share=share).compare(a, b, batch)["interpolation_loss"]
        np.testing.assert_allclose(found, loss(made(batch, rate=rate), batch), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("kind, shrink", [("gd", 0.0), ("gd++", 0.1)])
def test_tied_layers_are_averaged_as_one(batch, kind, shrink):
    tied = LinearAttention(depth=3, tied=True)
    a = made(batch, kind, network=tied, shrink=shrink)
    found = Interpolation().compare(a, Answerer(tied, disguised(a, 2.0).params), batch)["interpolation_loss"]
    np.testing.assert_allclose(found, loss(a, batch), rtol=2e-3, atol=1e-5)


def test_a_rollout_of_gradient_descent_is_gradient_descent(batch):
    found = Rollout(uses=(1, 3, 50)).compare(made(batch, rate=4.0), made(batch), batch)
    assert set(found) == {"rollout_loss/1", "rollout_loss/3", "rollout_loss/50"}
    for uses in (1, 3, 50):
        for b in range(5):
            x, y = np.asarray(batch.inputs[b], np.float64), np.asarray(batch.targets[b], np.float64)
            w = np.zeros(DIM)
            for _ in range(uses):
                w = w - 0.75 * 4.0 / PAIRS * x[:-1].T @ (x[:-1] @ w - y[:-1])
            assert found[f"rollout_loss/{uses}"][b] == pytest.approx((x[-1] @ w - y[-1]) ** 2, rel=1e-3, abs=1e-8)


def test_a_layer_that_copies_depends_on_the_next_token(batch):
    """Of an exact copy d output_j / d input_j is I, and d output_j / d input_(j+1) has y's slot alone."""
    network = LinearAttention(depth=2, tokens="interleaved", position="one_hot", shared_slot=False, softmax_layers=(0,))
    width = DIM + 1 + 2 * PAIRS + 1
    untrained = Answerer(network, jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0), batch)))
    found = CopySensitivity().compare(untrained, untrained, batch)
    np.testing.assert_allclose(found["sensitivity_own"], np.sqrt(width), rtol=1e-6)
    np.testing.assert_allclose(found["sensitivity_next"], 0.0)
    np.testing.assert_allclose(found["sensitivity_other"], 0.0)
    # A sharp softmax is constant in logits, so only the value of the next token's y slot is left.
    copying = Answerer(network, construct("gd", network, DIM, PAIRS, 1.0, sharpness=40.0))
    found = CopySensitivity().compare(copying, untrained, batch)
    np.testing.assert_allclose(found["sensitivity_own"], np.sqrt(width), rtol=1e-5)
    np.testing.assert_allclose(found["sensitivity_next"], 1.0, rtol=1e-5)
    np.testing.assert_allclose(found["sensitivity_other"], 0.0, atol=1e-5)


def test_a_layer_that_attends_evenly_depends_on_all_alike(batch):
    network = LinearAttention(depth=2, tokens="interleaved", position="one_hot", shared_slot=False, softmax_layers=(0,))
    params = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0), batch))
    width = params["query"].shape[-1]
    params = {**params, "value": params["value"] + jnp.eye(width)[None, None], "out": params["value"]}
    params["out"] = params["out"] + 2.0 * jnp.eye(width)[None, None]
    found = CopySensitivity().compare(Answerer(network, params), Answerer(network, params), batch)
    each = 2.0 / (2 * PAIRS) * np.sqrt(width)  # 2 I / N of every token of the context, none of the query's
    np.testing.assert_allclose(found["sensitivity_own"], (1 + 2.0 / (2 * PAIRS)) * np.sqrt(width), rtol=1e-5)
    np.testing.assert_allclose(found["sensitivity_next"], each, rtol=1e-5)
    np.testing.assert_allclose(found["sensitivity_other"], each * (2 * PAIRS - 2) / (2 * PAIRS - 1), rtol=1e-5)


def test_refuses_with_a_sentence(batch):
    a, copy = made(batch), Answerer(KernelCopy(), {"theta": jnp.zeros(())})
    with pytest.raises(ValueError, match="KernelCopy has not"):
        Interpolation().compare(a, copy, batch)
    with pytest.raises(ValueError, match="equal structure"):
        Interpolation().compare(a, made(batch, network=LinearAttention(depth=2)), batch)
    with pytest.raises(ValueError, match="interleaved tokens, 13 of them"):
        CopySensitivity().compare(a, a, batch)
    with pytest.raises(ValueError, match="share is 1.5"):
        Interpolation(share=1.5).check()
    with pytest.raises(ValueError, match=r"uses are \(0,\)"):
        Rollout(uses=(0,)).check()


def test_measures_of_weights_do_not_apply_to_what_has_none(batch):
    a, copy = made(batch), Answerer(KernelCopy(), {"theta": jnp.zeros(())})
    for comparison in (Interpolation(), Rollout(), CopySensitivity()):
        assert comparison.compare(copy, a, batch) == {}
