"""Parameters put together from two networks: what comes from which, and what the whole then answers."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.predictors import InductionNetwork, Transformer
from icl_sim.predictors.grafting import from_layer, graft, up_to

PARAMS = {
    "label_token": {"kernel": 1.0},
    "blocks": {"0": {"k": 2.0}, "1": {"k": 3.0}, "2": {"k": 4.0}},
    "norm": {"scale": 5.0},
    "head": {"bias": 6.0, "kernel": 7.0},
}
OTHER = jax.tree.map(lambda leaf: 10 * leaf, PARAMS)


def test_paths_come_from_the_source_and_nothing_else():
    got = graft(PARAMS, OTHER, ("blocks/1", "head/bias"))
    assert got == {
        **PARAMS,
        "blocks": {**PARAMS["blocks"], "1": {"k": 30.0}},
        "head": {"bias": 60.0, "kernel": 7.0},
    }
    assert graft(PARAMS, OTHER, ()) == PARAMS and graft(PARAMS, OTHER, tuple(PARAMS)) == OTHER


def test_stretches_of_layers_and_their_complements():
    assert up_to(PARAMS, 1) == ("label_token", "blocks/0", "blocks/1")
    assert from_layer(PARAMS, 2) == ("blocks/2", "norm", "head")
    for layer in (0, 1):
        assert graft(graft(PARAMS, OTHER, up_to(PARAMS, layer)), OTHER, from_layer(PARAMS, layer + 1)) == OTHER


def test_layers_of_the_induction_network_go_by_their_number(make_batch):
    network = InductionNetwork(hidden=(3,))
    shapes = jax.eval_shape(network.init, jax.random.key(0), make_batch(shape=(3,)))
    assert up_to(shapes, 0) == ("attention/key0", "attention/query0", "attention/value0", "labels")
    assert from_layer(shapes, 1) == ("attention/key1", "attention/query1", "attention/value1", "classifier")


def test_a_grafted_network_goes_on_from_the_stream_of_the_other(make_batch):
    """Its second layer and head make of the first network's stream what they make of it by a clamp."""
    network = Transformer(depth=2, width=8, heads=2, mlp_ratio=0)
    batch = make_batch(shape=(5,), classes=4)
    run = jax.jit(lambda params, clamps: network.apply(params, batch, record=True, clamps=clamps))
    first, second = (jax.jit(network.init)(jax.random.key(seed), batch) for seed in (0, 1))
    told = run(first, {})
    grafted = run(graft(first, second, from_layer(first, 1)), {})
    np.testing.assert_array_equal(grafted.record["residual/1"], told.record["residual/1"])
    by_hand = jax.jit(lambda params, clamps: network.apply(params, batch, clamps=clamps))(
        second, {"residual/1": (told.record["residual/1"], True)}
    )
    np.testing.assert_allclose(grafted.values, by_hand.values, atol=1e-6)
    assert not np.allclose(grafted.values, told.values, atol=1e-2)


@pytest.mark.parametrize(
    ("source", "paths", "sentence"),
    [
        (OTHER, ("block/1",), "The network grafted into has paths; one is 'block'; .*Did you mean 'blocks'?"),
        (OTHER, ("blocks/3",), "one is 'blocks/3'; allowed: blocks/0, blocks/1, blocks/2"),
        ({"head": {}}, ("blocks/1",), "The source of the graft has paths; one is 'blocks'; allowed: head"),
        (
            {"head": {"bias": 1.0}},
            ("head",),
            "head/kernel cannot be grafted: it is of shape .* and missing in the source",
        ),
        (
            {"norm": {"scale": np.ones(2)}},
            ("norm",),
            r"norm/scale cannot be grafted: it is of shape \[\] .* of shape \[2\]",
        ),
    ],
)
def test_impossible_grafts_are_refused(source, paths, sentence):
    with pytest.raises(ValueError, match=sentence):
        graft(PARAMS, source, paths)


@pytest.mark.parametrize(
    ("params", "layer", "sentence"),
    [(PARAMS, 3, "layer is 3; the network has 3 layers"), ({"blocks": {"qkv": 1.0}}, 0, "no layers by number")],
)
def test_layers_that_there_are_not(params, layer, sentence):
    for helper in (up_to, from_layer):
        with pytest.raises(ValueError, match=sentence):
            helper(params, layer)
