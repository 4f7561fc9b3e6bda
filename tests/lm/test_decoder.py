"""The decoder against itself: caches, padding, records, layers one by one, and what it is told to look at."""

from __future__ import annotations

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.lm import attention, decoder, layers
from icl_sim.lm.architecture import Rope
from icl_sim.lm.layers import RECORDS, Momentum, frequencies
from icl_sim.predictors.networks.attention import momentum as decay
from tests.lm.mixed import MIXED

T, CONTEXT = 12, 7

forward = jax.jit(decoder.forward, static_argnames=("architecture", "record"))


@pytest.fixture(scope="module")
def params():
    return decoder.init(MIXED, jax.random.key(0))


@pytest.fixture(scope="module")
def ids_BT():
    """Three rows that begin alike."""
    ids_BT = jax.random.randint(jax.random.key(1), (3, T), 0, MIXED.vocab_size)
    return ids_BT.at[:, :CONTEXT].set(ids_BT[:1, :CONTEXT])


@pytest.fixture(scope="module")
def whole(params, ids_BT):
    return forward(MIXED, params, ids_BT, record=RECORDS)


def close(a, b):
    np.testing.assert_allclose(a, b, atol=2e-5, rtol=0)


@pytest.mark.parametrize("padding", [0, 2])
def test_a_shared_cache_changes_nothing(params, ids_BT, whole, padding):
    context_BT = jnp.pad(ids_BT[:1, :CONTEXT], ((0, 0), (0, padding)))
    cache = forward(MIXED, params, context_BT, lengths_B=jnp.asarray([CONTEXT])).cache
    later = forward(MIXED, params, ids_BT[:, CONTEXT:], caches=(cache,), record=RECORDS)
    close(later.hidden_BTD, whole.hidden_BTD[:, CONTEXT:])
    close(later.record["attention"], whole.record["attention"][:, :, CONTEXT:])
    slots = np.r_[:CONTEXT, CONTEXT + padding : T + padding]
    close(later.record["logits"][..., slots], whole.record["logits"][..., CONTEXT:, :])
    np.testing.assert_array_equal(later.cache.position_BS[0], np.arange(CONTEXT, T))
    close(later.cache.key_LBSGK, whole.cache.key_LBSGK[:, :, CONTEXT:])


def test_stretches_of_queries_change_nothing(params, ids_BT, whole, monkeypatch):
    """Twelve tokens attend in stretches of 5, 5 and 2, of their own keys and after a cache."""
    monkeypatch.setattr(attention, "LEAST_STRETCH", 5)
    stretched = jax.jit(lambda ids_BT, caches: decoder.forward(MIXED, params, ids_BT, caches=caches))
    first = stretched(ids_BT, ())
    close(first.hidden_BTD, whole.hidden_BTD)
    close(
        stretched(ids_BT, (first.cache,)).hidden_BTD,
        forward(MIXED, params, ids_BT, caches=(whole.cache,)).hidden_BTD,
    )


@pytest.mark.parametrize("most", [1, 2200, 10**9])
def test_groups_of_sequences_change_nothing(params, ids_BT, monkeypatch, most):
    """One row after the other, two and two, or all four, after a context that they share and their own."""
    four_BT = jnp.concatenate([ids_BT, ids_BT[:1, ::-1]])
    shared = forward(MIXED, params, ids_BT[:1, :CONTEXT]).cache
    own = forward(MIXED, params, four_BT[:, :3], caches=(shared,), lengths_B=jnp.asarray([3, 1, 0, 2])).cache
    known = {"caches": (shared, own), "momentum": Momentum(eta=0.3)}
    together = forward(MIXED, params, four_BT, **known)
    monkeypatch.setattr(attention, "MOST_PRODUCTS", most)
    grouped = jax.jit(functools.partial(decoder.forward, MIXED)).lower(params, four_BT, **known)
    jax.tree.map(close, grouped.compile()(params, four_BT, **known), together)
    loops = grouped.as_text().count("stablehlo.while")
    assert loops == (1 if most > 10**8 else 2)  # over layers, and in each over groups


def test_rows_of_different_lengths_go_on_from_their_own_ends(params, ids_BT, whole):
    lengths_B = jnp.asarray([7, 9, 8])
    first = forward(MIXED, params, ids_BT[:, :9], lengths_B=lengths_B)
    following_BT = jnp.stack([row[length : length + 3] for row, length in zip(ids_BT, lengths_B, strict=True)])
    later = forward(MIXED, params, following_BT, caches=(first.cache,))
    for row, length in enumerate(lengths_B.tolist()):
        close(later.hidden_BTD[row], whole.hidden_BTD[row, length : length + 3])


def test_a_pass_goes_on_from_all_before_it(params, ids_BT, whole):
    """A shared context, rows of their own lengths after it, one of them empty, and what follows."""
    first = forward(MIXED, params, ids_BT[:1, :4]).cache
    second = forward(MIXED, params, ids_BT[:, 4:10], caches=(first,), lengths_B=jnp.asarray([3, 6, 0])).cache
    following_BT = jnp.stack([row[length : length + 2] for row, length in zip(ids_BT, (7, 10, 4), strict=True)])
    later = forward(MIXED, params, following_BT, caches=(first, second), record=("logits",))
    for row, length in enumerate((7, 10, 4)):
        close(later.hidden_BTD[row], whole.hidden_BTD[row, length : length + 2])
        slots = np.r_[:length, 10:12]
        close(
            later.record["logits"][:, row][..., slots],
            whole.record["logits"][:, row, :, length : length + 2, : length + 2],
        )


def test_layers_one_by_one_are_the_whole(params, ids_BT, whole):
    x_BTD, place = decoder.begin(MIXED, params, ids_BT)
    step = jax.jit(functools.partial(decoder.block, MIXED, record=("attention",)))
    for number in range(MIXED.depth):
        x_BTD, _, seen = step(decoder.layer_of(MIXED, params, number), x_BTD, place)
        close(x_BTD, whole.record["block"][number])
        close(seen["attention"], whole.record["attention"][number])
    close(decoder.finish(MIXED, params, x_BTD), whole.hidden_BTD)


@pytest.mark.parametrize("rows", [0, 1, 8, 9, MIXED.vocab_size + 1])
def test_the_table_is_multiplied_before_a_few_rows(params, rows, monkeypatch):
    monkeypatch.setattr(layers, "FEW_ROWS", 8)
    hidden_ND = jax.random.normal(jax.random.key(2), (rows, MIXED.width))
    unembed = jax.jit(functools.partial(decoder.unembed, MIXED, params))
    table_VD = params["embedding"]["token"]  # tied
    np.testing.assert_allclose(unembed(hidden_ND), np.asarray(hidden_ND) @ np.asarray(table_VD).T, atol=1e-5, rtol=0)
    close(unembed(hidden_ND[:, None]), unembed(hidden_ND)[:, None])
    first = f"tensor<{MIXED.vocab_size if rows <= 8 else rows}x{MIXED.width}xf32>, "
    assert re.search(rf"dot_general .* : \({first}", unembed.lower(hidden_ND).as_text())


def test_nothing_later_is_seen(params, ids_BT, whole):
    changed = forward(MIXED, params, ids_BT.at[:, 8].add(1), record=RECORDS)
    close(changed.hidden_BTD[:, :8], whole.hidden_BTD[:, :8])
    assert np.abs(changed.hidden_BTD[:, 8:] - whole.hidden_BTD[:, 8:]).max(-1).min() > 1e-3


def test_recorded_positions_are_those_of_the_full_record(params, ids_BT, whole):
    at_BP = jnp.asarray([[11, 0], [3, 4], [5, 5]])
    some = forward(MIXED, params, ids_BT, record=RECORDS, recorded_BP=at_BP)
    for name in RECORDS:
        axis = 3 if name == "logits" else 2
        for row, at_P in enumerate(at_BP):
            close(
                some.record[name][:, row], np.take(np.asarray(whole.record[name])[:, row], np.asarray(at_P), axis - 1)
            )


def test_records_are_what_they_are_called(params, whole):
    """The second layer, recomputed in numpy from its input and its records."""
    layer = jax.tree.map(lambda leaf: np.asarray(leaf[1]), params["layers"])
    x_BTD = np.asarray(whole.record["block"][0])
    normed = x_BTD / np.sqrt(np.mean(x_BTD**2, -1, keepdims=True) + 1e-5) * layer["attention_norm"]["scale"]
    value = normed @ layer["value"]["kernel"] + layer["value"]["bias"]
    close(whole.record["value"][1], value)
    query = np.reshape(normed @ layer["query"]["kernel"] + layer["query"]["bias"], (3, T, 4, 8))
    query /= np.sqrt(np.mean(query**2, -1, keepdims=True) + 1e-5)
    query *= 8**-0.5 / 2  # the second layer of GPT-2's switch
    close(whole.record["query"][1], np.reshape(query, (3, T, -1)))
    logits = np.asarray(whole.record["logits"][1])
    age = np.arange(T)[:, None] - np.arange(T)
    logits = np.where((age >= 0) & (age < 4), logits, -np.inf)  # its window
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    values = np.repeat(np.reshape(value, (3, T, 2, 8)), 2, axis=2)  # heads 0 and 1 read the first
    mix = np.reshape(np.einsum("bhts,bshk->bthk", weights, values), (3, T, -1))
    close(whole.record["attention"][1], mix @ layer["output"]["kernel"] + layer["output"]["bias"])


def test_queries_and_keys_are_recorded_before_they_are_rotated(whole):
    """At position 0 nothing is rotated, so there the logits are the plain products; elsewhere they are not."""
    query = np.reshape(whole.record["query"][0], (3, T, 4, 8))
    key = np.repeat(np.reshape(whole.record["key"][0], (3, T, 2, 8)), 2, axis=2)
    plain = np.einsum("bthk,bshk->bhts", query, key)
    close(whole.record["logits"][0][..., 0, 0], plain[..., 0, 0])
    assert np.abs(whole.record["logits"][0] - plain).max() > 1e-2


def test_momentum_adds_its_sum_of_values(params, ids_BT):
    """A layer whose map is made uniform by a scale of nearly 0, with and without momentum."""
    flat = dataclasses.replace(MIXED, depth=1, ropes=MIXED.ropes[:1], windows=(0,), attention_scale=1e-30)
    one = params | {"layers": jax.tree.map(lambda leaf: leaf[:1], params["layers"])}
    asked = dict(record=("attention", "value"))
    plain = forward(flat, one, ids_BT, **asked)
    momentum = Momentum(eta=0.4)
    with_it = forward(flat, one, ids_BT, momentum=momentum, **asked)
    values = np.repeat(np.reshape(plain.record["value"][0], (3, T, 2, 8)), 2, axis=2)
    decay_TT = decay(T, 0.4, exclude_self=True, normalised=False)
    added = np.reshape(np.einsum("ts,bshk->bthk", decay_TT, values), (3, T, -1))
    difference = with_it.record["attention"] - plain.record["attention"]
    close(difference[0], added @ one["layers"]["output"]["kernel"][0])
    cache = forward(flat, one, ids_BT[:1, :CONTEXT], momentum=momentum).cache
    later = forward(flat, one, ids_BT[:, CONTEXT:], caches=(cache,), momentum=momentum)
    close(later.hidden_BTD, with_it.hidden_BTD[:, CONTEXT:])


def test_bfloat16_is_near(params, ids_BT, whole):
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    hidden_BTD = forward(MIXED, narrow, ids_BT).hidden_BTD
    assert hidden_BTD.dtype == jnp.bfloat16
    difference = np.abs(hidden_BTD.astype(np.float32) - whole.hidden_BTD)
    assert 1e-4 < difference.mean() < 0.05
    assert decoder.unembed(MIXED, narrow, hidden_BTD).dtype == jnp.float32


def test_shapes_are_those_of_init(params):
    assert jax.tree.map(lambda leaf: leaf.shape, decoder.shapes(MIXED)) == jax.tree.map(jnp.shape, params)


def test_frequencies_of_llama3():
    """Its published rule at wavelengths below, above and between the bounds 8192 and 2048."""
    rope = Rope(theta=500_000.0, factor=8.0, llama3=(1.0, 4.0, 8192.0))
    plain = 1.0 / 500_000.0 ** (np.arange(0, 128, 2) / 128)
    wavelength = 2 * np.pi / plain
    got = frequencies(rope, 128)
    np.testing.assert_allclose(got[wavelength < 2048], plain[wavelength < 2048], rtol=1e-6)
    np.testing.assert_allclose(got[wavelength > 8192], plain[wavelength > 8192] / 8, rtol=1e-6)
    middle = (wavelength > 2048) & (wavelength < 8192)
    smooth = (8192 / wavelength[middle] - 1) / 3
    np.testing.assert_allclose(got[middle], (1 - smooth) * plain[middle] / 8 + smooth * plain[middle], rtol=1e-6)
    assert middle.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 3},
        {"depth": 10**9},
        {"width": True},
        {"norm": "batch"},
        {"rope_width": 10},
        {"ropes": (Rope(),)},
        {"windows": (4,)},
        {"norm_epsilon": float("nan")},
    ],
)
def test_what_cannot_be_is_said(wrong):
    with pytest.raises(ValueError, match=r"architecture.* (must|allowed|not)"):
        dataclasses.replace(MIXED, **wrong).check()


def test_an_unknown_record_is_named(params, ids_BT):
    with pytest.raises(ValueError, match="'querry'.*Did you mean 'query'"):
        decoder.forward(MIXED, params, ids_BT, record=("querry",))
