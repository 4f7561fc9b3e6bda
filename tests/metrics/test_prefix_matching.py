"""Prefix matching on attention maps made by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import metrics
from icl_sim.types import Batch, Outputs

TOKENS = jnp.asarray([[5, 1, 5, 2, 5, 1], [0, 1, 2, 3, 4, 5], [3, 3, 3, 4, 4, 0]], jnp.int32)
AFTER = [[-1, -1, 1, -1, 3, 2], [-1] * 6, [-1, 1, 2, -1, 4, -1]]


def batch(tokens=TOKENS):
    return Batch(
        inputs=tokens,
        targets=jnp.roll(tokens[..., 0] if tokens.ndim == 3 else tokens, -1, axis=1).astype(jnp.int32),
        kinds=jnp.zeros(tokens.shape[:2], jnp.int8),
        weights=jnp.ones(tokens.shape[:2]),
        num_classes=6,
    )


def attending(to_BS, strength):
    """Maps that give `strength` to a slot per row, and the rest to the first slot. -1: all to the first."""
    map_BSS = np.zeros((*np.shape(to_BS), np.shape(to_BS)[1]))
    for (b, s), to in np.ndenumerate(np.asarray(to_BS)):
        map_BSS[b, s, 0] += 1.0 if to < 0 else 1 - strength
        map_BSS[b, s, to] += 0.0 if to < 0 else strength
    return jnp.asarray(map_BSS, jnp.float32)


def test_where_a_token_was_followed_last():
    np.testing.assert_array_equal(metrics.after_last_occurrence(TOKENS), AFTER)


def test_a_head_that_matches_has_its_strength_as_score():
    before = np.broadcast_to(np.arange(6) - 1, (3, 6))
    maps_BHSS = jnp.stack([attending(AFTER, 1.0), attending(AFTER, 0.3), attending(before, 0.8)], axis=1)
    score_BH = np.asarray(metrics.prefix_matching_of_heads(maps_BHSS, TOKENS))
    # The slot before is right for two of three slots of the first sequence, and for none of the third.
    np.testing.assert_allclose(score_BH[0], [1.0, 0.3, 0.8 * 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(score_BH[2], [1.0, 0.3, 0.0], atol=1e-6)
    assert np.all(np.isnan(score_BH[1]))  # no token occurs twice
    np.testing.assert_allclose(metrics.previous_slot_of_heads(maps_BHSS)[1], [0.2, 0.2, 0.84], rtol=1e-6)


def test_measures_are_of_the_best_head_and_the_mean_over_all_layers():
    maps = {
        "attention/0": attending(np.broadcast_to(np.arange(6) - 1, (3, 6)), 0.8)[:, None],
        "attention/1": jnp.stack([attending(AFTER, 0.3), attending(AFTER, 0.6)], axis=1),
        "residual/1": jnp.zeros((3, 6, 6)),
    }
    told = {name: metrics.OF_LABELS[name](Outputs(values=jnp.zeros((3, 6, 6)), record=maps), batch()) for name in NAMES}
    np.testing.assert_allclose(told["prefix_matching"][0], 0.6, rtol=1e-6)
    np.testing.assert_allclose(told["prefix_matching_mean"][0], (0.3 + 0.6 + 0.8 * 2 / 3) / 3, rtol=1e-6)
    np.testing.assert_allclose(told["previous_slot"][0], 0.84, rtol=1e-6)
    assert np.isnan(told["prefix_matching"][1])


NAMES = ("prefix_matching", "prefix_matching_mean", "previous_slot")


@pytest.mark.parametrize("what", ["no map", "a map of the query", "vectors"])
def test_none_of_it_applies_without_maps_of_slots(what):
    maps = {} if what == "no map" else {"attention/0": jnp.zeros((3, 1, 1 if what == "a map of the query" else 6, 6))}
    asked = batch(jnp.ones((3, 6, 2))) if what == "vectors" else batch()
    for name in NAMES:
        assert np.all(np.isnan(metrics.OF_LABELS[name](Outputs(values=jnp.zeros((3, 6, 6)), record=maps), asked)))


def test_what_context_is_worth_counts_tokens_from_one():
    """A predictor sure of the right token by 2^-t at token number t."""
    asked = batch()
    chance_S = 1 - 0.5 ** np.arange(2, 8)
    right_BSC = np.eye(6)[np.asarray(asked.targets)]
    probs_BSC = right_BSC * chance_S[:, None] + (1 - right_BSC) * (1 - chance_S[:, None]) / 5
    outputs = Outputs(values=jnp.log(jnp.asarray(probs_BSC)))
    score_B = metrics.icl_score(outputs, asked, early=2, late=7)
    np.testing.assert_allclose(score_B, np.log((1 - 2**-7) / (1 - 2**-2)), rtol=1e-5)
    with pytest.raises(ValueError, match="asks for token 8; slots are asked for 2 to 7"):
        metrics.icl_score(outputs, asked, early=2, late=8)
