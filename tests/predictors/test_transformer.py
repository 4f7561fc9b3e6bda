"""The transformer: its size, what each token can see, and the shortcuts that must not change a number."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import ResidualEncoder, Transformer
from icl_sim.predictors.networks.block import Block
from icl_sim.predictors.networks.positions import sinusoid
from icl_sim.predictors.networks.seam import functional
from icl_sim.predictors.networks.tokens import interleave
from icl_sim.types import Batch


@pytest.fixture
def make_block(random_params) -> Callable[..., Any]:
    """A block as a compiled function, and its parameters."""

    def make(width: int, heads: int) -> tuple[Callable[..., Any], Any]:
        network = functional(lambda rngs: Block(width, heads, 2 * width, rngs))
        apply = jax.jit(network.apply, static_argnames=("causal", "last_only"))
        return apply, random_params(network.init)

    return make


def size(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_has_the_parameters_of_the_paper_without_its_frozen_identity(make_batch):
    params = jax.eval_shape(lambda: Transformer().init(jax.random.key(0), make_batch()))
    assert size(params) == 105_610 - 4_160


def test_inputs_of_another_width_get_a_trained_projection(make_batch):
    params = jax.eval_shape(lambda: Transformer().init(jax.random.key(0), make_batch(shape=(5,))))
    assert size(params) == 101_450 + 5 * 64 + 64


def test_starts_from_flax_defaults(make_batch):
    params = jax.jit(Transformer(depth=1).init)(jax.random.key(0), make_batch())
    block = params["blocks"]["0"]
    assert np.all(block["qkv"]["bias"] == 0) and np.all(block["mlp_norm"]["scale"] == 1)
    assert np.std(block["qkv"]["kernel"]) == pytest.approx(
        1 / 8, rel=0.03
    )  # fan-in of one head's kernel, not of three
    assert np.std(block["down"]["kernel"]) == pytest.approx(1 / 16, rel=0.03)
    # What small training sets depend on most (docs/choices.md): the sizes of label tokens and of the answer.
    classes = len(params["label_token"]["kernel"])
    assert np.std(params["label_token"]["kernel"]) == pytest.approx(classes**-0.5, rel=0.1)
    assert np.std(params["head"]["kernel"]) == pytest.approx(1 / 8, rel=0.1)
    for layer in (params["label_token"], params["head"], block["qkv"], block["out"], block["up"], block["down"]):
        assert not np.any(layer["bias"])


@pytest.mark.parametrize("causal", [True, False])
def test_a_token_sees_only_what_came_before(causal, make_block):
    """Causality by gradient: d residual at token t / d input token s is zero exactly where s > t."""
    block, params = make_block(8, 2)
    x_BTD = np.random.default_rng(2).normal(size=(1, 5, 8)).astype(np.float32)

    def token_sums(x):
        return jnp.sum(block(params, x, causal=causal, last_only=False)[0], axis=(0, 2))

    jacobian = jax.jit(jax.jacobian(token_sums))(x_BTD)
    seen_TT = np.any(np.asarray(jacobian[:, 0]) != 0, axis=-1)
    np.testing.assert_array_equal(seen_TT, np.tri(5, dtype=bool) if causal else np.ones((5, 5), bool))


@pytest.mark.parametrize("causal", [True, False])
def test_the_last_token_alone_equals_the_last_of_all(causal, make_block):
    block, params = make_block(8, 2)
    x_BTD = np.random.default_rng(2).normal(size=(4, 5, 8)).astype(np.float32)

    @functools.partial(jax.jit, static_argnums=1)
    def last(x, last_only):
        return block(params, x, causal=causal, last_only=last_only)[0][:, -1]

    np.testing.assert_allclose(last(x_BTD, True), last(x_BTD, False), atol=2e-6)
    map_all = block(params, x_BTD, causal=causal, last_only=False)[1]
    map_last = block(params, x_BTD, causal=causal, last_only=True)[1]
    np.testing.assert_allclose(map_last, map_all[:, :, -1:], atol=1e-6)
    gradients = [
        jax.jit(jax.grad(lambda x, only=only: jnp.sum(last(x, only) ** 2)))(x_BTD) for only in (True, False)
    ]
    np.testing.assert_allclose(*gradients, atol=1e-4)


def test_a_block_is_the_formula(make_block):
    """One head, in numpy: x + softmax(q k' / sqrt(D)) v, then x + MLP(x), each of the normalised stream."""
    block, params = make_block(4, 1)
    x_TD = np.random.default_rng(6).normal(size=(3, 4))
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def linear(name, x):
        return x @ p[name]["kernel"] + p[name]["bias"][None]

    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return normed * p[name]["scale"][None] + p[name]["bias"][None]

    q, k, v = np.split(linear("qkv", norm("attention_norm", x_TD)), 3, axis=-1)
    weights_TT = np.exp(np.where(np.tri(3), q @ k.T / 2, -np.inf))
    weights_TT /= weights_TT.sum(-1, keepdims=True)
    x = x_TD + linear("out", weights_TT @ v)
    up = linear("up", norm("mlp_norm", x))
    gelu = 0.5 * up * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
    got, got_weights = block(params, jnp.asarray(x_TD[None], jnp.float32), causal=True, last_only=False)
    np.testing.assert_allclose(got_weights[0, 0], weights_TT, atol=1e-5)
    np.testing.assert_allclose(got[0], x + linear("down", gelu), atol=1e-5)


def test_the_label_token_is_the_projection_of_the_one_hot_label(make_batch, random_params, apply):
    batch = make_batch(shape=(8,), classes=3)
    model = Transformer(depth=1, width=8, position="none")
    params = random_params(model.init, batch)
    tokens_BTD = np.asarray(apply(model, params, batch, record=True).record["residual/0"])
    label = params["label_token"]
    one_hot_BLC = np.eye(3)[np.asarray(batch.targets[:, :-1])]
    np.testing.assert_allclose(
        tokens_BTD[:, 1::2], one_hot_BLC @ label["kernel"] + label["bias"][None, None], atol=1e-6
    )
    np.testing.assert_array_equal(tokens_BTD[:, 0::2], batch.inputs)


def test_tokens_alternate_and_end_in_the_query():
    x_BSD = jnp.asarray([[[1.0], [2.0], [3.0]]])
    y_BLD = jnp.asarray([[[10.0], [20.0]]])
    np.testing.assert_array_equal(interleave(x_BSD, y_BLD)[0, :, 0], [1, 10, 2, 20, 3])


def test_sinusoid_is_sines_then_cosines_of_base_30():
    table = sinusoid(jnp.asarray([0, 3]), 64, 30.0)
    np.testing.assert_allclose(table[0], [0.0] * 32 + [1.0] * 32)
    for j in (0, 7, 31):
        angle = 3 * 30 ** (-2 * j / 64)
        assert table[1, j] == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[1, 32 + j] == pytest.approx(math.cos(angle), abs=1e-5)


@pytest.mark.parametrize(("position", "same"), [("shared_sinusoid", True), ("token_sinusoid", False)])
def test_an_input_and_its_label_share_a_position(position, same):
    table = Transformer(position=position)._position(3)
    assert table.shape == (5, 64)
    for slot in (0, 1):
        assert np.array_equal(table[2 * slot], table[2 * slot + 1]) == same
    assert Transformer(position="none")._position(3) is None


def test_never_reads_the_target_of_the_query(make_batch, random_params, apply):
    batch = make_batch()
    model = Transformer(depth=1, width=8)
    params = random_params(model.init, batch)
    poisoned = Batch(
        inputs=batch.inputs, targets=batch.targets.at[:, -1].set(-(2**31)), kinds=batch.kinds, num_classes=10
    )
    np.testing.assert_array_equal(apply(model, params, batch).values, apply(model, params, poisoned).values)


def test_record_holds_every_attention_map_and_residual_stream(make_batch, random_params):
    batch = make_batch(sequences=2, length=2)
    model = Transformer(depth=3, width=8, heads=2)
    params = random_params(model.init, batch)
    plain, recorded = (
        jax.jit(functools.partial(model.apply, record=record))(params, batch) for record in (False, True)
    )
    np.testing.assert_allclose(plain.values, recorded.values, rtol=1e-5)
    assert plain.record == {}
    shapes = {name: value.shape for name, value in recorded.record.items()}
    assert shapes == {
        "residual/0": (2, 5, 8),
        "attention/0": (2, 2, 5, 5),
        "residual/1": (2, 5, 8),
        "attention/1": (2, 2, 5, 5),
        "residual/2": (2, 5, 8),
        "attention/2": (2, 2, 1, 5),
        "residual/3": (2, 1, 8),
    }
    for layer in range(3):
        np.testing.assert_allclose(recorded.record[f"attention/{layer}"].sum(-1), 1, atol=1e-6)


def test_the_position_base_is_a_leaf_of_one_program(make_batch, random_params):
    model, batch = Transformer(depth=1, width=8), make_batch(sequences=1)
    params = random_params(model.init, batch)
    traces = []

    @jax.jit
    def values(model):
        traces.append(1)
        return model.apply(params, batch).values

    first, second = (
        values(Transformer(depth=1, width=8, position_base=30.0)),
        values(Transformer(depth=1, width=8, position_base=1000.0)),
    )
    assert len(traces) == 1 and not np.allclose(first, second)


def test_images_go_through_the_encoder(make_batch, random_params):
    batch = make_batch(sequences=2, length=1, shape=(28, 28), classes=5)
    encoder = ResidualEncoder(stem="small", stem_width=4, widths=(4, 8), strides=(1, 2), blocks=1)
    model = Transformer(depth=1, width=8, encoder=encoder)
    params = random_params(model.init, batch)
    assert jax.eval_shape(model.apply, params, batch).values.shape == (2, 5)
    assert "input_token" not in params  # as wide as the network


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(position="shared_sinusiod"), "Did you mean 'shared_sinusoid'"),
        (dict(width=10, heads=4), "width 10"),
        (dict(depth=0), "depth is 0"),
        (dict(position_base=0.0), "position_base is 0.0"),
    ],
)
def test_refuses_with_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        Transformer(**changes).check()
