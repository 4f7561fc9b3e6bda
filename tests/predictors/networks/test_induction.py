"""Reddy's network by its formula, what of it trains, and the measures of an induction head."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icl_sim as icl
from icl_sim import metrics
from icl_sim.engine.settings import Member
from icl_sim.engine.step import initial_state, train
from icl_sim.predictors import InductionNetwork
from icl_sim.tasks import Regression
from icl_sim.tasks.sequences.presets import reddy
from icl_sim.types import Batch, Outputs

NETWORK = InductionNetwork(hidden=(5, 6))


@pytest.fixture(scope="module")
def batch() -> Batch:
    return jax.jit(lambda key: reddy(16, 4, burst=2, context_length=4).sample(key, 6))(jax.random.key(1))


@pytest.fixture(scope="module")
def params(batch):
    return jax.jit(NETWORK.init)(jax.random.key(2), batch)


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def test_it_is_the_formula_token_by_token(batch, params):
    outputs = jax.jit(lambda p, b: NETWORK.apply(p, b, record=True))(params, batch)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for b in range(len(batch.inputs)):
        content = []
        for slot in range(5):
            content.append(np.asarray(batch.inputs[b, slot]))
            if slot < 4:
                content.append(p["labels"]["vectors"][batch.targets[b, slot]])
        x = np.concatenate([np.eye(9), np.array(content)], axis=1)
        for layer in range(2):
            keys, queries = x @ p["attention"][f"key{layer}"], x @ p["attention"][f"query{layer}"]
            maps = [softmax(keys[: j + 1] @ queries[j]) for j in range(9)]
            x = x + np.array([row @ x[: len(row)] for row in maps]) @ p["attention"][f"value{layer}"]
            found = outputs.record[f"attention/{layer}"][b, 0, -1]
            np.testing.assert_allclose(found, maps[-1], atol=1e-5)
        h = x[-1]
        for number in range(3):
            layer = p["classifier"][f"layer{number}"]
            h = np.maximum(h @ layer["kernel"] + layer["bias"], 0) if number < 2 else h @ layer["kernel"]
        np.testing.assert_allclose(outputs.values[b], h, rtol=1e-4, atol=1e-4)


def test_step_by_step_it_answers_the_same_and_goes_on_from_clamps(batch, params):
    run = jax.jit(lambda clamps: NETWORK.apply(params, batch, record=True, clamps=clamps))
    plain, told = jax.jit(lambda: NETWORK.apply(params, batch, record=True))(), run({})
    np.testing.assert_allclose(told.values, plain.values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told.record["attention/0"], plain.record["attention/0"], atol=1e-5)
    np.testing.assert_allclose(told.record["attention/1"][:, :, -1:], plain.record["attention/1"], atol=1e-5)
    assert len(told.record) == 2 * 6 + 4
    itself = run({name: (value, True) for name, value in told.record.items()})
    np.testing.assert_array_equal(itself.values, told.values)
    # What a value of the last layer is, its head mixes by the map: here the stream without any position.
    moved = run({"values/1": (told.record["values/1"] + 1.0, True)})
    added = np.asarray(moved.record["residual/2"]) - np.asarray(told.record["residual/2"])
    np.testing.assert_allclose(added, 1.0, atol=1e-4)


def test_it_has_the_published_size():
    """151,936 numbers to train at 128 wide (65 positions, 63 coordinates), label vectors beside."""
    batch = jax.eval_shape(lambda key: reddy(64, 32, context_length=32).sample(key, 1), jax.random.key(0))
    shapes = jax.eval_shape(InductionNetwork().init, jax.random.key(0), batch)
    trained = {name: shapes[name] for name in InductionNetwork().phases[0].trains}
    assert sum(leaf.size for leaf in jax.tree.leaves(trained)) == 151_936


def test_it_has_the_published_size_where_sequences_stand_anywhere_in_65_positions():
    batch = jax.eval_shape(lambda key: reddy(64, 32, max_offset=48).sample(key, 1), jax.random.key(0))
    shapes = jax.eval_shape(InductionNetwork().init, jax.random.key(0), batch)
    assert shapes["attention"]["key0"].shape == (128, 128)
    assert sum(leaf.size for name in ("attention", "classifier") for leaf in jax.tree.leaves(shapes[name])) == 151_936


def test_a_sequence_further_on_is_answered_by_the_parameters_of_its_positions(batch, params):
    """Moved by 3, it is what the network without offsets says, whose positions have the parameters of 3 to 11."""
    moved = dataclasses.replace(batch, first_position=jnp.full(6, 3), max_offset=5)
    wide = jax.jit(NETWORK.init)(jax.random.key(4), moved)
    kept = np.r_[3:12, 14 : 14 + batch.inputs.shape[2]]
    narrow = {
        "attention": {name: kernel[kept][:, kept] for name, kernel in wide["attention"].items()},
        "classifier": dict(wide["classifier"]),
        "labels": wide["labels"],
    }
    # What stands at other positions is never read where no value writes to it.
    written = np.isin(np.arange(wide["attention"]["value0"].shape[0]), kept)
    for layer in range(2):
        wide["attention"][f"value{layer}"] = wide["attention"][f"value{layer}"] * written[None]
    for part in ("key0", "query0", "key1", "query1"):
        wide["attention"][part] = wide["attention"][part] * written[None]
    first = wide["classifier"]["layer0"]
    narrow["classifier"]["layer0"] = {"kernel": first["kernel"][kept], "bias": first["bias"]}
    run = jax.jit(lambda p, b: NETWORK.apply(p, b).values)
    np.testing.assert_allclose(run(wide, moved), run(narrow, batch), rtol=1e-4, atol=1e-4)


def test_label_vectors_do_not_train_and_all_else_does():
    task = reddy(16, 4, burst=2, context_length=4)
    member = Member(
        task=task,
        eval_task=task,
        predictor=NETWORK,
        training=icl.Training(steps=3, batch_size=4),
        evaluation=icl.Evaluation(),
        seed=0,
    )
    (phase,) = NETWORK.phases
    before = jax.jit(lambda member: initial_state(member, None))(member)
    first = jax.tree.map(np.array, before.parts)
    last = jax.jit(lambda member, state: train(member, state, None, 0, 3, phase))(member, before).parts
    stays = jax.tree.map(lambda a, b: bool(np.all(a == b)), first, last)
    assert stays.pop("labels") == {"vectors": True} and not any(jax.tree.leaves(stays))


def _told(first, last, batch):
    outputs = Outputs(values=jnp.zeros((len(first), 4)), record={"attention/0": first, "attention/1": last})
    names = ("previous_token", "right_labels", "label_tokens", "induction_strength")
    return {name: metrics.OF_LABELS[name](outputs, batch) for name in names}


def test_without_maps_there_is_nothing_to_measure(batch):
    assert np.isnan(metrics.previous_token(Outputs(values=jnp.zeros((6, 4))), batch)).all()


def test_measures_of_a_perfect_and_of_an_even_head(batch):
    B, L = batch.targets.shape[0], batch.targets.shape[1] - 1
    T = 2 * L + 1
    right = np.asarray(batch.targets[:, :-1] == batch.targets[:, -1:])
    first = np.tile(np.eye(T, k=-1)[None, None], (B, 1, 1, 1))
    second = np.zeros((B, 1, 1, T))
    second[:, 0, 0, 1::2] = right / right.sum(axis=1, keepdims=True)
    told = _told(jnp.array(first), jnp.array(second), batch)
    np.testing.assert_allclose(told["previous_token"], 1)
    np.testing.assert_allclose(told["right_labels"], 1, atol=1e-6)
    np.testing.assert_allclose(told["label_tokens"], 1, atol=1e-6)
    np.testing.assert_allclose(told["induction_strength"], 1 / right.sum(axis=1), atol=1e-6)
    even = _told(jnp.full((B, 2, T, T), 1 / T), jnp.full((B, 2, 1, T), 1 / T), batch)
    np.testing.assert_allclose(even["induction_strength"], 0, atol=1e-6)
    np.testing.assert_allclose(even["label_tokens"], L / T, rtol=1e-5)
    np.testing.assert_allclose(even["previous_token"], 1 / T, rtol=1e-5)


def test_regression_is_refused_in_a_sentence():
    batch = jax.eval_shape(lambda key: Regression(dim=2, context_length=3).sample(key, 2), jax.random.key(0))
    with pytest.raises(ValueError, match="with a class"):
        NETWORK.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match="at least 1"):
        InductionNetwork(hidden=(0,)).check()
