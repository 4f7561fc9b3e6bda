"""The transformer on real targets and at every slot: prefixes, blocks of the papers, momentum, and blocks in a loop."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from icl_sim.predictors import Transformer
from icl_sim.predictors.networks.block import Block
from icl_sim.predictors.networks.seam import functional
from icl_sim.types import Batch

SMALL = Transformer(depth=2, width=8, heads=2, mlp_ratio=2)


def small(**changes) -> Transformer:
    model = dataclasses.replace(SMALL, **changes)
    model.check()
    return model


def prefix(batch: Batch, slots: int) -> Batch:
    """The first slots, of which the last is asked alone and its target cannot be read."""
    inputs, targets, kinds = (np.array(part)[:, :slots] for part in (batch.inputs, batch.targets, batch.kinds))
    targets[:, -1] = -(2**31) if batch.num_classes else np.nan
    return dataclasses.replace(batch, inputs=inputs, targets=targets, kinds=kinds, weights=None)


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(tokens="separate", position="learned", block="replaced"),
        dict(tokens="shared", position="none", momentum_attention=True, momentum=0.5),
    ],
    ids=["interleaved", "separate", "shared"],
)
def test_every_slot_is_answered_as_if_it_were_the_query_of_its_prefix(changes, make_regression, random_params):
    model, batch = small(**changes), make_regression()
    params = random_params(model.init, batch)
    apply = jax.jit(model.apply)
    values_BS = apply(params, batch).values
    assert values_BS.shape == (3, 4)
    for slot in (0, 1, 3):
        alone_B1 = apply(params, prefix(batch, slot + 1)).values
        np.testing.assert_allclose(values_BS[:, slot : slot + 1], alone_B1, atol=2e-5, err_msg=f"slot {slot}")


def test_every_slot_of_classes_is_answered_as_if_it_were_the_query_of_its_prefix(make_batch, random_params):
    batch = dataclasses.replace(make_batch(length=3, shape=(5,), classes=4), weights=jnp.ones((3, 4)))
    model = small(depth=1)
    params, apply = random_params(model.init, batch), jax.jit(model.apply)
    values_BSC = apply(params, batch).values
    assert values_BSC.shape == (3, 4, 4)
    for slot in (0, 2, 3):
        np.testing.assert_allclose(values_BSC[:, slot], apply(params, prefix(batch, slot + 1)).values, atol=2e-5)


def test_pairs_in_one_token_have_no_order_without_positions_and_mask(make_regression, random_params):
    model = small(tokens="concatenated", position="none", causal=False)
    batch = make_regression(every=False)
    params, apply = random_params(model.init, batch), jax.jit(model.apply)
    value_B1 = apply(params, batch).values
    order, inputs, targets = [2, 0, 1, 3], np.asarray(batch.inputs), np.asarray(batch.targets)
    permuted = dataclasses.replace(batch, inputs=inputs[:, order], targets=targets[:, order])
    np.testing.assert_allclose(apply(params, permuted).values, value_B1, atol=1e-5)
    swapped = dataclasses.replace(batch, targets=targets[:, [1, 0, 2, 3]])
    assert not np.allclose(apply(params, swapped).values, value_B1, atol=1e-3)
    np.testing.assert_array_equal(apply(params, prefix(batch, 4)).values, value_B1)


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("changes", [dict(depth=3), dict(depth=1, block="replaced")], ids=["pre_norm", "replaced"])
def test_blocks_in_a_loop_give_the_same_numbers(changes, every, make_regression, random_params):
    plain, batch = small(tokens="shared", position="learned", **changes), make_regression(every=every)
    loop = dataclasses.replace(plain, scan=True)
    stacked = random_params(loop.init, batch)
    assert stacked["blocks"]["qkv"]["kernel"].shape[0] == plain.depth

    def unstack(params):
        blocks = {str(i): jax.tree.map(lambda leaf, i=i: leaf[i], params["blocks"]) for i in range(plain.depth)}
        return {**params, "blocks": blocks}

    @functools.partial(jax.jit, static_argnums=0)
    def outputs(model, params):
        def loss(p):
            outputs = model.apply(p, batch, record=True)
            return jnp.sum(outputs.values**2), outputs

        return jax.value_and_grad(loss, has_aux=True)(params)

    (_, looped), looped_slope = outputs(loop, stacked)
    (_, unrolled), slope = outputs(plain, unstack(stacked))
    assert looped.record.keys() == unrolled.record.keys()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4), looped, unrolled)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3), unstack(looped_slope), slope)


@pytest.mark.parametrize("initial", ["lecun", "gpt2", "uniform"])
def test_blocks_in_a_loop_start_from_the_same_numbers(initial, make_regression):
    plain, batch = small(tokens="shared", initial=initial), make_regression()
    same = functools.partial(np.testing.assert_allclose, rtol=1e-6)  # the programs round differently, unoptimised
    loop = dataclasses.replace(plain, scan=True)
    apart, stacked = (jax.jit(model.init)(jax.random.key(3), batch) for model in (plain, loop))
    for number in range(2):
        block = jax.tree.map(lambda leaf, n=number: leaf[n], stacked["blocks"])
        jax.tree.map(same, apart["blocks"][str(number)], block)
    same(apart["token"]["kernel"], stacked["token"]["kernel"])


def test_a_record_of_every_slot_holds_all_tokens_of_the_last_block_too(make_regression, random_params):
    batch = make_regression(sequences=2, slots=3)
    params = random_params(SMALL.init, batch)
    plain, recorded = (jax.jit(lambda p, r=r: SMALL.apply(p, batch, record=r))(params) for r in (False, True))
    np.testing.assert_allclose(plain.values, recorded.values, atol=1e-5)
    shapes = {name: value.shape for name, value in recorded.record.items()}
    streams = {f"residual/{number}": (2, 5, 8) for number in range(3)}
    assert shapes == {**streams, **{f"attention/{number}": (2, 2, 5, 5) for number in range(2)}}
    np.testing.assert_array_equal(recorded.record["attention/1"] > 0, np.broadcast_to(np.tri(5), (2, 2, 5, 5)))


def test_a_norm_multiplied_into_its_layer_is_the_norm(random_params):
    """Few rows are normed as they are, many through the layer: 64 sequences at once, and each alone."""
    network = functional(lambda rngs: Block(8, 2, 16, rngs))
    params = random_params(network.init)
    x_BTD = jnp.asarray(np.random.default_rng(1).normal(size=(64, 2, 8)), jnp.float32)

    def together(params):
        return network.apply(params, x_BTD, causal=True)[0]

    def alone(params):
        return jax.lax.map(lambda x_TD: network.apply(params, x_TD[None], causal=True)[0][0], x_BTD)

    np.testing.assert_allclose(jax.jit(together)(params), jax.jit(alone)(params), atol=2e-5)
    both = [jax.jit(jax.grad(lambda p, f=f: jnp.sum(jnp.sin(f(p)))))(params) for f in (together, alone)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), *both)


def formula(p, x_TD, *, heads, momentum_TT, exact):
    """A block whose norm replaces the stream, in numpy, head by head."""

    def linear(name, x):
        return x @ p[name]["kernel"] + p[name]["bias"][None]

    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return normed * p[name]["scale"][None] + p[name]["bias"][None]

    x = norm("attention_norm", x_TD)
    mixes, parts = [], np.split(linear("qkv", x), 3, axis=-1)
    for q, k, v in zip(*(np.split(part, heads, axis=-1) for part in parts), strict=True):
        weights = np.exp(np.where(np.tri(len(x)), q @ k.T / math.sqrt(q.shape[1]), -np.inf))
        mixes.append((weights / weights.sum(-1, keepdims=True) + momentum_TT) @ v)
    x = norm("mlp_norm", x + linear("out", np.concatenate(mixes, axis=-1)))
    up = linear("up", x)
    cubic = np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3))
    return x + linear("down", 0.5 * up * (1 + (erf(up / math.sqrt(2)) if exact else cubic)))


@pytest.mark.parametrize("exact", [False, True])
def test_the_replaced_block_is_the_formula_of_narrow_heads_with_momentum(exact, random_params):
    network = functional(
        lambda rngs: Block(8, 2, 16, rngs, attention_width=4, replaced=True, exact_gelu=exact)
    )
    params = random_params(network.init)
    assert params["qkv"]["kernel"].shape == (8, 12) and params["out"]["kernel"].shape == (4, 8)
    p = jax.tree.map(lambda leaf: np.asarray(3 * leaf, np.float64), params)  # GELUs differ where inputs are large
    x_TD = np.random.default_rng(6).normal(size=(5, 8))
    momentum_TT = np.tril(0.4 ** (np.arange(5)[:, None] - np.arange(5.0)[None]), -1)
    want = formula(p, x_TD, heads=2, momentum_TT=momentum_TT, exact=exact)
    apply = jax.jit(functools.partial(network.apply, causal=True), static_argnames="every")
    with jax.enable_x64(True):
        got, _ = apply(p, x_TD[None], momentum_TT=momentum_TT)
        np.testing.assert_allclose(got[0], want, atol=1e-10)
        asked, _ = apply(p, x_TD[None], every=2, momentum_TT=momentum_TT)
        np.testing.assert_allclose(asked[0], want[::2], atol=1e-10)


def test_no_momentum_is_no_momentum_and_some_is_some(make_regression, random_params):
    batch = make_regression()
    params = random_params(SMALL.init, batch)
    values = [
        jax.jit(lambda model: model.apply(params, batch).values)(model)
        for model in (SMALL, small(momentum_attention=True), small(momentum_attention=True, momentum=0.5))
    ]
    np.testing.assert_allclose(values[0], values[1], atol=1e-6)
    np.testing.assert_allclose(values[0][:, 0], values[2][:, 0], atol=1e-6)  # nothing before the first token
    assert np.all(np.abs(values[0] - values[2])[:, 1:] > 1e-3)


def test_learned_positions_are_added_from_the_first_on(make_regression, random_params):
    model = small(depth=1, position="learned", position_count=9, tokens="shared")
    batch = make_regression(sequences=1)
    params = random_params(model.init, batch)
    assert params["position"].shape == (9, 8)
    unplaced = small(depth=1, position="none", tokens="shared")
    rest = {name: value for name, value in params.items() if name != "position"}
    tokens = [
        jax.jit(lambda p, m=m: m.apply(p, batch, record=True).record["residual/0"])(p)
        for m, p in ((model, params), (unplaced, rest))
    ]
    np.testing.assert_allclose(tokens[0] - tokens[1], params["position"][None, :7], atol=1e-6)


def test_read_in_and_read_out_can_be_without_bias(make_regression, make_batch):
    for model, batch in (
        (small(end_bias=False, tokens="separate"), make_regression()),
        (small(end_bias=False), make_batch(shape=(5,))),
    ):
        params = jax.eval_shape(lambda key, m=model, b=batch: m.init(key, b), jax.random.key(0))
        assert {name for name, layer in params.items() if set(layer) == {"kernel"}} >= {"head"}
        assert all("bias" not in params[name] for name in params if "token" in name)
        assert jax.eval_shape(model.apply, params, batch).values.shape[0] == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(tokens="interleave"), "Did you mean 'interleaved'"),
        (dict(block="postnorm"), "block is 'postnorm'; allowed: pre_norm, replaced"),
        (dict(gelu="erf"), "gelu is 'erf'; allowed: tanh, exact"),
        (dict(initial="gpt"), "Did you mean 'gpt2'"),
        (dict(block="replaced", width=12, heads=6), "multiple of 36, the square of its heads"),
        (dict(position_count=5), "position_count is 5"),
        (dict(position="learned", position_count=-1), "position_count is -1"),
        (dict(momentum_attention=True, momentum=1.0), r"momentum is 1.0; it must be in \[0, 1\)"),
        (dict(momentum_attention=True, causal=False), "must be causal"),
        (dict(momentum=0.2), "does nothing unless momentum_attention"),
    ],
)
def test_refuses_with_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SMALL, **changes).check()


@pytest.mark.parametrize(
    ("changes", "classes", "words"),
    [
        (dict(tokens="shared"), True, "which are for real targets"),
        (dict(causal=False), False, "cannot answer without having seen it"),
        (dict(tokens="concatenated"), False, "cannot answer without having seen it"),
        (dict(position="learned", position_count=6), False, "tokens at 7 positions, but .* position_count is 6"),
    ],
)
def test_refuses_batches_that_it_cannot_answer(changes, classes, words, make_batch, make_regression):
    batch = make_batch() if classes else make_regression()
    for act in (lambda model: model.init(jax.random.key(0), batch), lambda model: model.apply({}, batch)):
        with pytest.raises(ValueError, match=words):
            act(dataclasses.replace(SMALL, **changes))
