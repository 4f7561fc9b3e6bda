"""Hand-set layers against the recursions that they are, in float64."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import LinearAttention
from icl_sim.theory.constructions import Constructed, construct, hessian_map
from icl_sim.types import QUERY, Batch

DIM, PAIRS = 3, 7
RATES, SHRINKS = (0.9, 0.5, 1.3), (0.02, 0.05, 0.01)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def regression(sequences=4, pairs=PAIRS, dim=DIM, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    shape = (sequences, pairs + 1)
    kinds_BS = np.zeros(shape, np.int8)
    kinds_BS[:, -1] = QUERY
    return Batch(
        inputs=jnp.asarray(rng.normal(size=(*shape, dim))),
        targets=jnp.asarray(rng.normal(size=shape)),
        kinds=jnp.asarray(kinds_BS),
    )


# Compiled once for networks and numbers of a structure.
constructed = jax.jit(construct, static_argnums=(0, 2, 3))
apply = jax.jit(lambda predictor, params, batch: predictor.apply(params, batch))
embed = jax.jit(lambda network, params, batch: network.embed(params, batch))
layer = jax.jit(lambda network, params, h_BTD, number: network.layer(params, h_BTD, number), static_argnums=3)
answered = jax.jit(lambda predictor, key, batch: predictor.apply(predictor.init(key, batch), batch))


def descended(x_LX, y_L, rates, start=None):
    """Weights after steps of w <- w - (eta/N) X^T (X w - y)."""
    w_X = np.zeros(x_LX.shape[1]) if start is None else np.asarray(start)
    for rate in rates:
        w_X = w_X - rate / len(y_L) * x_LX.T @ (x_LX @ w_X - y_L)
    return w_X


def plus_plus(x_SX, y_L, rates, shrinks):
    """The answer of GD++, with the update of all tokens from the old ones."""
    x_SX, r_S = x_SX.copy(), np.append(y_L, 0.0)
    pairs = len(y_L)
    for rate, shrink in zip(rates, shrinks, strict=True):
        moment_XX = sum(np.outer(x, x) for x in x_SX[:pairs])
        gradient_X = rate / pairs * sum(r * x for r, x in zip(r_S[:pairs], x_SX[:pairs], strict=True))
        r_S, x_SX = r_S - x_SX @ gradient_X, x_SX - shrink * x_SX @ moment_XX
    return -r_S[-1]


def each(batch: Batch, answer):
    """`answer` of the inputs and the context's targets of every sequence."""
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    return np.array([answer(x_SX, y_S[:-1]) for x_SX, y_S in zip(x, y, strict=True)])


def answers(network, kind, rate, batch=None, **kwargs):
    batch = regression() if batch is None else batch
    dim, pairs = batch.inputs.shape[2], batch.inputs.shape[1] - 1
    params = constructed(kind, network, dim, pairs, rate, **kwargs)
    made = jax.eval_shape(lambda: network.init(jax.random.key(0), batch))
    assert {name: leaf.shape for name, leaf in params.items() if name != "start"} == {
        name: leaf.shape for name, leaf in made.items()
    }
    return np.asarray(apply(network, params, batch).values)[:, 0]


@pytest.mark.parametrize("start", [None, [0.3, -1.0, 2.0]])
@pytest.mark.parametrize("network", [LinearAttention(), LinearAttention(heads=3, key_size=9)])
def test_a_layer_is_a_step_of_gradient_descent(network, start):
    batch = regression()
    expected = each(batch, lambda x, y: descended(x[:-1], y, [0.9], start) @ x[-1])
    given = None if start is None else jnp.asarray(start)
    np.testing.assert_allclose(answers(network, "gd", 0.9, batch, start=given), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("start", [None, [0.3, -1.0, 2.0]])
@pytest.mark.parametrize("tied", [True, False])
def test_layers_are_steps(tied, start):
    batch, rates = regression(), (0.9,) * 3 if tied else RATES
    expected = each(batch, lambda x, y: descended(x[:-1], y, rates, start) @ x[-1])
    got = answers(
        LinearAttention(depth=3, tied=tied),
        "gd",
        0.9 if tied else RATES,
        batch,
        start=None if start is None else jnp.asarray(start),
    )
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_after_a_layer_y_slots_hold_residuals_and_x_stays():
    batch, network = regression(), LinearAttention()
    params = constructed("gd", network, DIM, PAIRS, 0.9)
    h_BTD = np.asarray(layer(network, params, embed(network, params, batch), 0))
    np.testing.assert_array_equal(h_BTD[..., :DIM], batch.inputs)
    residuals = each(batch, lambda x, y: np.append(y, 0) - x @ descended(x[:-1], y, [0.9]))
    np.testing.assert_allclose(h_BTD[..., DIM], residuals, rtol=0, atol=1e-12)


def test_the_query_may_be_among_the_keys_of_the_first_layer_alone():
    one, two = LinearAttention(context_only=False), LinearAttention(depth=2, context_only=False)
    exact = [answers(dataclasses.replace(network, context_only=True), "gd", 0.9) for network in (one, two)]
    np.testing.assert_allclose(answers(one, "gd", 0.9), exact[0], rtol=0, atol=1e-12)
    assert np.abs(answers(two, "gd", 0.9) - exact[1]).max() > 1e-2


@pytest.mark.parametrize("tied", [True, False])
def test_layers_of_gd_plus_plus_are_its_recursion(tied):
    batch = regression()
    rates, shrinks = ((0.9,) * 3, (0.02,) * 3) if tied else (RATES, SHRINKS)
    expected = each(batch, lambda x, y: plus_plus(x, y, rates, shrinks))
    network = LinearAttention(depth=3, tied=tied)
    got = answers(network, "gd++", 0.9 if tied else rates, batch, shrink=0.02 if tied else shrinks)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    without = answers(network, "gd++", 0.9 if tied else rates, batch, shrink=0.0)
    np.testing.assert_allclose(without, answers(network, "gd", 0.9 if tied else rates, batch), rtol=0, atol=1e-12)


def test_every_prefix_is_answered_by_descent_on_that_prefix():
    batch = regression()
    network = LinearAttention(depth=2)
    params = constructed("gd", network, DIM, PAIRS, RATES[:2])
    asked = dataclasses.replace(batch, weights=jnp.ones(batch.targets.shape))
    values_BS = np.asarray(apply(network, params, asked).values)
    for pairs in range(PAIRS + 1):
        scaled = [rate * pairs / PAIRS for rate in RATES[:2]]  # the step is eta/N of the full context
        expected = each(batch, lambda x, y, k=pairs, r=scaled: descended(x[:k], y[:k], r) @ x[k] if k else 0.0)
        np.testing.assert_allclose(values_BS[:, pairs], expected, rtol=0, atol=1e-12)


def test_hessian_map_is_what_a_step_does_to_eigenvalues():
    x_LX = np.random.default_rng(1).normal(size=(9, 4)) / 3
    network, gamma = LinearAttention(), 0.2
    batch = Batch(inputs=jnp.asarray(x_LX)[None], targets=jnp.zeros((1, 9)), kinds=jnp.zeros((1, 9), jnp.int8))
    params = constructed("gd++", network, 4, 8, 0.0, shrink=gamma)
    moved = np.asarray(layer(network, params, embed(network, params, batch), 0))[0, :-1, :4]
    before, after = (np.linalg.eigvalsh(x.T @ x) for x in (x_LX[:-1], moved))
    np.testing.assert_allclose(after, np.sort(hessian_map(before, gamma)), rtol=0, atol=1e-12)
    lam = jnp.linspace(0, 1 / gamma, 11)
    np.testing.assert_allclose(hessian_map(lam, gamma), lam - 2 * gamma * lam**2 + gamma**2 * lam**3, atol=1e-12)


CLASSIC = LinearAttention(depth=4, tokens="interleaved", position="one_hot", shared_slot=False)


def test_a_linear_layer_copies_exactly():
    batch = regression()
    params = constructed("gd", CLASSIC, DIM, PAIRS, RATES)
    before = np.asarray(embed(CLASSIC, params, batch))
    after = np.asarray(layer(CLASSIC, params, before, 0))
    expected = before.copy()
    expected[:, :-1:2, DIM] = np.asarray(batch.targets)[:, :-1]
    np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("kind, shrink", [("gd", 0.0), ("gd++", SHRINKS)])
def test_copying_and_descending_is_descending(kind, shrink):
    got = answers(CLASSIC, kind, RATES, shrink=shrink)
    plain = answers(LinearAttention(depth=3), kind, RATES, shrink=shrink)
    np.testing.assert_allclose(got, plain, rtol=0, atol=1e-12)


def test_a_softmax_copies_up_to_its_sharpness():
    network = dataclasses.replace(CLASSIC, softmax_layers=(0,))
    batch = regression(pairs=9)  # 19 tokens
    errors = {}
    for sharpness in (5.0, 10.0, 20.0, 40.0):
        params = constructed("gd", network, DIM, 9, RATES, sharpness=sharpness)
        before = np.asarray(embed(network, params, batch))
        after = np.asarray(layer(network, params, before, 0))
        expected = before.copy()
        expected[:, :-1:2, DIM] = np.asarray(batch.targets)[:, :-1]
        errors[sharpness] = np.abs(after - expected).max()
        largest = np.abs(np.asarray(batch.targets)).max()
        assert errors[sharpness] <= 2 * 18 * np.exp(-sharpness) * largest + 1e-15
    assert errors[5.0] > 0.05 and errors[10.0] / errors[20.0] == pytest.approx(np.exp(10), rel=0.01)
    got = answers(network, "gd", RATES, batch, sharpness=40.0)
    np.testing.assert_allclose(got, answers(LinearAttention(depth=3), "gd", RATES, batch), rtol=0, atol=1e-12)


def test_two_softmax_heads_are_linear_attention_to_a_centred_context():
    batch = regression()
    network = LinearAttention(heads=2, softmax_layers=(0,))

    def centred(x_SX, y_L):
        score_L = x_SX[:-1] @ x_SX[-1]
        return 0.9 / PAIRS * (score_L - score_L.mean()) @ y_L

    expected = each(batch, centred)
    errors = [
        np.abs(answers(network, "gd", 0.9, batch, contrast=contrast) - expected).max() for contrast in (0.1, 0.01)
    ]
    assert errors[1] < 1e-3 and errors[0] / errors[1] == pytest.approx(100, rel=0.05)
    # The same without centring where scores have mean 0 already.
    centred_x = np.asarray(batch.inputs) - np.asarray(batch.inputs)[:, :-1].mean(axis=1, keepdims=True)
    moved = dataclasses.replace(batch, inputs=jnp.asarray(centred_x))
    got = answers(network, "gd", 0.9, moved, contrast=1e-3)
    np.testing.assert_allclose(got, answers(LinearAttention(), "gd", 0.9, moved), rtol=0, atol=1e-5)


def test_constructed_is_a_reference_without_training():
    batch = regression()
    predictor = Constructed(
        network=LinearAttention(depth=2), construction="gd++", rate=RATES[:2], shrink=SHRINKS[:2]
    )
    predictor.check()
    assert predictor.phases == ()
    got = np.asarray(answered(predictor, jax.random.key(0), batch).values)[:, 0]
    expected = each(batch, lambda x, y: plus_plus(x, y, RATES[:2], SHRINKS[:2]))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_the_rate_is_a_leaf_and_half_the_loss_at_the_best_one_is_published():
    """Spec of the paper's setting: 0.5 MSE = .20623 at eta* = 6.0606 for d = N = 10, x ~ U(-1/2, 1/2), w ~ N(0, I)."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.5, 0.5, (20_000, 11, 10))
    y = np.einsum("bsx,bx->bs", x, rng.normal(size=(20_000, 10)))
    batch = Batch(inputs=jnp.asarray(x), targets=jnp.asarray(y), kinds=jnp.zeros((20_000, 11), jnp.int8))

    @jax.jit
    def half_losses(rate):
        predictor = Constructed(rate=rate)
        values = predictor.apply(predictor.init(jax.random.key(0), batch), batch).values
        return 0.5 * jnp.square(values[:, 0] - batch.targets[:, -1])

    losses = np.asarray(half_losses(jnp.asarray(6.0606)))
    assert abs(losses.mean() - 0.20623) < 4 * losses.std() / np.sqrt(len(losses))
    slope = jax.grad(lambda rate: jnp.mean(half_losses(rate)))(jnp.asarray(6.0606))
    assert abs(slope) < 2e-3


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(construction="sgd"), "gd"),
        (dict(network=LinearAttention(depth=2), rate=(1.0,)), "rate has 1 numbers; it needs one, or 2"),
        (dict(network=LinearAttention(embedding=4)), "embedding is 4"),
        (dict(network=LinearAttention(tokens="interleaved", depth=2)), "shared_slot is True"),
        (dict(network=dataclasses.replace(CLASSIC, depth=1)), "depth 1"),
        (dict(network=LinearAttention(softmax_layers=(0,))), "heads is 1"),
        (dict(network=LinearAttention(depth=2, tied=True, heads=2, softmax_layers=(0,))), "same weights"),
        (dict(sharpness=0.0), "sharpness is 0.0"),
        (dict(contrast=-1.0), "contrast is -1.0"),
    ],
)
def test_refuses_with_a_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        Constructed(**changes).check()


def test_refuses_too_few_keys_and_a_start_of_gd_plus_plus():
    with pytest.raises(ValueError, match="key_size is 3; this construction needs at least 4"):
        construct("gd", LinearAttention(key_size=3), DIM, PAIRS, 1.0)
    with pytest.raises(ValueError, match="key_size is 5; this construction needs at least 15"):
        construct("gd", dataclasses.replace(CLASSIC, key_size=5), DIM, PAIRS, 1.0)
    with pytest.raises(ValueError, match="w0 = 0"):
        construct("gd++", LinearAttention(), DIM, PAIRS, 1.0, start=jnp.ones(DIM))
