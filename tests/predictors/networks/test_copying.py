"""Copying scores of heads whose weights copy, do not, or do the opposite."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Transformer
from icl_sim.predictors.networks.copying import copying_of_heads
from icl_sim.types import Batch

V, D = 6, 16
TOKENS = jnp.asarray([[0, 1, 2, 3, 4, 5, 0, 1, 2]], jnp.int32)
BATCH = Batch(inputs=TOKENS, targets=TOKENS, kinds=jnp.zeros((1, 9), jnp.int8), weights=jnp.ones((1, 9)), num_classes=V)


def network(**changes):
    return Transformer(tokens="inputs", depth=2, width=D, heads=2, mlp_ratio=0, position="none", **changes)


@pytest.fixture(scope="module")
def params():
    """Tokens are rows 0 to 5 of an orthogonal matrix that is orthogonal to ones, the logits what points along them. The
    first head of the second layer keeps the half of the stream that holds tokens 0 to 2 as it is, the second one turns
    the sign of the other half; the first layer's heads are all zero and random."""
    drawn = jax.tree.map(np.asarray, jax.jit(network().init)(jax.random.key(0), BATCH))
    basis = np.linalg.qr(np.concatenate([np.ones((D, 1)), np.eye(D)[:, : D - 1]], axis=1))[0].T
    rows, half = basis[1:], D // 2
    one = rows[:half].T  # [D, half]: of tokens 0 to 5 and two more
    blocks = drawn["blocks"]
    qkv, out = np.zeros((D, 3 * D)), np.zeros((D, D))
    qkv[:, 2 * D : 2 * D + half], out[:half] = one, one.T
    qkv[:, 2 * D + half :], out[half:] = one, -one.T
    blocks["1"]["qkv"] = {**blocks["1"]["qkv"], "kernel": qkv}
    blocks["1"]["out"] = {"kernel": out, "bias": np.full(D, 3.0)}
    zero = blocks["0"]["out"]["kernel"].copy()
    zero[:half] = 0
    blocks["0"]["out"] = {**blocks["0"]["out"], "kernel": zero}
    token = {"kernel": rows[:V], "bias": np.zeros(D)}
    head = {"kernel": rows[:V].T, "bias": np.arange(V) * 1.0}
    return jax.tree.map(jnp.asarray, {**drawn, "blocks": blocks, "input_token": token, "head": head})


def test_a_head_that_copies_has_one_and_one_that_forbids_minus_one(params):
    score_LH = np.asarray(copying_of_heads(params, 2))
    np.testing.assert_allclose(score_LH[1], [1.0, -1.0], atol=1e-5)
    assert score_LH[0, 0] == 0 and abs(score_LH[0, 1]) < 0.6


def test_a_head_that_names_the_next_token_does_not_copy(params):
    turned = {**params, "head": {**params["head"], "kernel": jnp.roll(params["head"]["kernel"], 1, axis=1)}}
    np.testing.assert_allclose(copying_of_heads(turned, 2)[1], [-1 / (V - 1), 1 / (V - 1)], atol=1e-5)


def test_it_is_what_attending_does_to_the_logits(params):
    """With all attention on one token, the logits of two such tokens differ by what the heads copy."""
    only_first = {"attention/1": (jnp.eye(1, 9), jnp.ones((1, 9), bool))}
    shown = jax.tree.map(lambda row: jnp.tile(row, (2, 1)), BATCH)
    shown = dataclasses.replace(shown, inputs=jnp.asarray([[4] + [0] * 8, [5] + [0] * 8], jnp.int32))
    first_head = {**params, "blocks": {**params["blocks"]}}
    out = params["blocks"]["1"]["out"]
    first_head["blocks"]["1"] = {**params["blocks"]["1"], "out": {**out, "kernel": out["kernel"].at[D // 2 :].set(0)}}
    first_head["blocks"]["0"] = jax.tree.map(jnp.zeros_like, params["blocks"]["0"])
    values = jax.jit(lambda p: network().apply(p, shown, clamps=only_first).values[:, -1])(first_head)
    gap = np.asarray(values[0] - values[1])
    assert np.argmax(gap) == 4 and np.argmin(gap) == 5 and np.allclose(np.delete(gap, [4, 5]), 0, atol=1e-5)


def test_stacked_blocks_have_the_same_scores_and_a_study_takes_the_best(params):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params["blocks"][name] for name in ("0", "1")))
    score_LH = copying_of_heads(params, 2)
    np.testing.assert_allclose(copying_of_heads({**params, "blocks": stacked}, 2), score_LH, atol=1e-6)
    assert network().account(params)["copying"] == pytest.approx(1.0, abs=1e-5)
    assert Transformer(heads=2).account(params) == {}


def test_without_a_table_of_tokens_there_is_no_score(params):
    with pytest.raises(ValueError, match=r"table of as many tokens as there are logits, 6, .* is \[5, 16\]"):
        copying_of_heads({**params, "input_token": {"kernel": jnp.zeros((5, D))}}, 2)
