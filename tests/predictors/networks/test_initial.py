"""Schemes of initial parameters: their deviations and bounds, layer by layer."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from icl_sim.predictors import Transformer
from icl_sim.predictors.networks.initial import draw

DEPTH, WIDTH = 2, 64


@pytest.fixture
def start(make_regression):
    """Initial parameters by a scheme, blocks stacked; inputs of 9 coordinates are "shared" tokens of 9."""

    def make(scheme):
        model = Transformer(
            depth=DEPTH, width=WIDTH, initial=scheme, tokens="shared", position="learned", position_count=200, scan=True
        )
        shapes = jax.eval_shape(lambda key: model.init(key, make_regression(dim=9)), jax.random.key(0))
        return jax.tree.map(np.asarray, jax.jit(lambda key: draw(scheme, key, shapes, DEPTH))(jax.random.key(0)))

    return make


@pytest.mark.parametrize("scheme", ["gpt2", "gpt2_core", "uniform", "lecun"])
def test_parameters_are_of_the_type_that_training_gives_back(scheme, make_regression):
    """Or what trains them would be compiled twice."""
    model = Transformer(depth=1, width=8, heads=2, initial=scheme, tokens="shared", position="learned")
    started = jax.eval_shape(lambda key: model.init(key, make_regression(dim=3)), jax.random.key(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(started))


def normal(leaf, std):
    """Whether the sample deviation is std within 4 standard errors, and the tails are a normal's."""
    assert np.std(leaf) == pytest.approx(std, rel=4 / math.sqrt(2 * leaf.size))
    assert np.max(np.abs(leaf)) > 2.2 * std


def uniform(leaf, bound):
    """Whether it fills (-bound, bound) evenly."""
    assert np.max(np.abs(leaf)) <= bound
    assert np.std(leaf) == pytest.approx(bound / math.sqrt(3), rel=4 / math.sqrt(leaf.size))


@pytest.mark.parametrize("scheme", ["gpt2", "gpt2_core"])
def test_gpt2_is_normal_and_what_writes_to_the_stream_is_smaller(scheme, start):
    params = start(scheme)
    blocks = params["blocks"]
    normal(blocks["qkv"]["kernel"], 0.02)
    normal(blocks["up"]["kernel"], 0.02)
    normal(blocks["out"]["kernel"], 0.02 / 2)  # sqrt(2 * 2 blocks)
    normal(blocks["down"]["kernel"], 0.02 / 2)
    normal(params["position"], 0.02)
    for layer in ("qkv", "out", "up", "down", "attention_norm", "mlp_norm"):
        assert not np.any(blocks[layer]["bias"])
    assert np.all(blocks["mlp_norm"]["scale"] == 1) and np.all(params["norm"]["scale"] == 1)
    if scheme == "gpt2":
        normal(params["token"]["kernel"], 0.02)
        assert not np.any(params["token"]["bias"]) and not np.any(params["head"]["bias"])
    else:
        uniform(params["token"]["kernel"], 1 / 3)
        uniform(params["token"]["bias"], 1 / 3)
        uniform(params["head"]["kernel"], 1 / 8)
        assert np.all(params["head"]["bias"] != 0)


def test_uniform_is_within_the_root_of_the_fan_in_biases_and_positions_too(start):
    params = start("uniform")
    blocks = params["blocks"]
    for layer, fan_in in (("qkv", 64), ("out", 64), ("up", 64), ("down", 256)):
        uniform(blocks[layer]["kernel"], fan_in**-0.5)
        uniform(blocks[layer]["bias"], fan_in**-0.5)
    uniform(params["token"]["kernel"], 1 / 3)
    uniform(params["position"], 1 / 8)
    assert np.all(blocks["attention_norm"]["scale"] == 1) and not np.any(blocks["attention_norm"]["bias"])


def test_no_two_layers_or_blocks_start_alike(start):
    params = start("gpt2")
    kernel = params["blocks"]["qkv"]["kernel"]
    assert not np.any(kernel[0] == kernel[1])
    assert not np.any(params["blocks"]["out"]["kernel"][0] == kernel[0, :, :64] / 2)
