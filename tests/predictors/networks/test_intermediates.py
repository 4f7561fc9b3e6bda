"""Recording and clamping every intermediate: step by step the answers are the same, and clamps are gone on from."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Transformer

HEADS = Transformer(depth=2, width=8, heads=2, mlp_ratio=0, position="rotary", attention_bias=False)
FULL = Transformer(depth=2, width=8, heads=2, mlp_ratio=2)
RUN = jax.jit(lambda model, params, batch, clamps: model.apply(params, batch, record=True, clamps=clamps))


@pytest.fixture
def heads(make_batch, random_params):
    """A batch of labelled vectors, and parameters of `HEADS` for it."""
    batch = make_batch(shape=(5,), classes=4)
    return batch, random_params(HEADS.init, batch)


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (HEADS, "query"),
        (FULL, "query"),
        (FULL, "slots"),
        (dataclasses.replace(FULL, tokens="separate", block="replaced", momentum_attention=True, momentum=0.5), "real"),
        (dataclasses.replace(HEADS, tokens="inputs"), "slots"),
    ],
    ids=["heads", "full", "slots", "replaced", "inputs"],
)
def test_step_by_step_gives_the_same_answers_and_records(
    model, asked, make_batch, make_regression, random_params, apply
):
    batch = make_regression() if asked == "real" else make_batch(shape=(5,), classes=4)
    if asked == "slots":
        batch = dataclasses.replace(batch, weights=jnp.ones(batch.targets.shape))
    params = random_params(model.init, batch)
    plain, told = apply(model, params, batch, record=True), RUN(model, params, batch, {})
    assert plain.values.shape == told.values.shape
    np.testing.assert_allclose(told.values, plain.values, atol=2e-5)
    for name, value in plain.record.items():
        ours = told.record[name]
        if name.startswith("attention"):  # of the last token alone where nothing else is asked
            ours = ours[:, :, -value.shape[2] :]
        if name.startswith("residual"):
            ours = ours[:, -value.shape[1] :]
        np.testing.assert_allclose(ours, value, atol=2e-5, err_msg=name)


def test_every_intermediate_has_its_name_and_shape(heads):
    batch, params = heads
    record = RUN(HEADS, params, batch, {}).record
    of_layer = {"queries": (3, 2, 5, 4), "scores": (3, 2, 5, 5), "attention": (3, 2, 5, 5)}
    of_layer |= {"keys": of_layer["queries"], "values": of_layer["queries"], "heads": of_layer["queries"]}
    wanted = {f"{name}/{layer}": shape for name, shape in of_layer.items() for layer in (0, 1)}
    wanted |= {f"residual/{number}": (3, 5, 8) for number in range(3)} | {"logits": (3, 4)}
    assert {name: value.shape for name, value in record.items()} == wanted
    for layer in (0, 1):
        score = np.einsum("bhqk,bhtk->bhqt", record[f"queries/{layer}"], record[f"keys/{layer}"]) / 2
        np.testing.assert_allclose(record[f"scores/{layer}"], score, atol=1e-5)
        weights = np.exp(np.where(np.tri(5), score, -np.inf))
        np.testing.assert_allclose(record[f"attention/{layer}"], weights / weights.sum(-1, keepdims=True), atol=1e-5)
        mix = np.einsum("bhqt,bhtk->bhqk", record[f"attention/{layer}"], record[f"values/{layer}"])
        np.testing.assert_allclose(record[f"heads/{layer}"], mix, atol=1e-5)
        out = np.reshape(params["blocks"][str(layer)]["out"]["kernel"], (2, 4, 8))
        added = np.einsum("bhtk,hkd->btd", record[f"heads/{layer}"], out)
        np.testing.assert_allclose(record[f"residual/{layer + 1}"], record[f"residual/{layer}"] + added, atol=1e-5)


@pytest.mark.parametrize("model", [HEADS, FULL], ids=["heads", "full"])
def test_clamping_what_was_recorded_changes_no_bit(model, make_batch, random_params):
    batch = make_batch(shape=(5,), classes=4)
    params = random_params(model.init, batch)
    record = RUN(model, params, batch, {}).record

    @jax.jit
    def run(cache, mask):
        clamps = {name: (value, jnp.broadcast_to(mask, value.shape)) for name, value in cache.items()}
        return model.apply(params, batch, record=True, clamps=clamps)

    free = run(record, False)
    held = run(dict(free.record), True)
    np.testing.assert_array_equal(held.values, free.values)
    jax.tree.map(np.testing.assert_array_equal, held.record, free.record)
    other = run(jax.tree.map(lambda value: value + 1, dict(free.record)), True)  # and clamps reach every one
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b + 1, rtol=1e-6), other.record, free.record)


def test_tokens_that_look_at_themselves_add_their_own_values(heads):
    batch, params = heads
    clamps = {f"attention/{layer}": (jnp.eye(5), jnp.ones((), bool)) for layer in (0, 1)}
    told = RUN(HEADS, params, batch, clamps)
    x_BTD = np.asarray(told.record["residual/0"], np.float64)
    for layer in (0, 1):
        p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["blocks"][str(layer)])
        centred = x_BTD - x_BTD.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        normed = normed * p["attention_norm"]["scale"] + p["attention_norm"]["bias"]
        x_BTD = x_BTD + normed @ p["qkv"]["kernel"][:, 16:] @ p["out"]["kernel"]
    np.testing.assert_allclose(told.record["residual/2"], x_BTD, rtol=1e-4, atol=1e-4)


def test_a_head_clamped_to_zero_is_a_network_without_it(heads):
    batch, params = heads
    first = jnp.arange(2)[None, :, None, None] == 0
    without = jax.tree.map(lambda leaf: leaf, params)
    kernel = without["blocks"]["1"]["out"]["kernel"]
    without["blocks"]["1"]["out"]["kernel"] = kernel.at[:4].set(0)
    wanted = RUN(HEADS, without, batch, {}).values
    assert not np.allclose(wanted, RUN(HEADS, params, batch, {}).values, atol=1e-3)
    for name in ("heads/1", "values/1", "attention/1"):
        np.testing.assert_allclose(RUN(HEADS, params, batch, {name: (0.0, first)}).values, wanted, atol=1e-6)


def test_gradients_flow_through_what_is_not_clamped(heads):
    batch, params = heads

    @functools.partial(jax.jit, static_argnums=0)
    def slope(name, cache, mask):
        def total(params):
            return jnp.sum(HEADS.apply(params, batch, clamps={name: (cache, mask)}).values ** 2)

        return jax.grad(total)(params)["blocks"]

    first = jnp.arange(2)[None, :, None, None] == 0
    blocks = slope("queries/1", 0.3, first)
    kernel = np.asarray(blocks["1"]["qkv"]["kernel"])
    assert not kernel[:, :4].any() and kernel[:, 4:8].all()  # the queries of the two heads
    assert kernel[:, 8:].all() and np.asarray(blocks["0"]["qkv"]["kernel"]).any()
    blocks = slope("residual/2", 0.3, jnp.ones((), bool))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(blocks))


def test_scores_of_tokens_not_seen_do_not_matter(heads):
    batch, params = heads
    later = ~np.tri(5, dtype=bool)
    clamped = RUN(HEADS, params, batch, {"scores/0": (jnp.full((5, 5), 1e4), jnp.asarray(later))})
    free = RUN(HEADS, params, batch, {})
    np.testing.assert_array_equal(clamped.record["attention/0"][..., later], 0)
    np.testing.assert_allclose(clamped.values, free.values, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "clamps", "words"),
    [
        ({}, {"queries/2": (0.0, True)}, "'queries/2'; allowed: residual/0, .*Did you mean 'queries/"),
        ({}, {"mlp/0": (0.0, True)}, "'mlp/0'; allowed"),
        ({}, {"heads/0": (np.zeros(3), True)}, r"shape \[3\], which does not broadcast to the \[3, 2, 5, 4\]"),
        ({}, {"logits": (0.0, np.ones((2, 3, 4), bool))}, r"does not broadcast to the \[3, 4\]"),
        ({"scan": True}, {}, "one loop"),
    ],
)
def test_impossible_clamps_are_refused_in_a_sentence(changes, clamps, words, heads):
    batch, params = heads
    model = dataclasses.replace(HEADS, **changes)
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(functools.partial(model.apply, clamps=clamps), params, batch)
