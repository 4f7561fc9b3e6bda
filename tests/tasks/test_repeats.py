"""Repeated random tokens: the law of whole sequences, which slots the context answers, settings that cannot be."""

from __future__ import annotations

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim import metrics
from icl_sim.tasks import Repeats
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Outputs

TINY = Repeats(vocabulary=3, length=2, blocks=2, min_length=1, prefix=1)


@pytest.fixture(scope="session")
def sampled():
    """A batch as numpy arrays (task, number of sequences)."""
    draw = jax.jit(lambda task, key, size: task.sample(key, size), static_argnums=2)
    return lambda task, size=500: jax.tree.map(np.asarray, draw(task, jax.random.key(1), size))


def law(task):
    """P(all tokens) by going through every prefix, length and block."""
    V, S, found = task.vocabulary, task.slots, collections.Counter()
    for prefix, length in itertools.product(range(task.prefix + 1), range(task.min_length, task.length + 1)):
        blocks = (
            itertools.permutations(range(V), length) if task.distinct else itertools.product(range(V), repeat=length)
        )
        blocks = list(blocks)
        for before, block in itertools.product(itertools.product(range(V), repeat=prefix), blocks):
            tokens = (before + block * (S + 1))[: S + 1]
            chance = 1 / (task.prefix + 1) / (task.length - task.min_length + 1) / len(blocks) / V**prefix
            found[tokens] += chance
    return found


@pytest.mark.parametrize("distinct", [True, False])
def test_sequences_have_the_law_that_is_enumerated(sampled, distinct):
    task, size = TINY.replace(distinct=distinct), 20_000
    batch, expected = sampled(task, size), law(TINY.replace(distinct=distinct))
    rows = map(tuple, np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1).tolist())
    counted = collections.Counter(rows)
    assert set(counted) == set(expected)
    pairs = np.array([(counted[tokens], chance * size) for tokens, chance in expected.items()])
    assert stats.chisquare(*pairs.T).pvalue > 1e-3


def test_a_slot_shows_a_token_and_asks_for_the_next(sampled):
    batch = sampled(Repeats())
    assert batch.inputs.shape == (500, 100) and batch.inputs.dtype == batch.targets.dtype == np.int32
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    np.testing.assert_array_equal(batch.inputs[:, 25:], batch.inputs[:, :75])
    assert all(len(set(row)) == 25 for row in batch.inputs[:, :25])
    assert batch.num_classes == 64 and np.all(batch.weights == 1)


def test_who_copies_what_followed_is_right_in_later_blocks_and_nobody_else_is(sampled):
    """The most likely successor is that of the last occurrence."""
    sets = Repeats(min_length=5, prefix=10).evaluation_sets()
    batch = sampled(sets["repeated"])
    after_BS = np.asarray(metrics.after_last_occurrence(jnp.asarray(batch.inputs)))
    copied_BS = np.take_along_axis(batch.inputs, np.maximum(after_BS, 0), axis=1)
    counts_BS = batch.weights > 0
    assert np.all((copied_BS == batch.targets)[counts_BS])
    starts_B = batch.latents["prefix"] + batch.latents["length"]
    assert np.array_equal(counts_BS.sum(axis=1), 100 - starts_B)
    assert set(np.unique(starts_B)) == set(range(5, 36))
    assert np.mean((copied_BS == batch.targets)[~counts_BS]) < 0.05
    np.testing.assert_array_equal(sampled(sets["default"]).inputs, batch.inputs)
    np.testing.assert_array_equal(np.unique(sampled(sets["fixed"]).latents["length"]), [25])


def test_kinds_tell_which_slots_hold_the_answer(sampled):
    batch = sampled(Repeats(vocabulary=30, min_length=20, length=20, blocks=3), 2)
    expected = np.full(60, CONTEXT)
    expected[[19, 39]], expected[59] = SUPPORT, QUERY
    np.testing.assert_array_equal(batch.kinds, np.stack([expected] * 2))


def test_the_summary_of_who_guesses_at_first_and_copies_then(sampled):
    batch = sampled(Repeats())
    copies = jax.nn.one_hot(np.roll(batch.targets, 25, axis=1), 64) * 30.0
    known = np.arange(100)[None, :, None] >= 25
    outputs = Outputs(values=jnp.where(known, copies, 0.0))
    loss_B = metrics.loss(outputs, jax.tree.map(jnp.asarray, batch))
    np.testing.assert_allclose(loss_B, np.log(64) / 4, rtol=1e-4)
    score_B = metrics.icl_score(outputs, batch, early=26, late=27)
    np.testing.assert_allclose(score_B, np.log(64), rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": 20}, "task.length is 25, and task.vocabulary 20: a block of distinct tokens"),
        ({"blocks": 1}, "task.blocks is 1; it must be at least 2"),
        ({"min_length": 26}, "task.min_length is 26; it must be a whole number from 1 to task.length, 25, or None"),
        ({"min_length": 0}, "task.min_length is 0"),
        ({"prefix": 75}, "task.prefix is 75; it must be a whole number from 0 to 74, so that something is repeated"),
    ],
)
def test_what_cannot_be_is_a_sentence(changes, message):
    Repeats().check()
    with pytest.raises(ValueError, match=message):
        Repeats(**changes).check()
