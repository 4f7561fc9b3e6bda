"""Sequences that begin at another position than 0, by every kind of position."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Transformer
from icl_sim.predictors.networks.positions import sinusoid

NETWORK = Transformer(depth=1, width=8, heads=2)
FIRST = jnp.array([0, 3, 2])


@pytest.mark.parametrize("position", ["shared_sinusoid", "token_sinusoid", "learned", "rotary"])
def test_tokens_are_those_of_the_positions_from_the_first_one_on(position, make_batch):
    network, still = dataclasses.replace(NETWORK, position=position), make_batch(shape=(4,))
    moved = dataclasses.replace(still, first_position=FIRST, max_offset=4)
    params = jax.jit(network.init)(jax.random.key(1), moved)
    run = jax.jit(lambda params, batch: network.apply(params, batch, record=True))
    T = 2 * still.inputs.shape[1] - 1
    own = {**params, "position": params["position"][:T]} if position == "learned" else params
    before, after = run(own, still), run(params, moved)
    np.testing.assert_allclose(after.values[0], before.values[0], rtol=1e-5, atol=1e-6)
    added = np.asarray(after.record["residual/0"] - before.record["residual/0"])
    if position == "rotary":
        np.testing.assert_array_equal(after.values, before.values)
    else:
        if position == "learned":
            assert params["position"].shape == (T + 4, 8)
            table = np.asarray(params["position"])
        else:
            table = np.asarray(sinusoid(jnp.arange(T + 4), 8, NETWORK.position_base))
        place = np.arange(T) // 2 if position == "shared_sinusoid" else np.arange(T)
        for b, first in enumerate(FIRST):
            np.testing.assert_allclose(added[b], table[place + first] - table[place], atol=1e-5)
        assert np.all(np.abs(after.values[1] - before.values[1]) > 1e-6)
