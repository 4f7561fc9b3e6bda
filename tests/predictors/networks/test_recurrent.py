"""LSTM and GRU by their formulas, step by step, at the published size, as readers of pairs and of symbols."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Recurrent, ResidualEncoder
from icl_sim.tasks import BurstySequences, Clusters, Regression
from icl_sim.types import Batch

D, DEPTH = 4, 2
apply = jax.jit(lambda network, params, batch: network.apply(params, batch, record=True))
made = functools.cache(lambda network, batch: jax.jit(network.init)(jax.random.key(2), batch()))


@functools.cache
def pairs() -> Batch:
    task = BurstySequences(num_classes=6, context_length=3, bursts=(1, 1), inputs=Clusters(dim=3))
    return jax.jit(lambda key: task.sample(key, 2))(jax.random.key(1))


@functools.cache
def symbols() -> Batch:
    inputs = jnp.array([[0, 3, 1, 3], [2, 2, 0, 1]])
    zeros = jnp.zeros((2, 4), jnp.int8)
    return Batch(inputs=inputs, targets=jnp.roll(inputs, -1, 1), kinds=zeros, weights=jnp.ones((2, 4)), num_classes=5)


def numpy_of(params):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


@jax.jit
def shaken(params):
    """Parameters of which none is 0."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    drawn = [leaf + 0.5 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def states(cell, layers, x_TD, forget):
    """The last layer's states of one sequence, by the formulas."""
    for below, state, bias in zip(layers["input"], layers["state"], layers["bias"], strict=True):
        h, c, told = np.zeros(D), np.zeros(D), []
        for x in x_TD:
            if cell == "lstm":
                i, g, f, o = np.split(x @ below + h @ state + bias, 4)
                c = sigmoid(f + forget) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            else:
                z, r = np.split(sigmoid(x @ below + h @ state + bias)[: 2 * D], 2)
                a = np.tanh((x @ below + bias)[2 * D :] + (r * h) @ state[:, 2 * D :])
                h = (1 - z) * h + z * a
            told.append(h)
        x_TD = np.array(told)
    return x_TD


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_states_and_answer_are_those_of_the_formulas(cell):
    network, batch = Recurrent(cell=cell, depth=DEPTH, width=D, forget=0.7), pairs()
    params = shaken(made(network, pairs))
    outputs, p = apply(network, params, batch), numpy_of(params)
    for b in range(2):
        x = np.asarray(batch.inputs[b]) @ p["input_token"]["kernel"] + p["input_token"]["bias"]
        y = p["label_token"]["table"][np.asarray(batch.targets[b])]
        tokens = [token for pair in zip(x, y, strict=True) for token in pair][:-1]
        h_TD = states(cell, p["layers"], tokens, 0.7)
        np.testing.assert_allclose(outputs.record["states"][b], h_TD, atol=1e-5)
        np.testing.assert_allclose(outputs.values[b], h_TD[-1] @ p["head"]["kernel"] + p["head"]["bias"], atol=1e-5)


def test_a_reader_of_symbols_answers_every_slot_from_those_up_to_it():
    network, batch = Recurrent(depth=DEPTH, width=D, tokens="inputs"), symbols()
    params = shaken(made(network, symbols))
    outputs, p = apply(network, params, batch), numpy_of(params)
    for b in range(2):
        h_TD = states("lstm", p["layers"], p["input_token"]["table"][np.asarray(batch.inputs[b])], 1.0)
        np.testing.assert_allclose(outputs.values[b], h_TD @ p["head"]["kernel"] + p["head"]["bias"], atol=1e-5)


def test_every_slot_of_a_regression_is_answered_before_its_target():
    task = Regression(dim=2, context_length=3)
    network, batch = Recurrent(depth=1, width=D), jax.jit(lambda key: task.sample(key, 2))(jax.random.key(1))
    assert batch.weights is not None
    params = shaken(jax.jit(network.init)(jax.random.key(2), batch))
    run = jax.jit(network.apply)
    told = run(params, batch).values
    other = run(params, batch.__class__(**{**vars(batch), "targets": batch.targets.at[:, 2].add(1.0)})).values
    assert told.shape == (2, 4)
    np.testing.assert_array_equal(told[:, :3], other[:, :3])
    assert np.all(told[:, 3] != other[:, 3])


def test_it_has_the_published_size():
    """Chan et al. 2022: an LSTM of 12 layers has 628 thousand parameters; their encoder's batch norms are 1,280."""
    network = Recurrent(depth=12, encoder=ResidualEncoder(widths=(16, 32, 32, 64)))
    batch = Batch(
        inputs=np.zeros((1, 9, 105, 105, 1), np.float32),
        targets=np.zeros((1, 9), int),
        kinds=np.zeros((1, 9), int),
        num_classes=1623,
    )
    shapes = jax.eval_shape(network.init, jax.random.key(0), batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) + 1280 == pytest.approx(628_000, abs=1_000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"cell": "rnn"}, "allowed: lstm, gru"), ({"depth": 0}, "at least 1"), ({"tokens": "shared"}, "interleaved")],
)
def test_what_cannot_be_is_refused_in_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        Recurrent(**changes).check()


def test_symbols_need_a_table():
    with pytest.raises(ValueError, match="looks up inputs that are integers"):
        Recurrent().init(jax.random.key(0), symbols())
