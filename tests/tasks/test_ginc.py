"""GINC: the law of concepts, of documents and of prompts, what is right, settings that cannot be."""

from __future__ import annotations

import collections
import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks import Ginc
from tests.predictors.hidden_chains import chances

TINY = Ginc(
    concepts=2, entities=2, properties=3, vocabulary=4, length=11, lengths=(3,), shots=(0, 2), example_length=3, seed=4
)


@pytest.fixture(scope="session")
def sampled():
    """A batch as numpy arrays (task, number of sequences)."""
    draw = jax.jit(lambda task, key, size: task.prepare().sample(key, size), static_argnums=2)
    return lambda task, size=500: jax.tree.map(np.asarray, draw(task, jax.random.key(2), size))


@pytest.fixture(scope="session")
def chains_of():
    """The concepts of a task as numpy arrays."""
    draw = jax.jit(lambda task: task.chains)
    return lambda task: jax.tree.map(np.asarray, draw(task))


def compared(rows, expected) -> float:
    """The p-value of rows under the chances of all that are possible."""
    counted = collections.Counter(map(tuple, rows.tolist()))
    possible = {words: chance for words, chance in expected.items() if chance > 0}
    assert set(counted) <= set(possible)
    pairs = np.array([(counted[words], chance * len(rows)) for words, chance in possible.items()])
    rare = pairs[:, 1] < 5
    pooled = np.concatenate([pairs[~rare], pairs[rare].sum(axis=0, keepdims=True)])
    found, wanted = pooled[pooled[:, 1] > 0].T
    return stats.chisquare(found, wanted * (found.sum() / wanted.sum())).pvalue


def test_concepts_mix_permutations(chains_of):
    chains = chains_of(Ginc(seed=3))
    assert chains.word_EP.shape == (10, 10) and np.all(chains.word_EP[:, 0] == 0)
    assert chains.word_EP[:, 1:].min() >= 1 and chains.word_EP.max() <= 49
    for matrix in (*chains.property_KPP, chains.entity_EE):  # doubly stochastic is what mixtures of permutations are
        np.testing.assert_allclose([matrix.sum(axis=0), matrix.sum(axis=1)], 1.0, rtol=1e-5)
        assert matrix.min() >= 0
    assert len(chains.property_KPP) == 10 and np.all(np.diag(chains.entity_EE) >= 0.9 - 1e-6)
    assert not np.allclose(chains.property_KPP[0], chains.property_KPP[1])
    assert np.all(np.isclose(chains.start_KEP.sum(axis=(1, 2)), 1.0, rtol=1e-5))
    start_KS = chains.start_KEP.reshape(10, -1)
    ratio_K = start_KS.max(axis=1) / start_KS.min(axis=1)
    assert np.all((ratio_K > 1.05) & (ratio_K <= np.exp(0.1)))


def test_cold_mixtures_are_one_permutation_and_hot_ones_are_even(chains_of):
    cold, hot = (chains_of(Ginc(seed=3, temperature=t)).property_KPP for t in (1e-5, 1e5))
    assert np.all(np.isclose(cold.max(axis=2), 1.0, atol=1e-3))
    tenths = hot * 10
    np.testing.assert_allclose(tenths, np.round(tenths), atol=1e-2)


@pytest.mark.parametrize("seen", [1, 2])
def test_documents_have_the_law_that_is_enumerated(sampled, seen):
    task = TINY.replace(seen=seen)
    batch = sampled(task, 20_000)
    law = {name: batch.latents[name][0] for name in ("prior", "start", "entity", "property", "word")}
    np.testing.assert_allclose(law["prior"], [1.0, 0.0] if seen == 1 else [0.5, 0.5])
    expected = {words: chance_K.sum() for words, chance_K in chances(law, 4).items()}
    assert sum(expected.values()) == pytest.approx(1.0, rel=1e-5)
    assert compared(batch.inputs[:, :4], expected) > 1e-3
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    assert set(batch.latents["concept"]) == set(range(seen))


def path_chances(chains, concept, first, length):
    """p(words) of an example of a concept with this first property, entities even at first."""
    start = np.zeros((1, *chains.word_EP.shape))
    start[:, :, first] = 1 / len(chains.word_EP)
    law = {
        "prior": np.ones(1),
        "start": start,
        "entity": chains.entity_EE,
        "property": chains.property_KPP[concept][None],
        "word": chains.word_EP,
    }
    return {words: chance_K.sum() for words, chance_K in chances(law, length).items()}


@pytest.mark.parametrize("unseen", [False, True])
def test_examples_of_a_prompt_have_the_law_that_is_enumerated(sampled, chains_of, unseen):
    """The third example alone, over prompts: concepts and first properties are even."""
    batch = sampled(TINY.replace(prompts=True, unseen=unseen), 20_000)
    expected, chains = collections.Counter(), chains_of(TINY)
    for concept, first in itertools.product((2, 3) if unseen else (0, 1), (1, 2)):
        expected.update({words: chance / 4 for words, chance in path_chances(chains, concept, first, 3).items()})
    assert compared(batch.inputs[:, 8:11], expected) > 1e-3
    assert np.all(batch.inputs[:, 3::4] == 0)
    assert set(batch.latents["concept"]) == ({2, 3} if unseen else {0, 1})


def test_right_is_the_most_likely_word_given_those_of_the_example(sampled, chains_of):
    batch = jax.tree.map(lambda rows: rows[:300], sampled(TINY.replace(prompts=True, unseen=False), 20_000))
    likely, chains = {}, chains_of(TINY)
    for concept, first in itertools.product((0, 1), (1, 2)):
        for (*seen, word), chance in path_chances(chains, concept, first, 3).items():
            likely.setdefault((concept, first, *seen), np.zeros(4))[word] += chance
    asked = np.flatnonzero(batch.weights[0])
    np.testing.assert_array_equal(asked, [1, 9])  # after no example and after two
    chosen = 0
    for words_S, target_S, concept in zip(batch.inputs, batch.targets, batch.latents["concept"], strict=True):
        for slot in asked:
            answers = [likely.get((concept, first, *words_S[slot - 1 : slot + 1])) for first in (1, 2)]
            right = {int(np.argmax(law)) for law in answers if law is not None and law.max() > 0}
            assert target_S[slot] in right
            chosen += len(right) == 1
    assert chosen > 300  # mostly the words tell the first property


def test_the_first_property_is_the_same_in_all_examples(sampled):
    """One entity, so that a word tells its property."""
    task = Ginc(entities=1, properties=4, vocabulary=4000, length=60, prompts=True, lengths=(5,), shots=(0, 9))
    batch = sampled(task)
    assert len(set(np.asarray(batch.latents["word"]).ravel())) == 4
    assert np.all(batch.inputs[:, ::6] == batch.inputs[:, :1])
    assert len(np.unique(batch.inputs[:, 0])) == 3


def test_a_prompt_is_told_by_the_number_of_its_examples(sampled):
    task = Ginc()
    sets = task.evaluation_sets()
    assert list(sets) == [f"{name}k{k}" for name in ("", "unseen_") for k in (3, 5, 8, 10)]
    assert sets["k3"].positions() == {0: 1, 1: 5, 2: 9, 4: 17, 8: 33}
    assert sets["unseen_k10"].positions() == {0: 8, 1: 19, 2: 30, 4: 52, 8: 96}
    prompts = TINY.evaluation_sets()["unseen_k3"]
    weights_BS = sampled(prompts, 20_000).weights
    assert np.array_equal(np.flatnonzero(weights_BS[0]), list(prompts.positions().values()))
    slots = task.positions()
    assert all(k == slot for k, slot in slots.items()) and list(slots) == [0, 1, 3, 7, 15, 31, 63, 99]


def test_concepts_are_of_the_seed_alone(chains_of):
    same, other = (chains_of(Ginc(seed=seed)).property_KPP for seed in (7, 8))
    np.testing.assert_array_equal(same, chains_of(Ginc(seed=7, example_length=3)).property_KPP)
    assert not np.allclose(same, other)
    kept = chains_of(Ginc(seed=8).replace(**chains_of(Ginc(seed=7))._asdict())).property_KPP
    np.testing.assert_array_equal(kept, same)  # what `prepare` binds is what counts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seen": 6}, "task.seen is 6; it must be a whole number from 1 to task.concepts, 5, or None"),
        ({"length": 90}, "task.length is 90; 8 examples of 10 words before the one that is asked need 97 slots"),
        ({"lengths": (1, 5)}, "an example has at least 2 words"),
        ({"shots": (1, 1)}, "must hold different numbers"),
        ({"persistence": 1.5}, "task.persistence is 1.5; it must be from 0 to 1"),
        ({"shots": ()}, "must hold different numbers"),
        ({"lengths": (3, 3)}, r"task.lengths is \(3, 3\); it must hold different numbers"),
        ({"temperature": 0.0}, "task.temperature is 0.0; it must be at least 1e-30"),
        ({"start_temperature": 1e-42}, "task.start_temperature is 1e-42; it must be at least 1e-30"),
        ({"seed": 1.5}, "task.seed is 1.5; it must be a whole number"),
        ({"properties": 1}, "task.properties is 1; it must be at least 2"),
    ],
)
def test_what_cannot_be_is_a_sentence(changes, message):
    Ginc().check()
    with pytest.raises(ValueError, match=message):
        Ginc(**changes).check()
