"""The transformer: its size, what each token can see, and the shortcuts that must not change a number."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from icl_sim.predictors import ResidualEncoder, Transformer
from icl_sim.predictors.networks.transformer import Block, TransformerNetwork, interleave, sinusoid
from icl_sim.types import Batch


def size(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def network(**changes) -> TransformerNetwork:
    options = dict(inputs=8, classes=3, depth=2, width=8, heads=2, mlp_width=16) | changes
    return TransformerNetwork(**options, rngs=nnx.Rngs(0))


def test_has_the_parameters_of_the_paper_without_its_frozen_identity(make_batch):
    params = jax.eval_shape(lambda: Transformer().init(jax.random.key(0), make_batch()))
    assert size(params) == 105_610 - 4_160


def test_inputs_of_another_width_get_a_trained_projection(make_batch):
    params = jax.eval_shape(lambda: Transformer().init(jax.random.key(0), make_batch(shape=(5,))))
    assert size(params) == 101_450 + 5 * 64 + 64


def test_starts_from_flax_defaults(make_batch):
    params = Transformer(width=64).init(jax.random.key(0), make_batch())
    block = params["blocks"]["0"]
    assert np.all(block["qkv"]["bias"] == 0) and np.all(block["mlp_norm"]["scale"] == 1)
    assert np.std(block["qkv"]["kernel"]) == pytest.approx(
        1 / 8, rel=0.03
    )  # fan-in of one head's kernel, not of three
    assert np.std(block["down"]["kernel"]) == pytest.approx(1 / 16, rel=0.03)


@pytest.mark.parametrize("causal", [True, False])
def test_a_token_sees_only_what_came_before(causal):
    """Causality by gradient: d residual at token t / d input token s is zero exactly where s > t."""
    block = Block(8, 2, 16, nnx.Rngs(1))
    x_BTD = jax.random.normal(jax.random.key(2), (1, 5, 8))
    jacobian = jax.jacobian(lambda x: jnp.sum(block(x, causal=causal, last_only=False)[0], axis=(0, 2)))(
        x_BTD
    )
    seen_TT = np.any(np.asarray(jacobian[:, 0]) != 0, axis=-1)
    np.testing.assert_array_equal(seen_TT, np.tri(5, dtype=bool) if causal else np.ones((5, 5), bool))


@pytest.mark.parametrize("causal", [True, False])
def test_the_last_token_alone_equals_the_last_of_all(causal):
    block = Block(8, 2, 16, nnx.Rngs(1))
    block.qkv.bias[...] = jax.random.normal(jax.random.key(3), (24,))
    x_BTD = jax.random.normal(jax.random.key(2), (4, 5, 8))

    def last(x, last_only):
        return block(x, causal=causal, last_only=last_only)[0][:, -1]

    np.testing.assert_allclose(last(x_BTD, True), last(x_BTD, False), atol=2e-6)
    map_all = block(x_BTD, causal=causal, last_only=False)[1]
    map_last = block(x_BTD, causal=causal, last_only=True)[1]
    np.testing.assert_allclose(map_last, map_all[:, :, -1:], atol=1e-6)
    gradients = [jax.grad(lambda x, only=only: jnp.sum(last(x, only) ** 2))(x_BTD) for only in (True, False)]
    np.testing.assert_allclose(*gradients, atol=1e-4)


def test_attention_is_scaled_dot_product_attention():
    """One head, against the formula in numpy: softmax(q k' / sqrt(D)) v."""
    block = Block(4, 1, 8, nnx.Rngs(5))
    x_TD = np.asarray(jax.random.normal(jax.random.key(6), (3, 4)), np.float64)
    centred = x_TD - x_TD.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    q, k, v = np.split(normed @ np.asarray(block.qkv.kernel[...], np.float64), 3, axis=-1)
    logits = np.where(np.tri(3), q @ k.T / 2, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    x = x_TD + weights @ v @ np.asarray(block.out.kernel[...], np.float64)
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    up = normed @ np.asarray(block.up.kernel[...], np.float64)
    gelu = 0.5 * up * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
    expected = x + gelu @ np.asarray(block.down.kernel[...], np.float64)
    got, got_weights = block(jnp.asarray(x_TD, jnp.float32)[None], causal=True, last_only=False)
    np.testing.assert_allclose(got_weights[0, 0], weights, atol=1e-5)
    np.testing.assert_allclose(got[0], expected, atol=1e-4)


def test_the_label_token_is_the_projection_of_the_one_hot_label():
    net = network()
    y_BL = jnp.asarray([[2, 0]])
    x_BSE = jax.random.normal(jax.random.key(0), (1, 3, 8))
    _, kept = net(x_BSE, y_BL, None, causal=True, record=True)
    np.testing.assert_allclose(
        kept["residual/0"][:, 1::2], net.label_token(jax.nn.one_hot(y_BL, 3)), atol=1e-6
    )
    np.testing.assert_array_equal(kept["residual/0"][:, 0::2], x_BSE)


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


def test_never_reads_the_target_of_the_query(make_batch):
    batch = make_batch()
    model = Transformer(depth=1, width=8)
    params = jax.jit(model.init)(jax.random.key(0), batch)
    poisoned = Batch(
        inputs=batch.inputs, targets=batch.targets.at[:, -1].set(-(2**31)), kinds=batch.kinds, num_classes=10
    )
    np.testing.assert_array_equal(model.apply(params, batch).values, model.apply(params, poisoned).values)


def test_record_holds_every_attention_map_and_residual_stream(make_batch):
    batch = make_batch(sequences=2, length=2)
    model = Transformer(depth=3, width=8, heads=2)
    params = jax.jit(model.init)(jax.random.key(0), batch)
    plain, recorded = model.apply(params, batch), model.apply(params, batch, record=True)
    np.testing.assert_array_equal(plain.values, recorded.values)
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


def test_the_position_base_is_a_leaf_of_one_program(make_batch):
    model, batch = Transformer(depth=1, width=8), make_batch(sequences=1)
    params = jax.jit(model.init)(jax.random.key(0), batch)
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


def test_images_go_through_the_encoder(make_batch):
    batch = make_batch(sequences=2, length=1, shape=(28, 28), classes=5)
    encoder = ResidualEncoder(stem="small", stem_width=4, widths=(4, 8), strides=(1, 2), blocks=1)
    model = Transformer(depth=1, width=8, encoder=encoder)
    params = jax.jit(model.init)(jax.random.key(0), batch)
    assert model.apply(params, batch).values.shape == (2, 5)
    assert "input_token" not in params  # as wide as the network


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(position="shared_sinusiod"), "did you mean 'shared_sinusoid'"),
        (dict(width=10, heads=4), "width 10"),
        (dict(depth=0), "depth is 0"),
        (dict(position_base=0.0), "position_base is 0.0"),
    ],
)
def test_refuses_with_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        Transformer(**changes).check()
