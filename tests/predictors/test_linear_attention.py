"""Linear attention against its formula, written out token by token."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import LinearAttention
from icl_sim.types import QUERY, Batch

DIM, PAIRS = 3, 4


def regression(sequences=5, pairs=PAIRS, dim=DIM, seed=0, weights=False) -> Batch:
    rng, shape = np.random.default_rng(seed), (sequences, pairs + 1)
    kinds_BS = np.zeros(shape, np.int8)
    kinds_BS[:, -1] = QUERY
    return Batch(
        inputs=jnp.asarray(rng.normal(size=(*shape, dim)), jnp.float32),
        targets=jnp.asarray(rng.normal(size=shape), jnp.float32),
        kinds=jnp.asarray(kinds_BS),
        weights=jnp.asarray(np.ones(shape, np.float32)) if weights else None,
    )


apply = jax.jit(lambda network, params, batch: network.apply(params, batch))
layer = jax.jit(lambda network, params, h_BTD, number: network.layer(params, h_BTD, number), static_argnums=3)


def prefix(batch: Batch, pairs: int) -> Batch:
    """The first pairs, and the input after them as the query."""
    return dataclasses.replace(
        batch,
        inputs=np.asarray(batch.inputs)[:, : pairs + 1],
        targets=np.asarray(batch.targets)[:, : pairs + 1],
        kinds=np.asarray(batch.kinds)[:, -pairs - 1 :],
        weights=None,
    )


def positions(network: LinearAttention, tokens: int):
    if network.position == "one_hot":
        return np.eye(tokens)
    half = network.position_size // 2
    angle = np.arange(tokens)[:, None] / 10_000 ** (np.arange(half) / half)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def by_hand(network: LinearAttention, params, batch: Batch):
    """The answers, one sequence, layer, token and head at a time."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    answers = []
    for x, y in zip(np.asarray(batch.inputs, np.float64), np.asarray(batch.targets, np.float64), strict=True):
        dim = x.shape[1]
        if network.tokens == "concatenated":
            tokens = [np.append(x_l, y_l) for x_l, y_l in zip(x[:-1], y[:-1], strict=True)] + [np.append(x[-1], 0)]
            slot = dim
        else:
            room = [] if network.shared_slot else [0.0]
            slot = dim - 1 + len(room)
            tokens = []
            for x_l, y_l in zip(x[:-1], y[:-1], strict=True):
                tokens += [np.append(x_l, room), np.append(np.zeros(slot), y_l)]
            tokens += [np.append(x[-1], room)]
        e = np.stack(tokens)
        if network.position != "none":
            e = np.concatenate([e, positions(network, len(e))], axis=1)
        first = e[-1, slot]
        for number in range(network.depth):
            layer = 0 if network.tied else number
            seen = e[:-1] if network.context_only else e
            added = np.zeros_like(e)
            for head in range(network.heads):
                query, key, value, out = (p[name][layer, head] for name in ("query", "key", "value", "out"))
                for j in range(len(e)):
                    score = np.array([(key @ e_i) @ (query @ e[j]) for e_i in seen])
                    if number in network.softmax_layers:
                        score = np.exp(score) / np.exp(score).sum()
                    added[j] += out @ sum(s * (value @ e_i) for s, e_i in zip(score, seen, strict=True))
            e = np.clip(e + added, -network.clip, network.clip)
        answers.append(-(e[-1, slot] - first))
    return np.array(answers)


NETWORKS = {
    "one layer": LinearAttention(),
    "two heads": LinearAttention(heads=2, key_size=2),
    "three layers": LinearAttention(depth=3, heads=2),
    "tied": LinearAttention(depth=3, tied=True),
    "with the query": LinearAttention(depth=2, context_only=False),
    "clipped": LinearAttention(depth=3, clip=0.5),
    "softmax": LinearAttention(depth=2, heads=2, softmax_layers=(0, 1)),
    "classic": LinearAttention(depth=2, tokens="interleaved", position="sinusoid", softmax_layers=(0,), key_size=5),
    "own slot": LinearAttention(depth=2, tokens="interleaved", position="one_hot", shared_slot=False),
    "positions": LinearAttention(depth=2, position="sinusoid", position_size=4),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_is_its_formula(name, random_params):
    network, batch = NETWORKS[name], regression()
    params = random_params(network.init, batch)
    outputs = apply(network, params, batch)
    assert outputs.values.shape == (5, 1) and not outputs.record
    np.testing.assert_allclose(outputs.values[:, 0], by_hand(network, params, batch), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["one layer", "three layers", "with the query", "softmax", "own slot", "positions"])
def test_answers_every_slot_as_if_it_were_the_query_of_the_pairs_before_it(name, random_params):
    network, batch = NETWORKS[name], regression(weights=True)
    params = random_params(network.init, batch)
    values_BS = apply(network, params, batch).values
    assert values_BS.shape == (5, PAIRS + 1)
    if not network.softmax_layers and network.context_only:
        np.testing.assert_array_equal(values_BS[:, 0], 0.0)
    for pairs in range(1, PAIRS + 1):
        part = prefix(batch, pairs)
        if network.position == "one_hot":
            continue  # shorter sequences have fewer channels
        np.testing.assert_allclose(
            values_BS[:, pairs], apply(network, params, part).values[:, 0], rtol=2e-4, atol=2e-5
        )
    np.testing.assert_allclose(
        values_BS[:, -1], apply(network, params, prefix(batch, PAIRS)).values[:, 0], rtol=2e-4, atol=2e-5
    )


@pytest.mark.parametrize("name", ["three layers", "softmax", "own slot"])
def test_no_slot_sees_its_own_target_or_anything_later(name, random_params):
    network, batch = NETWORKS[name], regression(weights=True)
    params = random_params(network.init, batch)

    @jax.jit
    @jax.jacfwd
    def jacobian_SBS(y_BS):
        return network.apply(params, dataclasses.replace(batch, targets=y_BS)).values[0]

    jacobian = np.asarray(jacobian_SBS(batch.targets))[:, 0]
    assert np.isfinite(jacobian).all()
    np.testing.assert_array_equal(np.triu(jacobian), 0.0)
    assert (np.abs(np.tril(jacobian, -1)[2:, :2]) > 0).all()


def test_gradients_of_an_empty_softmax_are_finite(random_params):
    network, batch = NETWORKS["softmax"], regression(weights=True)
    params = random_params(network.init, batch)
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(network.apply(p, batch).values ** 2)))(params)
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_the_answer_of_an_embedded_network_is_of_its_last_channel(random_params):
    network, batch = LinearAttention(embedding=6, mlp_ratio=4), regression(dim=1)
    params = random_params(network.init, batch)
    assert params["up"]["kernel"].shape == (6, 24) and params["query"].shape == (1, 1, 6, 6)
    y_BS = np.append(batch.targets[:, :-1], np.zeros((5, 1)), axis=1)
    token = np.concatenate([batch.inputs, y_BS[..., None]], axis=2)
    p = jax.tree.map(np.asarray, params)
    h = token @ p["embedding"]["kernel"] + p["embedding"]["bias"]
    hidden = np.asarray(jax.nn.gelu(h @ p["up"]["kernel"] + p["up"]["bias"]))
    h = h + hidden @ p["down"]["kernel"] + p["down"]["bias"]
    query, key, value, out = (p[name][0, 0] for name in ("query", "key", "value", "out"))
    expected = [
        -(e[-1] + sum(out @ value @ e_i * ((key @ e_i) @ (query @ e[-1])) for e_i in e[:-1]))[-1] for e in h
    ]
    np.testing.assert_allclose(apply(network, params, batch).values[:, 0], expected, rtol=1e-3, atol=1e-5)


def test_starts_near_zero_with_the_variance_of_the_paper(key):
    network, batch = LinearAttention(depth=2, heads=2, key_size=50, init_scale=0.002), regression(dim=99)
    params = jax.jit(network.init)(key, batch)
    assert {name: leaf.shape for name, leaf in params.items()} == {
        **dict.fromkeys(("query", "key", "value"), (2, 2, 50, 100)),
        "out": (2, 2, 100, 50),
    }
    for name, leaf in params.items():  # fan-in 100 for all, two heads of 50 for "out"
        assert np.std(leaf) == pytest.approx(math.sqrt(0.002 / 2 / 100), rel=0.03), name
        assert np.abs(leaf).max() <= 2 * math.sqrt(0.002 / 2 / 100) / 0.8796
    assert jax.eval_shape(LinearAttention(depth=5, tied=True).init, key, batch)["query"].shape == (1, 1, 100, 100)


def test_the_record_holds_the_tokens_after_every_layer(random_params):
    network, batch = NETWORKS["three layers"], regression()
    params = random_params(network.init, batch)
    record = jax.jit(lambda p, b: network.apply(p, b, record=True))(params, batch).record
    h_BTD = network.embed(params, batch)
    for number in range(3):
        np.testing.assert_allclose(record[f"residual/{number}"], h_BTD, rtol=1e-4, atol=1e-5)
        h_BTD = layer(network, params, h_BTD, number)
    np.testing.assert_allclose(record["residual/3"], h_BTD[:, -1:], rtol=1e-4, atol=1e-5)


def test_a_rollout_repeats_the_layer_on_y_slots_alone(random_params):
    network, batch = LinearAttention(), regression()
    params = random_params(network.init, batch)
    rolled_BU = jax.jit(lambda p, b: network.rollout(p, b, 3, 0.75))(params, batch)
    h_BTD = np.array(network.embed(params, batch))
    for use in range(3):
        h_BTD[..., DIM] += 0.75 * (np.asarray(layer(network, params, h_BTD, 0)) - h_BTD)[..., DIM]
        np.testing.assert_allclose(rolled_BU[:, use], -h_BTD[:, -1, DIM], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="has 2 of their own"):
        LinearAttention(depth=2).rollout(params, batch, 3, 0.75)


def test_a_rollout_needs_a_slot_of_y_alone(random_params):
    """Where x and y share one, what is written to x tokens would change x."""
    batch = regression()
    network = LinearAttention(tokens="interleaved")
    with pytest.raises(ValueError, match="tokens are 'interleaved' with shared_slot True, .* needs shared_slot False"):
        network.rollout(network.init(jax.random.key(0), batch), batch, 3, 0.75)
    own = LinearAttention(tokens="interleaved", shared_slot=False)
    params = random_params(own.init, batch)
    rolled_BU = own.rollout(params, batch, 1, 1.0)
    np.testing.assert_allclose(rolled_BU[:, 0], own.apply(params, batch).values[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(depth=0), "depth is 0"),
        (dict(heads=0), "heads is 0"),
        (dict(tokens="concat"), "concatenated"),
        (dict(position="one-hot"), "one_hot"),
        (dict(softmax_layers=(1,)), "layers are 0 to 0"),
        (dict(position="sinusoid", position_size=3), "position_size is 3"),
        (dict(mlp_ratio=4), "no embedding"),
        (dict(clip=0.0), "clip is 0.0"),
        (dict(init_scale=-1.0), "init_scale is -1.0"),
    ],
)
def test_refuses_with_a_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        LinearAttention(**changes).check()


def test_refuses_classes(make_batch, key):
    with pytest.raises(ValueError, match="num_classes=10"):
        LinearAttention().init(key, make_batch())
