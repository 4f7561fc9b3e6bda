"""Bursty sequences: the laws of every preset, what evaluation sets ask, and settings that cannot be."""

from __future__ import annotations

import itertools
import math

import jax
import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks import BurstySequences, Clusters, Features, Glyphs
from icl_sim.tasks.sequences.labels import pairs
from icl_sim.tasks.sequences.presets import PRESETS, chan, reddy, singh_coopetition, singh_induction, singh_transience
from icl_sim.types import QUERY, SUPPORT

B, ALPHA = 2_000, 1e-3
SMALL = Clusters(dim=2)  # what inputs look like is not the point of most


@pytest.fixture(scope="session")
def sampled():
    """A batch as numpy arrays (task, number of sequences, key)."""
    draw = jax.jit(lambda task, key, size: task.sample(key, size), static_argnums=2)
    return lambda task, size=B, key=3: jax.tree.map(np.asarray, draw(task, jax.random.key(key), size))


def counts(batch) -> list[tuple[int, ...]]:
    """How often each class stands in a context, from the most frequent one on."""
    contexts = batch.latents["classes"][:, :-1]
    return [tuple(sorted(np.unique(row, return_counts=True)[1], reverse=True)) for row in contexts]


def support(batch) -> np.ndarray:
    """How many context slots hold the query's class, `[B]`."""
    return np.sum(batch.kinds[:, :-1] == SUPPORT, axis=1)


def share(hits: np.ndarray, expected: float) -> bool:
    return stats.binomtest(int(np.sum(hits)), len(hits), expected).pvalue > ALPHA


def test_chan_two_classes_three_times_each_in_nine_of_ten(sampled):
    batch = sampled(chan(inputs=SMALL))
    assert share(batch.latents["bursty"], 0.9)
    bursty = batch.latents["bursty"]
    assert np.all(support(batch)[bursty] >= 3) and np.mean(support(batch)[bursty] == 3) > 0.99
    assert all(count[:2] == (3, 3) or count[0] > 3 for count, b in zip(counts(batch), bursty, strict=True) if b)
    assert np.array_equal(batch.targets, batch.latents["classes"]) and batch.num_classes == 1623
    assert np.all(batch.kinds[:, -1] == QUERY)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 0.005), (1.0, 0.15), (3.0, 0.90)])
def test_support_by_luck_is_what_was_measured_for_the_released_sampler(sampled, alpha, expected):
    """P(query in context | no bursts) of 1,613 classes."""
    task = chan(inputs=SMALL).replace(zipf_exponent=alpha, p_bursty=0.0)
    found = [support(sampled(task, key=key)) > 0 for key in range(4)]
    assert np.mean(found) == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize(("released", "expected"), [(True, 0.70), (False, 0.0)])
def test_the_two_classes_coincide_as_often_as_in_the_released_code_or_never(sampled, released, expected):
    task = chan(12_800, 10, SMALL, as_released=released).replace(zipf_exponent=3.0, p_bursty=1.0, context_length=6)
    assert np.mean([count == (6,) for count in counts(sampled(task))]) == pytest.approx(expected, abs=0.03)


def test_few_shot_of_held_out_classes_has_labels_of_the_sequence(sampled):
    task = chan(inputs=SMALL)
    batch = sampled(task.evaluation_sets()["icl"])
    assert set(counts(batch)) == {(4, 4)}
    assert batch.latents["classes"].min() >= 1613 and set(np.unique(batch.targets)) == {0, 1}
    assert np.all((batch.targets[:, :-1] == batch.targets[:, -1:]) == (batch.kinds[:, :-1] == SUPPORT))
    pairs_, frequency = np.unique(np.sort(batch.latents["classes"][:, :-1], axis=1)[:, ::7], axis=0, return_counts=True)
    assert len(pairs_) == 45 and stats.chisquare(frequency).pvalue > ALPHA
    rows = zip(batch.latents["classes"], batch.targets, strict=True)
    assert share(np.array([row[t == 0].min() < row[t == 1].min() for row, t in rows]), 0.5)


def test_as_released_a_tenth_of_few_shot_sequences_has_one_class(sampled):
    batch = sampled(chan(inputs=SMALL, as_released=True).evaluation_sets()["icl"])
    one = np.array([len(count) == 1 for count in counts(batch)])
    assert share(one, 0.1)
    # Its two bursts keep their two labels, so that nobody can tell: the ceiling is .95.
    assert all(len(set(row)) == 2 for row in batch.targets[one, :-1])


@pytest.mark.parametrize("name", ["iwl", "iwl_common", "iwl_rare", "ciwl"])
def test_without_support_the_class_is_nowhere_and_its_label_only_where_it_is_shown(sampled, name):
    batch = sampled(chan(inputs=SMALL).replace(zipf_exponent=1.0).evaluation_sets()[name])
    classes, query = batch.latents["classes"], batch.latents["classes"][:, -1]
    assert not support(batch).any()
    low, high = {"iwl_common": (1603, 1613), "iwl_rare": (0, 1603)}.get(name, (0, 1613))
    assert classes.min() >= low and classes.max() < high
    tenths, width = np.histogram(query, bins=np.linspace(low, high, 11))  # even, whatever the exponent
    size_of = np.histogram(np.arange(low, high), bins=width)[0]
    assert stats.chisquare(tenths, B * size_of / (high - low)).pvalue > ALPHA
    assert np.array_equal(batch.targets[:, -1], query)
    shown = batch.targets[:, :-1] == query[:, None]
    assert np.all(shown.sum(axis=1) == (name == "ciwl"))
    if name == "ciwl":
        assert stats.chisquare(shown.sum(axis=0)).pvalue > ALPHA


def test_singh_has_three_each_and_others_alone(sampled):
    batch = sampled(singh_transience(200, SMALL))
    assert np.all(support(batch) == 3)
    assert set(counts(batch)) <= {(3, 3, 1, 1), (3, 3, 2)}
    unique = sampled(singh_transience(200, SMALL).replace(filler="unique"))
    assert set(counts(unique)) == {(3, 3, 1, 1)}


def test_every_order_of_a_context_is_equally_likely(sampled):
    batch = sampled(singh_transience(200, SMALL).replace(filler="unique"))
    places, frequency = np.unique(batch.kinds[:, :-1] == SUPPORT, axis=0, return_counts=True)
    assert len(places) == math.comb(8, 3) and stats.chisquare(frequency).pvalue > ALPHA


def test_singh_induction_uses_the_pairs_of_training_and_the_others_to_evaluate(sampled):
    task = singh_induction(inputs=SMALL)
    trained, held_out = pairs(5)[:-2], pairs(5)[-2:]
    for one, allowed in ((task, trained), (task.evaluation_sets()["icl"], held_out)):
        batch = sampled(one)
        ordered = [tuple(pair) for unordered in allowed for pair in itertools.permutations(unordered.tolist())]
        seen, frequency = np.unique(batch.targets[:, :2], axis=0, return_counts=True)
        assert sorted(map(tuple, seen.tolist())) == sorted(ordered)
        assert stats.chisquare(frequency).pvalue > ALPHA
        assert np.all(support(batch) == 1)
        assert np.all((batch.targets[:, :2] == batch.targets[:, 2:]) == (batch.kinds[:, :2] == SUPPORT))
    assert set(task.evaluation_sets()) == {"default", "icl"}
    assert batch.num_classes == 5  # as many labels as the sequences have, not as many as classes
    singh_induction(num_labels=15).check()  # which need not divide the number of classes


def test_flipped_each_class_goes_by_the_others_label(sampled):
    batch = sampled(singh_coopetition(60, SMALL).evaluation_sets()["flip"])
    classes = batch.latents["classes"]
    other = np.where(batch.kinds[:, 0] == SUPPORT, classes[:, 1], classes[:, 0])
    assert np.array_equal(batch.targets[:, -1], other)
    assert np.array_equal(batch.targets[:, :2], classes[:, 1::-1])


@pytest.mark.parametrize("burst", [1, 4])
def test_reddy_has_distinct_labels_each_so_often(sampled, burst):
    task = reddy(256, burst=burst).replace(inputs=SMALL)
    batch = sampled(task)
    assert set(counts(batch)) == {(burst,) * (8 // burst)} and np.all(support(batch) == burst)
    assert np.array_equal(batch.targets, batch.latents["classes"] % 32)
    assert all(len(set(row)) == 8 // burst for row in batch.targets[:, :-1])
    assert stats.chisquare(np.bincount(batch.latents["classes"][:, -1], minlength=256)).pvalue > ALPHA
    swapped = sampled(task.evaluation_sets()["swap"])
    assert np.array_equal(swapped.targets, (swapped.latents["classes"] + 1) % 32)
    iid = sampled(task.evaluation_sets()["iid"])
    assert share(support(iid) > 0, 1 - (1 - 1 / 256) ** 8)


def test_held_out_classes_of_distinct_labels_are_held_out(sampled):
    task = chan(64, 16, SMALL).replace(num_labels=8, ways="distinct_labels", exemplars="any")
    task.check()
    batch = sampled(task.evaluation_sets()["icl"])
    classes = batch.latents["classes"]
    assert classes.min() == 64 and stats.chisquare(np.bincount(classes[:, -1] - 64, minlength=16)).pvalue > ALPHA
    assert all(len(set(row % 8)) == 2 for row in classes) and np.all(support(batch) == 4)
    assert sampled(task.evaluation_sets()["swap"]).latents["classes"].max() == 63


def test_sequences_stand_anywhere_in_the_positions_and_are_otherwise_the_same(sampled):
    batch = sampled(reddy(64, max_offset=4).replace(inputs=SMALL))
    assert stats.chisquare(np.bincount(batch.first_position, minlength=5)).pvalue > ALPHA
    assert batch.first_position.dtype == np.int32 and batch.first_position.max() == batch.max_offset == 4
    assert stats.chisquare(np.bincount(batch.latents["classes"][batch.first_position == 2, -1] // 8)).pvalue > ALPHA
    at_the_start = jax.eval_shape(lambda: reddy(64).replace(inputs=SMALL).sample(jax.random.key(3), B))
    assert at_the_start.first_position is None


def test_new_classes_are_new_and_keep_labels_of_training(sampled):
    task = reddy(64, p_novel=0.5)
    batch = sampled(task, 400)
    novel = batch.latents["novel"]
    assert share(novel, 0.5)
    assert np.array_equal(batch.latents["classes"].min(axis=1) >= 64, novel)
    assert np.array_equal(batch.targets, batch.latents["classes"] % 32)
    assert sampled(task.evaluation_sets()["icl"], 400).latents["novel"].all()
    # A class is near itself in its sequence and far from the same number in another.
    query, copy = batch.inputs[:, -1], batch.inputs[:, :-1][batch.kinds[:, :-1] == SUPPORT]
    assert np.sum((query - copy) ** 2, axis=1).max() < 0.1
    same = [batch.inputs[novel & (batch.latents["classes"][:, -1] == c), -1] for c in range(64, 96)]
    apart = [np.sum((a - b) ** 2) for group in same for a, b in itertools.combinations(group[:4], 2)]
    assert np.mean(apart) == pytest.approx(2, abs=0.15)


def test_members_with_and_without_new_classes_are_as_they_are_alone():
    one = jax.jit(lambda p_novel: reddy(64).replace(p_novel=p_novel).sample(jax.random.key(0), 3).inputs)
    both = jax.jit(jax.vmap(lambda p_novel: reddy(64).replace(p_novel=p_novel).sample(jax.random.key(0), 3).inputs))
    np.testing.assert_allclose(both(np.array([0.0, 1.0])), [one(0.0), one(1.0)], atol=1e-6)


@pytest.mark.parametrize("exemplars", [0, 4])
def test_clusters_have_unit_norm_and_scatter_as_they_say(sampled, exemplars):
    inputs = Clusters(dim=63, noise=0.5, exemplars=exemplars)
    batch = sampled(reddy(64).replace(inputs=inputs), 400)
    assert np.mean(np.sum(batch.inputs**2, axis=-1)) == pytest.approx(1, abs=0.06)
    copy = batch.inputs[:, :-1][batch.kinds[:, :-1] == SUPPORT]
    apart = np.sum((batch.inputs[:, -1] - copy) ** 2, axis=1)
    repeats = (exemplars - 1) / exemplars if exemplars else 1
    assert np.mean(apart) == pytest.approx(repeats * 2 * 0.25 / 1.25, rel=0.15)
    if exemplars:
        classes, items = batch.latents["classes"].ravel(), batch.inputs.reshape(-1, 63)
        kinds = [len(np.unique(np.round(items[classes == c], 5), axis=0)) for c in range(64)]
        assert max(kinds) == 4


@pytest.mark.parametrize(
    ("policy", "fixed"), [("distinct", 20), ("matched", 20), ("matched", 0)], ids=lambda value: str(value)
)
def test_copies_of_a_class_are_never_or_always_one_item(sampled, policy, fixed):
    task = singh_transience(30, Clusters(dim=3, exemplars=fixed)).replace(exemplars=policy, num_holdout=0)
    batch = sampled(task, 300)
    copies = batch.inputs[:, :-1][batch.kinds[:, :-1] == SUPPORT].reshape(300, 3, 3)
    same = np.isclose(copies, batch.inputs[:, -1:], atol=1e-6).all(axis=-1)
    assert np.all(same == (policy == "matched"))
    others = batch.inputs[:, :-1][batch.kinds[:, :-1] != SUPPORT].reshape(300, 5, 3)
    assert not np.isclose(others, batch.inputs[:, -1:], atol=1e-6).all(axis=-1).any()


def test_of_several_labels_a_sequence_uses_one(sampled):
    batch = sampled(chan(40, 10, SMALL).replace(multiplicity=3, p_bursty=1.0))
    assert batch.num_classes == 150 and np.array_equal(batch.targets // 3, batch.latents["classes"])
    assert stats.chisquare(np.bincount(batch.targets[:, -1] % 3)).pvalue > ALPHA
    assert np.all(batch.targets[:, :-1][batch.kinds[:, :-1] == SUPPORT].reshape(-1) % 3 >= 0)
    agrees = (batch.targets[:, :-1] == batch.targets[:, -1:]) == (batch.kinds[:, :-1] == SUPPORT)
    assert agrees.all()


def test_drawings_are_those_of_the_class_and_exemplar(sampled):
    inputs = Glyphs(size=8, noise=0.0, drawings=(0, 1, 2), orientations=8)
    task = chan(32, 16, inputs).replace(exemplars="any")
    batch = sampled(task, 20)
    images = task.load().astype(np.float32) / 255
    for image, class_ in zip(batch.inputs.reshape(-1, 8, 8), batch.latents["classes"].ravel(), strict=True):
        turns, mirrored = class_ % 4, class_ % 8 >= 4
        own = [np.rot90(drawing, turns) for drawing in images[class_ // 8, :3]]
        assert any(np.allclose(image, drawing[:, ::-1] if mirrored else drawing) for drawing in own)


def test_features_are_the_rows_of_the_file(sampled, tmp_path):
    features = np.arange(60 * 3 * 2, dtype=np.float32).reshape(60, 3, 2)
    np.save(tmp_path / "features.npy", features)
    batch = sampled(chan(40, 10, Features(file=str(tmp_path / "features.npy"), exemplars=2)), 50)
    rows, exemplar = np.divmod(batch.inputs[..., 0] / 2, 3)
    assert np.array_equal(rows, batch.latents["classes"]) and set(exemplar.ravel()) == {0, 1}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_can_be(preset):
    preset().check() if preset is not PRESETS["chan"] else preset(12_800, 80).check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bursts": (5, 4)}, "9 slots in all; the context has 8"),
        ({"bursts": ()}, "at least one burst"),
        ({"bursts": (2.5,)}, "whole number of slots"),
        ({"bursts": (1, 1, 1), "num_classes": 2}, "of 3 classes; training has 2"),
        ({"num_holdout": 1}, "hold out none or at least 2"),
        ({"num_common": 1024}, "some must be left as rare"),
        ({"filler": "unique", "num_classes": 3}, "training has 3 classes"),
        ({"filler": "other", "num_classes": 2}, "training has no other"),
        ({"otherwise": "unique", "num_classes": 8}, "a sequence has 9 slots"),
        ({"p_novel": 0.5}, "they must fill it"),
        ({"p_novel": 0.5, "inputs": Glyphs()}, "new classes need inputs of kind clusters"),
        ({"num_labels": 5}, "must divide task.num_classes"),
        ({"num_labels": 32, "multiplicity": 2}, "not both"),
        ({"num_labels": 2, "bursts": (2,) * 4, "ways": "distinct_labels"}, "4 classes of different labels"),
        ({"relabels": 1}, "must be from 2"),
        ({"labels": "per_sequence"}, "without a label"),
        ({"held_out_pairs": 1}, "must leave training some"),
        ({"ways": "distict"}, "distinct"),
        ({"num_classes": 36, "num_holdout": 8, "inputs": Glyphs(orientations=8)}, "multiple of 8"),
        ({"max_offset": -1}, "at least 0"),
        ({"max_offset": 2**31}, r"task.max_offset is 2147483648; it must be at most 2\^23, 8,388,608"),
        ({"num_classes": 10**12}, r"task.num_classes is 1000000000000; it must be at most 2\^23"),
        ({"num_classes": 2**20, "multiplicity": 10}, "at most 2.23, 8,388,608, and these are 10,485,760"),
        (
            {"num_classes": 20_000, "bursts": (4, 4), "relabels": 20_000, "held_out_pairs": 2},
            "of 199,990,000 pairs of 20000 labels",
        ),
        ({"inputs": Clusters(exemplars=2**30)}, "all items must be at most"),
        ({"p_bursty": 1.5}, "between 0 and 1"),
        ({"zipf_exponent": -1.0}, "at least 0"),
        ({"relabel": 1}, "must leave it at 0"),
        ({"inputs": Clusters(dim=0)}, "at least 1"),
        ({"inputs": Features(file="")}, "is empty"),
        ({"inputs": Features(file="/nowhere.npy")}, "cannot be read"),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        BurstySequences(**changes).check()


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 2), (60, 1, 2), (60, 2, 0)])
def test_features_of_a_wrong_shape_are_named(tmp_path, shape):
    np.save(tmp_path / "f.npy", np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="floats|exemplars each"):
        BurstySequences(num_classes=10, inputs=Features(file=str(tmp_path / "f.npy"), exemplars=2)).check()


@pytest.mark.parametrize("number", [np.nan, 1e300])
def test_features_that_are_not_finite_are_named(tmp_path, number):
    features = np.zeros((20, 2, 3))
    features[[4, 15], 1, 2] = number
    np.save(tmp_path / "f.npy", features)
    task = BurstySequences(num_classes=10, inputs=Features(file=str(tmp_path / "f.npy"), exemplars=2))
    with pytest.raises(ValueError, match="the first that is not is of class 4, exemplar 1"):
        task.check()
    task.replace(num_classes=4).check()  # which are those before


@pytest.mark.parametrize("burst", [3, 0, 2.0, "2"])
def test_bursts_that_do_not_fill_the_context_of_reddy_are_refused(burst):
    with pytest.raises(ValueError, match="a whole number that divides context_length, 8"):
        reddy(burst=burst)
