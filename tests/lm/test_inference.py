"""Layers one call after the other against the whole decoder as one program."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from icl_sim.lm import decoder, inference, sharding
from icl_sim.lm.architecture import Rope
from icl_sim.lm.inference import Inference
from icl_sim.lm.layers import RECORDS, Momentum
from tests.lm.mixed import MIXED

forward = jax.jit(decoder.forward, static_argnames=("architecture", "record"))
FEW, CONTEXT_BT, IDS_BT = np.asarray([[4, 1], [0, 3], [2, 2]]), np.arange(7)[None], np.arange(15).reshape(3, 5) % 11


@pytest.fixture(scope="module")
def params():
    return decoder.init(MIXED, jax.random.key(0))


def close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=0), one, other)


@pytest.mark.parametrize("record", [(), ("block", "logits"), RECORDS], ids=len)
@pytest.mark.parametrize("asked_BP", [None, FEW], ids=["all", "few"])
def test_a_pass_is_that_of_the_decoder(params, asked_BP, record):
    model, known = Inference(MIXED, params), {"record": record, "recorded_BP": FEW}
    whole = forward(MIXED, params, jnp.asarray(IDS_BT), **known)
    told = model.forward(IDS_BT, asked_BP=asked_BP, **known)
    close(told.hidden_BPD, at(whole.hidden_BTD, asked_BP))
    close(told.cache(), whole.cache)
    close(dict(told.record), dict(whole.record))
    assert set(told.record) == set(record)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"residual": "parallel_one_norm"},
        {"residual": "parallel_two_norms"},
        {"residual": "post_norm"},
        {"depth": 1, "ropes": (Rope(),), "windows": (4,)},
        {"positions": "learned", "ropes": (), "rope_width": 0},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) if "residual" in changes else "-".join(changes),
)
def test_asked_tokens_see_all_that_they_saw(changes):
    """Rows of their own lengths, after a context that they share and after their own, one of them empty."""
    architecture = dataclasses.replace(MIXED, **changes)
    params = decoder.init(architecture, jax.random.key(0))
    model = Inference(architecture, params)
    shared = model.forward(CONTEXT_BT).cache()
    own = model.forward(IDS_BT, caches=(shared,), lengths_B=np.asarray([5, 3, 0])).cache()
    known = {"caches": (shared, own), "lengths_B": np.asarray([5, 4, 3]), "momentum": Momentum(eta=0.3)}
    whole = forward(architecture, params, jnp.asarray(IDS_BT), **known)
    some = model.forward(IDS_BT, asked_BP=FEW, **known)
    close(some.hidden_BPD, at(whole.hidden_BTD, FEW))
    close(some.cache(), whole.cache)


def at(hidden_BTD, asked_BP):
    return hidden_BTD if asked_BP is None else np.take_along_axis(np.asarray(hidden_BTD), asked_BP[..., None], axis=1)


def test_layers_lie_where_the_stack_does():
    """So that a large model is in memory once."""
    wide = dataclasses.replace(MIXED, width=64)
    params = decoder.init(wide, jax.random.key(0))
    stack_LDF, model = params["layers"]["up"]["kernel"], Inference(wide, params)
    begins = [layer["up"]["kernel"].unsafe_buffer_pointer() for layer, _ in model._layers]
    step = stack_LDF[0].nbytes
    assert begins == [stack_LDF.unsafe_buffer_pointer() + step * number for number in range(wide.depth)]


def test_all_layers_are_one_program(params):
    """And the last another where it is asked for some tokens."""
    model, before = Inference(MIXED, params), inference._block._cache_size()
    cache = model.forward(IDS_BT[:, :2]).cache()
    assert inference._block._cache_size() == before + 1
    model.forward(IDS_BT[:, 2:], caches=(cache,))
    assert inference._block._cache_size() == before + 2
    Inference(MIXED, jax.tree.map(np.asarray, params)).forward(IDS_BT[:, 2:], caches=(cache,), asked_BP=FEW % 3)
    assert inference._block._cache_size() == before + 3


def test_a_model_may_be_on_any_device(params):
    whole = Inference(MIXED, params).forward(IDS_BT).hidden_BPD
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("model",), axis_types=(AxisType.Auto,))
    for placed in (jax.devices()[1], sharding.shardings(MIXED, mesh)):
        close(Inference(MIXED, jax.device_put(params, placed)).forward(IDS_BT).hidden_BPD, whole)


def test_a_divided_model_answers_as_a_whole_one(params):
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("model",), axis_types=(AxisType.Auto,))
    divided = jax.device_put(params, sharding.shardings(MIXED, mesh))
    whole, halves = (Inference(MIXED, each).forward(IDS_BT, asked_BP=FEW) for each in (params, divided))
    close(halves.hidden_BPD, whole.hidden_BPD)
    assert len(halves.own[0].key_BSGK.devices()) == 2


def test_what_it_cannot_record_is_refused(params):
    with pytest.raises(ValueError, match="querry"):
        Inference(MIXED, params).forward(IDS_BT, record=("querry",))
