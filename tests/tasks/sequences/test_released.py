"""What released code does, option by option: laws by enumeration, and settings that cannot be."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from fractions import Fraction

import jax
import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks import BurstySequences, Clusters, Glyphs, Separated
from icl_sim.tasks.drawings import turned
from icl_sim.tasks.sequences.composition import COMMON, RARE, TRAIN
from icl_sim.tasks.sequences.exemplars import exemplars, needed
from icl_sim.tasks.sequences.presets import chan, chan_mixed, reddy
from icl_sim.types import SUPPORT

B, ALPHA = 20_000, 1e-3
SMALL = Clusters(dim=1)


def sampled(task, size=B):
    """A batch as numpy arrays."""
    return jax.tree.map(np.asarray, jax.jit(lambda key: task.sample(key, size))(jax.random.key(3)))


def fits(batch, outcomes) -> bool:
    """Whether contexts, in no order, and queries have a law, by chi-square, rare outcomes together.

    Args:
      outcomes: (probability, pairs (class, label) of the context, pair of the query), of which one can come again.
    """
    law: dict = defaultdict(Fraction)
    for probability, context, query in outcomes:
        law[tuple(sorted(context)), query] += probability
    assert sum(law.values()) == 1
    rows = zip(batch.latents["classes"].tolist(), batch.targets.tolist(), strict=True)
    pairs = [list(zip(*row, strict=True)) for row in rows]
    seen = Counter((tuple(sorted(row[:-1])), row[-1]) for row in pairs)
    assert set(seen) <= set(law)
    often = [outcome for outcome, p in law.items() if p * len(pairs) >= 5]
    found, expected = [seen[o] for o in often], [float(law[o]) * len(pairs) for o in often]
    if (left := len(pairs) - sum(expected)) > 1e-6:
        found, expected = [*found, len(pairs) - sum(found)], [*expected, left]
    return stats.chisquare(found, expected).pvalue > ALPHA


def zipf(classes, K) -> dict[int, Fraction]:
    """Chan's frequencies at alpha 1 among some of K classes."""
    total = sum(Fraction(1, K - c) for c in classes)
    return {c: Fraction(1, K - c) / total for c in classes}


def even(classes) -> dict[int, Fraction]:
    return {c: Fraction(1, len(classes)) for c in classes}


def choices(law, count, *, distinct=False):
    """All choices of classes, one after the other, with their probabilities."""
    for chosen in itertools.product(law, repeat=count):
        probability, left = Fraction(1), Fraction(1)
        for number, class_ in enumerate(chosen):
            probability *= 0 if distinct and class_ in chosen[:number] else law[class_] / left
            left -= law[class_] if distinct else 0
            if not probability:
                break
        if probability:
            yield probability, chosen


@pytest.mark.parametrize("frequencies", ["even", "zipf"])
def test_bursts_of_common_classes_stand_among_rare_ones_and_the_other_way_round(frequencies):
    """Chan's p_bursty_common, p_bursty_rare and the rest, with sequences of common classes where there are no bursts,
    and `use_zipf_for_common_rare` as it is meant."""
    K, rare, common = 5, range(3), range(3, 5)
    task = BurstySequences(
        num_classes=K,
        num_common=2,
        context_length=3,
        bursts=(1, 1),
        p_bursty=0.75,
        p_common=0.25,
        p_rare=0.5,
        otherwise_of="common",
        within_parts=frequencies,
        zipf_exponent=1.0,
        inputs=SMALL,
    )
    task.check()
    of = (lambda part: zipf(part, K)) if frequencies == "zipf" else even
    kinds = [
        (Fraction(1, 4), of(common), of(rare)),
        (Fraction(1, 2), of(rare), of(common)),
        (Fraction(1, 4), zipf(range(K), K), zipf(range(K), K)),
    ]

    def outcomes():
        for share, ways, besides in kinds:
            for p, chosen in choices(ways, 2, distinct=True):
                for filler, p_filler in besides.items():
                    for asked in chosen:
                        context = [(c, c) for c in (*chosen, filler)]
                        yield Fraction(3, 4) * share * p * p_filler / 2, context, (asked, asked)
        for p, chosen in choices(of(common), 4):
            yield Fraction(1, 4) * p, [(c, c) for c in chosen[:3]], (chosen[3], chosen[3])

    assert fits(sampled(task), outcomes())


def test_mixed_sequences_are_few_shot_of_rare_classes_or_any_of_common_ones():
    task = chan_mixed(
        num_rare=4, num_common=2, num_holdout=0, p_fewshot=0.75, shots=1, inputs=Clusters(dim=1, exemplars=2)
    )
    task.check()

    def outcomes():
        for p, chosen in choices(even(range(4)), 2, distinct=True):
            for names in itertools.permutations(range(2)):
                context = list(zip(chosen, names, strict=True))
                for asked in context:
                    yield Fraction(3, 4) * p / 4, context, asked
        for p, chosen in choices(even(range(4, 6)), 3):
            yield Fraction(1, 4) * p, [(c, c) for c in chosen[:2]], (chosen[2], chosen[2])

    assert fits(sampled(task), outcomes())
    sets = task.evaluation_sets()
    assert list(sets) == ["default", "icl", "iwl_common"]
    assert sets["icl"].pool == RARE and sets["iwl_common"].pool == COMMON and sets["iwl_common"].labels == "fixed"


def test_reddy_with_repeats_draws_classes_by_their_frequencies():
    """`no_repeats=False`: L / B classes independently, with their labels mod 2; the query's is that of a slot."""
    task = reddy(4, 2, burst=2, context_length=4, no_repeats=False).replace(zipf_exponent=1.0, inputs=SMALL)

    def outcomes():
        for p, chosen in choices(zipf(range(4), 4), 2):
            for asked in chosen:
                yield p / 2, [(c, c % 2) for c in chosen * 2], (asked, asked % 2)

    assert fits(sampled(task), outcomes())


def test_unsupported_contexts_can_repeat_their_classes():
    task = chan(3, 0, SMALL, as_released=True).replace(num_common=0, context_length=2, bursts=(1,))

    def outcomes():
        for query in range(3):
            for p, chosen in choices(even([c for c in range(3) if c != query]), 2):
                yield p / 3, [(c, c) for c in chosen], (query, query)

    assert fits(sampled(task.evaluation_sets()["iwl"]), outcomes())
    assert chan().evaluation_sets()["iwl"].otherwise == "unique"


def test_grouped_contexts_have_every_burst_once_in_a_block():
    task = BurstySequences(
        num_classes=20, num_common=4, bursts=(2, 2), context_length=4, order="grouped", p_bursty=1.0, inputs=SMALL
    ).replace(multiplicity=3, several="rare")
    task.check()
    batch = sampled(task)
    is_query = batch.kinds[:, :-1] == SUPPORT
    patterns, counts = np.unique(is_query, axis=0, return_counts=True)
    assert {tuple(row) for row in patterns.astype(int).tolist()} == {
        (*one, *other) for one in ((0, 1), (1, 0)) for other in ((0, 1), (1, 0))
    }
    assert stats.chisquare(counts).pvalue > ALPHA
    # And rare classes, three labels each, come before common ones, one each (Chan et al.: "ordered_polysemy3").
    classes, targets = batch.latents["classes"], batch.targets
    rare = classes < 16
    assert batch.num_classes == 16 * 3 + 4 and batch.latents["several_labels"] == 48
    np.testing.assert_array_equal(targets[rare] // 3, classes[rare])
    np.testing.assert_array_equal(targets[~rare], 48 + classes[~rare] - 16)
    assert stats.chisquare(np.bincount(targets[rare[:, -1], -1] % 3)).pvalue > ALPHA
    assert "swap" not in task.evaluation_sets()


def test_drawings_beside_bursts_may_repeat_those_of_bursts_and_of_nothing_else():
    classes_S = np.array([4, 4, 4, 4, 7])
    besides_S = np.array([True, True, False, False, False])
    u_BSE = jax.random.uniform(jax.random.key(0), (6_000, 5, needed(3, "distinct_by_part", 5)))
    drawn_BS = np.asarray(
        jax.jit(jax.vmap(lambda u_SE: exemplars(u_SE, classes_S, besides_S, 3, "distinct_by_part")))(u_BSE)
    )
    pairs, counts = np.unique(drawn_BS[:, :4], axis=0, return_counts=True)
    apart = [pair for pair in itertools.product(range(3), repeat=2) if pair[0] != pair[1]]
    assert {tuple(row) for row in pairs.tolist()} == {(*one, *other) for one in apart for other in apart}
    assert stats.chisquare(counts).pvalue > ALPHA


def test_new_classes_of_a_batch_are_shared_by_its_sequences():
    """Of 8 classes that are new in the batch, two of each of 4 labels; a sequence has two, of different labels."""
    task = reddy(64, 4, burst=4, p_novel=1.0, new_of_batch=8).replace(inputs=Clusters(dim=3, noise=0.0, new=8))
    task.check()
    draw = jax.jit(lambda key: task.sample(key, 2_000))
    one, other = (jax.tree.map(np.asarray, draw(jax.random.key(seed))) for seed in (0, 1))
    classes = one.latents["classes"] - 64
    np.testing.assert_array_equal(one.targets, classes % 4)
    chosen = np.sort(classes[:, :-1], axis=1)[:, [0, -1]]
    found, counts = np.unique(chosen, axis=0, return_counts=True)
    assert {tuple(row) for row in found.tolist()} == {
        pair for pair in itertools.combinations(range(8), 2) if pair[0] % 4 != pair[1] % 4
    }
    assert stats.chisquare(counts).pvalue > ALPHA
    means = np.stack([one.inputs[classes == number][0] for number in range(8)])
    np.testing.assert_allclose(one.inputs, means[classes], atol=1e-6)
    assert not np.isclose(other.inputs[:100, :, None], means, atol=1e-4).all(axis=-1).any()


def test_separated_every_drawing_is_a_class():
    whole = Glyphs(size=8, noise=0.0, drawings=(0, 1, 2), orientations=8)
    classes_BS, keys_B = np.arange(48)[None], jax.random.split(jax.random.key(0), 1)
    own, theirs = Separated(of=whole).prepare(None, 48), whole.prepare(None, 16)
    shown = own.render_exemplars(jax.random.clone(keys_B), classes_BS, np.zeros_like(classes_BS))[0]
    expected = theirs.render_exemplars(keys_B, classes_BS // 3, classes_BS % 3)[0]
    np.testing.assert_array_equal(shown, expected)
    assert len(np.unique(np.asarray(shown).reshape(48, -1), axis=0)) == 48
    task = BurstySequences(num_classes=48, num_holdout=24, inputs=Separated(of=whole))
    task.check()  # of two characters and another one
    with pytest.raises(ValueError, match="must be a multiple of 24, or training and held-out classes would share a"):
        task.replace(num_classes=36).check()


def test_a_class_is_one_character_in_one_orientation_in_all_of_its_drawings():
    """Released features of Omniglot take drawings i, i + 20, ... for classes, of a list in which every drawing is
    followed by its 7 other orientations: a class is then of 3 or 4 drawings in several orientations each, and the
    first 1,623 classes are of 203 characters."""
    drawers = 3
    released = [[divmod(20 * c + i, 8) for i in range(20)] for c in range(1623)]  # (drawing of all, orientation)
    assert {len({drawing for drawing, _ in of_class}) for of_class in released} <= {3, 4}
    assert len({drawing // 20 for of_class in released for drawing, _ in of_class}) == 203
    inputs = Glyphs(size=8, noise=0.0, drawings=tuple(range(drawers)), orientations=8)
    images = inputs.load(24).astype(np.float32) / 255
    classes, drawings = np.divmod(np.arange(24 * drawers)[None], drawers)
    keys = jax.random.split(jax.random.key(0), 1)
    shown = inputs.prepare(keys[0], 24).render_exemplars(jax.random.clone(keys), classes, drawings)[0, ..., 0]
    turn = jax.jit(turned)
    for image, class_, drawing in zip(shown, classes[0], drawings[0], strict=True):
        np.testing.assert_allclose(image, turn(images[class_ // 8, drawing], class_ % 8), atol=1e-6)


def test_all_sets_are_the_few_shot_and_unsupported_ones_of_every_part():
    task = chan(40, 10, SMALL).replace(all_sets=True, p_common=0.5, otherwise_of="common")
    usual, sets = task.replace(all_sets=False).evaluation_sets(), task.evaluation_sets()
    assert set(sets) - set(usual) == {"icl_zipf", "icl_common", "icl_rare", "iwl_zipf"}
    assert (sets["icl_common"].pool, sets["icl_rare"].pool) == (COMMON, RARE)
    for name in ("icl_zipf", "iwl_zipf"):  # which are of all classes, whatever training's sequences are of
        assert (sets[name].pool, sets[name].p_common, sets[name].otherwise_of) == (TRAIN, 0.0, "train")
    assert sets["iwl_zipf"].p_bursty == 0 and sets["iwl_zipf"].otherwise == "other"
    assert "icl_common" not in task.replace(num_common=1).evaluation_sets()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"p_common": 1.5, "num_common": 4}, "task.p_common is 1.5; a probability"),
        ({"p_common": 0.6, "p_rare": 0.6, "num_common": 4}, "must be at most 1 together"),
        ({"p_rare": 0.5}, "task.num_common is 0; it must be at least 1"),
        ({"otherwise_of": "common"}, "task.num_common is 0"),
        ({"otherwise_of": "comon"}, "common"),
        ({"p_common": 0.5, "num_common": 1}, "of bursts of 2 common classes; there are 1"),
        ({"p_rare": 0.5, "num_common": 1, "filler": "unique"}, "of 2 common classes; there are 1"),
        (
            {"p_rare": 0.5, "num_common": 3, "num_labels": 32, "ways": "distinct_labels"},
            "every label must have as many",
        ),
        ({"otherwise_of": "common", "num_common": 8, "otherwise": "unique"}, "which takes 9 classes; there are 8"),
        ({"order": "grouped"}, "must be of one size and fill the 8 slots"),
        ({"order": "grouped", "bursts": (5, 3)}, "must be of one size"),
        ({"several": "rare", "num_common": 3}, "task.multiplicity is 1, and must be at least 2"),
        ({"within_parts": "zip"}, "zipf"),
        ({"unsupported": "any"}, "other"),
        ({"inputs": Clusters(new=3), "num_labels": 2}, "must be a multiple of 2, the number of labels"),
        ({"inputs": Clusters(new=-1)}, "task.inputs.new is -1; it must be from 0"),
        ({"inputs": Separated(of=Clusters())}, "exemplars must be fixed"),
        ({"p_novel": 0.5, "bursts": (4, 4), "inputs": Separated()}, "new classes need inputs of kind clusters"),
    ],
)
def test_impossible_options_are_refused_in_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        BurstySequences(**changes).check()
