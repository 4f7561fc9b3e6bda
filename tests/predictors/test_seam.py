"""The seam gives the numbers of the module itself, under every mode of NNX."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from icl_sim.predictors.networks.seam import functional
from tests.conftest import QUICKLY

PROGRAM = """
import jax
from icl_sim.predictors import Transformer
from icl_sim.types import Batch
import jax.numpy as jnp
ones = jnp.ones((2, 2), int)
batch = Batch(inputs=jnp.ones((2, 2, 8)), targets=ones, kinds=ones, num_classes=3)
model = Transformer(width=8)
params = model.init(jax.random.key(0), batch)
gradient = jax.jit(jax.grad(lambda p: model.apply(p, batch).values.sum()))(params)
assert jax.tree.structure(gradient) == jax.tree.structure(params)
print("passed")
"""


class Tower(nnx.Module):
    """More than ten layers, so that "10" sorts before "2"."""

    def __init__(self, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(12)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return x


def test_equals_a_direct_call_of_the_module(key):
    network = functional(Tower)
    x = jnp.arange(8.0).reshape(2, 4)
    params = network.init(jax.random.clone(key))
    np.testing.assert_array_equal(network.apply(params, x), Tower(nnx.Rngs(key))(x))


def test_params_are_plain_nested_dicts_with_string_keys(key):
    params = functional(Tower).init(key)
    paths = jax.tree_util.tree_leaves_with_path(params)
    assert type(params) is dict and len(paths) == 24
    for path, leaf in paths:
        assert all(isinstance(step, jax.tree_util.DictKey) and isinstance(step.key, str) for step in path)
        assert isinstance(leaf, jax.Array)


def test_the_structure_is_abstract():
    def build(rngs):
        traced = isinstance(rngs.params(), jax.core.Tracer)
        assert traced, "the structure must come from an abstract evaluation"
        return Tower(rngs)

    functional(build)


def test_extra_parameters_are_left_alone(key):
    network = functional(Tower)
    params = network.init(key)
    x = jnp.ones((1, 4))
    np.testing.assert_array_equal(network.apply({**params, "encoder": {"w": x}}, x), network.apply(params, x))


@pytest.mark.parametrize("value", ["false"])
def test_works_without_nnx_graph_mode(value):
    environment = {**os.environ, "NNX_GRAPH_MODE": value, "NNX_GRAPH_UPDATES": value, "XLA_FLAGS": QUICKLY}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "passed\n", done.stderr
