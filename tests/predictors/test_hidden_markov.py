"""The Bayes predictor of mixtures of hidden chains against all paths of states."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import HiddenMarkovBayes
from icl_sim.tasks import Ginc
from icl_sim.types import Batch
from tests.predictors.hidden_chains import chances, random_law

V, S = 3, 4
EVERY = np.array(list(itertools.product(range(V), repeat=S + 1)))


def batch_of(law, words_BN=EVERY) -> Batch:
    return Batch(
        inputs=jnp.asarray(words_BN[:, :-1], jnp.int32),
        targets=jnp.asarray(words_BN[:, 1:], jnp.int32),
        kinds=jnp.zeros(words_BN[:, 1:].shape, jnp.int8),
        latents={
            name: jnp.asarray(value, jnp.int32 if name == "word" else jnp.float32)[None] for name, value in law.items()
        },
        weights=jnp.ones(words_BN[:, 1:].shape),
        num_classes=V,
    )


@pytest.mark.parametrize("jump", [0.0, 0.2])
def test_it_answers_as_the_sum_over_all_paths(apply, jump):
    law = random_law()
    outputs = apply(HiddenMarkovBayes(jump=jump), {}, batch_of(law), record=True)
    known = {length: chances(law, length, jump) for length in range(1, S + 2)}
    for words, log_SV, log_SK in zip(
        EVERY, np.asarray(outputs.values), np.asarray(outputs.record["concepts"]), strict=True
    ):
        for slot in range(S):
            seen = tuple(map(int, words[: slot + 1]))
            chance_K = known[slot + 1][seen]
            next_V = np.array([known[slot + 2][*seen, word].sum() for word in range(V)]) / chance_K.sum()
            np.testing.assert_allclose(np.exp(log_SV[slot]), next_V, rtol=2e-5, atol=1e-7)
            np.testing.assert_allclose(np.exp(log_SK[slot]), chance_K / chance_K.sum(), rtol=2e-5)


def test_the_chances_of_all_words_are_one(apply):
    law = random_law(concepts=3, entities=2, properties=3, seed=1)
    outputs = apply(HiddenMarkovBayes(jump=0.0), {}, batch_of(law))
    first = {words[0]: chance_K.sum() for words, chance_K in chances(law, 1).items()}
    asked = np.take_along_axis(np.asarray(outputs.values), EVERY[:, 1:, None], axis=2)[..., 0]
    likelihood = np.exp(asked.sum(axis=1)) * np.array([first[word] for word in EVERY[:, 0]])
    assert likelihood.sum() == pytest.approx(1.0, rel=1e-5)


def test_a_concept_without_chance_is_no_part_of_it(apply):
    law = random_law()
    alone = {**law, "prior": np.array([0.0, 1.0])}
    values = apply(HiddenMarkovBayes(), {}, batch_of(alone)).values
    twice = {**law, "start": law["start"][[1, 1]], "property": law["property"][[1, 1]]}
    np.testing.assert_allclose(values, apply(HiddenMarkovBayes(), {}, batch_of(twice)).values, rtol=1e-4, atol=1e-5)


def test_words_that_cannot_follow_are_nan_unless_chains_may_start_anew(apply):
    stuck = {**random_law(), "entity": np.eye(2), "property": np.stack([np.eye(2)] * 2), "word": np.eye(2, dtype=int)}
    words = np.array([[0, 0, 1, 1, 1]])
    assert np.any(np.isnan(apply(HiddenMarkovBayes(jump=0.0), {}, batch_of(stuck, words)).values))
    assert np.all(np.isfinite(apply(HiddenMarkovBayes(), {}, batch_of(stuck, words)).values))


def test_long_documents_lose_no_concept(apply):
    """After 2,000 words of one concept, words of the other turn the tables: its weight is not rounded away."""
    rows = np.array([[0.9, 0.1], [0.1, 0.9]])
    law = {
        "prior": np.array([0.5, 0.5]),
        "start": np.full((2, 1, 2), 0.5),
        "entity": np.ones((1, 1)),
        "property": np.stack([rows, rows[::-1]]),
        "word": np.array([[0, 1]]),
    }
    steady, turning = np.zeros(2_001, int), np.arange(2_020) % 2
    words = np.concatenate([steady, turning])[None]
    log_SK = np.asarray(apply(HiddenMarkovBayes(jump=0.0), {}, batch_of(law, words), record=True).record["concepts"])[0]
    assert log_SK[2_000, 1] == pytest.approx(-2_000 * np.log(9), rel=1e-3)
    assert log_SK[-1, 1] == pytest.approx(0.0, abs=1e-3)


def test_its_law_is_that_of_the_task(key):
    """After a hundred words it knows the concept, and is as often right about it as it says."""

    def told(key):
        batch = Ginc(concepts=2, length=30).prepare().sample(key, 500)
        return batch, HiddenMarkovBayes().apply({}, batch, record=True).record["concepts"]

    batch, log_BSK = jax.jit(told)(key)
    sure_BS, is_one_B = np.exp(log_BSK[..., 1]), np.asarray(batch.latents["concept"]) == 1
    assert np.mean(np.where(is_one_B, sure_BS[:, -1], 1 - sure_BS[:, -1])) > 0.97
    for slot in (0, 2, 5):
        spread = np.sqrt(np.sum(sure_BS[:, slot] * (1 - sure_BS[:, slot])))
        assert abs(np.sum(sure_BS[:, slot]) - np.sum(is_one_B)) < 3.5 * spread
    blind = dataclasses.replace(batch, latents={name: v for name, v in batch.latents.items() if name != "word"})
    with pytest.raises(ValueError, match="the batch's latents have no word; it goes with the task Ginc"):
        HiddenMarkovBayes().apply({}, blind)


def test_a_jump_is_a_chance():
    HiddenMarkovBayes(jump=1.0).check()
    with pytest.raises(ValueError, match="The jump is 1.5; it must be a chance from 0 to 1"):
        HiddenMarkovBayes(jump=1.5).check()
