import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks import ClassMixture, Glyphs, Prototypes
from icl_sim.types import CONTEXT, QUERY, SUPPORT

ALPHA = 1e-5


@functools.partial(jax.jit, static_argnums=2)
def _jitted_sample(task, key, batch_size):
    return task.sample(key, batch_size)


def _sample(task, key, batch_size):
    """A batch. Settings are traced, so tasks of equal structure share a program; the same key twice is meant here."""
    return _jitted_sample(task, jax.random.clone(key), batch_size)


def _distinct_rows(batch):
    rows = np.concatenate([np.asarray(batch.inputs).reshape(len(batch.targets), -1), batch.targets], axis=1)
    return np.unique(rows, axis=0, return_counts=True)


def test_shapes_and_kinds(key):
    batch = _sample(ClassMixture(context_length=3, num_low=7), key, 6)
    assert batch.inputs.shape == (6, 4, 64)
    assert batch.targets.shape == batch.kinds.shape == (6, 4)
    assert batch.num_classes == 12
    classes = np.asarray(batch.latents["classes"])
    expected = np.where(classes == classes[:, -1:], SUPPORT, CONTEXT)
    expected[:, -1] = QUERY
    np.testing.assert_array_equal(batch.kinds, expected)


@pytest.mark.parametrize("p_relevant", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("p_high", [0.5, 0.9, 0.99])
def test_query_prior_and_share_of_relevant_contexts(key, p_relevant, p_high):
    n = 2048
    batch = _sample(ClassMixture(p_high=p_high, p_relevant=p_relevant, context_length=2), key, n)
    law = np.repeat([p_high / 5, (1 - p_high) / 5], 5)
    assert stats.chisquare(np.bincount(batch.latents["classes"][:, -1], minlength=10), n * law).pvalue > ALPHA
    relevant = int(np.any(np.asarray(batch.kinds) == SUPPORT, axis=1).sum())
    assert stats.binomtest(relevant, n, p_relevant).pvalue > ALPHA


def test_online_rows_never_repeat_and_finite_ones_repeat_identically(key):
    # A row of an infinite data set is new with probability 1 - 2^-32 a pair.
    assert len(_distinct_rows(_sample(ClassMixture(num_sequences=math.inf), key, 2048))[0]) == 2048
    distinct, counts = _distinct_rows(_sample(ClassMixture(num_sequences=64.0, label_noise=0.3), key, 2048))
    assert len(distinct) == 64
    assert stats.chisquare(counts).pvalue > ALPHA


def test_rows_are_the_same_at_every_step_and_differ_between_data_seeds(key):
    def rows(seed, step):
        task = ClassMixture(num_sequences=16.0, seed=seed)
        return np.unique(np.asarray(_sample(task, jax.random.fold_in(key, step), 512).inputs[:, -1]), axis=0)

    np.testing.assert_array_equal(rows(3, 0), rows(3, 1))
    assert not np.any(np.isin(rows(3, 0)[:, 0], rows(4, 0)[:, 0]))


def test_first_rows_carry_every_class_as_query(key):
    batch = _sample(ClassMixture(num_sequences=10.0, p_high=0.99), key, 512)
    assert set(np.asarray(batch.latents["classes"][:, -1]).tolist()) == set(range(10))


def test_size_of_the_training_set_costs_no_memory(key):
    task = ClassMixture(context_length=16)

    def bytes_of(size):
        lowered = jax.jit(lambda n, key: task.replace(num_sequences=n).sample(key, 32)).lower(size, key)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(64.0) == bytes_of(float(2**20))


def test_size_is_a_leaf_that_changes_no_program(key):
    task = ClassMixture()
    sample = jax.jit(lambda n, key: task.replace(num_sequences=n).sample(key, 4))
    for size in (64.0, 2.0**20, math.inf):
        sample(jnp.asarray(size), jax.random.clone(key))
    assert sample._cache_size() == 1


def test_prototypes_are_unit_vectors_shared_by_all_sets(key):
    task = ClassMixture(inputs=Prototypes(noise=0.0), seed=5)
    batch = _sample(task, key, 512)
    inputs, classes = np.asarray(batch.inputs).reshape(-1, 64), np.asarray(batch.latents["classes"]).reshape(-1)
    np.testing.assert_allclose(np.linalg.norm(inputs, axis=1), 1, rtol=1e-6)
    seen = {c: inputs[classes == c] for c in range(10)}
    assert all(np.all(rows == rows[0]) for rows in seen.values())
    fresh = _sample(task.evaluation_sets()["eval-relevant-low_prob"], key, 512)
    np.testing.assert_array_equal(
        fresh.inputs[:, -1], np.stack([seen[int(c)][0] for c in fresh.latents["classes"][:, -1]])
    )


def test_input_noise_has_its_scale_and_is_independent_between_slots(key):
    noise = 0.4
    quiet, loud = (ClassMixture(inputs=Prototypes(noise=s), p_relevant=1.0, seed=2) for s in (0.0, noise))
    residual = np.asarray(_sample(loud, key, 2048).inputs - _sample(quiet, key, 2048).inputs)
    assert residual.std() == pytest.approx(noise, rel=0.01)
    correlation = np.mean(residual[:, 0] * residual[:, 1]) / noise**2
    assert abs(correlation) < 5 / math.sqrt(residual[:, 0].size)


@pytest.mark.parametrize("relabel", [-1, 1, 2])
def test_relabelling_is_a_derangement_inside_each_group_and_touches_nothing_else(key, relabel):
    plain = ClassMixture(num_high=4, num_low=7, context_length=8, p_relevant=0.5)
    before, after = (_sample(task, key, 512) for task in (plain, plain.replace(relabel=relabel)))
    np.testing.assert_array_equal(before.inputs, after.inputs)
    np.testing.assert_array_equal(before.targets, before.latents["classes"])
    old, new = np.asarray(before.targets), np.asarray(after.targets)
    assert np.all(old != new)
    np.testing.assert_array_equal(old < 4, new < 4)
    for group, size in ((old < 4, 4), (old >= 4, 7)):
        shift = (new - old) % size
        per_row = [np.unique(shift[row][group[row]]) for row in range(len(old))]
        assert all(len(values) <= 1 for values in per_row)  # one consistent map per sequence
        drawn = np.concatenate(per_row)
        if relabel > 0:
            assert set(drawn) == {relabel}
        else:
            assert stats.chisquare(np.bincount(drawn, minlength=size)[1:]).pvalue > ALPHA
    np.testing.assert_array_equal(np.argmax(after.latents["label_probs"], axis=1), new[:, -1])


def test_relabelling_twice_gives_the_same_labels(key):
    task = ClassMixture(num_sequences=64.0, relabel=1)
    first, second = _sample(task, key, 512), _sample(task, key, 512)
    np.testing.assert_array_equal(first.targets, second.targets)


def test_label_noise_moves_labels_to_the_next_class_independently(key):
    eps = 0.25
    batch = _sample(ClassMixture(label_noise=eps, context_length=2), key, 2048)
    moved = np.asarray((batch.targets - batch.latents["classes"]) % 10)
    assert set(np.unique(moved)) == {0, 1}
    assert stats.binomtest(int(moved.sum()), moved.size, eps).pvalue > ALPHA
    assert abs(np.corrcoef(moved[:, 0], moved[:, 2])[0, 1]) < 5 / math.sqrt(2048)
    probs = np.asarray(batch.latents["label_probs"])
    query = np.asarray(batch.latents["classes"][:, -1])
    np.testing.assert_allclose(probs[np.arange(2048), query], 1 - eps)
    np.testing.assert_allclose(probs[np.arange(2048), (query + 1) % 10], eps)


def test_evaluation_sets_are_the_papers_eighteen(key):
    task = ClassMixture(num_sequences=64.0, p_relevant=0.7, context_length=2)
    sets = task.evaluation_sets()
    assert len(sets) == 18
    for name, variant in sets.items():
        _, context, group, *rest = name.split("-")
        batch = _sample(variant, key, 512)
        classes = np.asarray(batch.latents["classes"])
        relevant = np.any(np.asarray(batch.kinds) == SUPPORT, axis=1)
        expected = {"relevant": 1.0, "irrelevant": 0.0, "default": 0.7}[context]
        assert stats.binomtest(int(relevant.sum()), 512, expected).pvalue > ALPHA
        assert {"high_prob": np.all(classes[:, -1] < 5), "low_prob": np.all(classes[:, -1] >= 5), "none": True}[group]
        assert np.all(np.asarray(batch.targets) != classes) == bool(rest)
        assert len(_distinct_rows(batch)[0]) == 512  # new sequences, not the 64 of training
    assert {name for name, _ in task.summaries().values()} <= set(sets)


def test_flipped_sets_relabel_as_flip_says(key):
    for flip, shifts in ((-1, {1, 2, 3, 4}), (2, {2})):
        sets = ClassMixture(flip=flip).evaluation_sets()
        batch = _sample(sets["eval-default-none-flip_label"], key, 512)
        assert set((np.asarray(batch.targets - batch.latents["classes"]) % 5).ravel()) == shifts
        plain = _sample(sets["eval-default-none"], key, 512)
        np.testing.assert_array_equal(plain.targets, plain.latents["classes"])


def test_summaries_mean_what_their_names_say(key):
    """A memory of the true classes has IWL and no ICL; a copier of the context's label the reverse; nobody the rest."""
    task = ClassMixture(inputs=Prototypes(noise=0.0), p_relevant=0.8)
    sets = task.evaluation_sets()
    errors: dict[str, dict[str, float]] = {"memory": {}, "copy": {}}
    for name, (eval_set, metric) in task.summaries().items():
        batch = _sample(sets[eval_set], key, 512)
        truth, classes = np.asarray(batch.targets), np.asarray(batch.latents["classes"])
        assert metric == ("preference" if name.startswith("preference") else "error")
        assert metric == "error" or eval_set in task.conflicts()
        errors["memory"][name] = float(np.mean(classes[:, -1] != truth[:, -1]))
        errors["copy"][name] = float(np.mean(truth[:, 0] != truth[:, -1]))
        group = classes[:, -1] >= 5
        assert {"high": not group.any(), "low": group.all()}.get(name.rpartition("_")[2], 0 < group.mean() < 1)
    for group in ("high", "low"):
        assert errors["memory"][f"icl_error_{group}"] == 1 and errors["copy"][f"icl_error_{group}"] == 0
        assert errors["memory"][f"iwl_error_{group}"] == 0 and errors["copy"][f"iwl_error_{group}"] == 1
        assert errors["memory"][f"control_{group}"] == 1 and errors["copy"][f"control_{group}"] == 1
        assert errors["memory"][f"ibd_relevant_{group}"] == 0 and errors["copy"][f"ibd_relevant_{group}"] == 0
    assert errors["memory"]["icl_error"] == 1
    assert stats.binomtest(round(512 * errors["copy"]["icl_error"]), 512, 0.2).pvalue > ALPHA  # 1 - p_relevant


def test_exactly_r_slots_match(key):
    batch = _sample(ClassMixture(context_length=4, num_relevant=2, p_relevant=1.0), key, 512)
    np.testing.assert_array_equal(np.sum(np.asarray(batch.kinds) == SUPPORT, axis=1), 2)
    classes = np.asarray(batch.latents["classes"])
    np.testing.assert_array_equal(np.sum(classes[:, :-1] == classes[:, -1:], axis=1), 2)


def test_insertion_keeps_what_was_drawn_beside_the_match(key):
    """With rare queries a match comes by insertion alone: the other slots have the law P, so repeats come too."""
    task = ClassMixture(context_length=4, p_relevant=1.0, relevant_law="insert", p_high=0.5)
    classes = np.asarray(_sample(task, key, 4096).latents["classes"])
    matches = np.sum(classes[:, :-1] == classes[:, -1:], axis=1)
    # One of four draws from ten equal classes matches with p = .1; a fifth of all rows needs no insertion.
    p = 0.1
    expected = [4 * p * (1 - p) ** 3 + (1 - p) ** 4, 6 * p**2 * (1 - p) ** 2, 4 * p**3 * (1 - p), p**4]
    assert stats.chisquare(np.bincount(matches, minlength=5)[1:], 4096 * np.asarray(expected)).pvalue > ALPHA


def test_label_noise_comes_after_relabelling(key):
    clean = _sample(ClassMixture(relabel=1), key, 2048)
    noisy = _sample(ClassMixture(relabel=1, label_noise=0.3), key, 2048)
    step = np.asarray(noisy.targets - clean.targets) % 10
    assert set(np.unique(step)) == {0, 1}
    assert stats.binomtest(int(step.sum()), step.size, 0.3).pvalue > ALPHA
    probs, shifted = np.asarray(noisy.latents["label_probs"]), np.asarray(clean.targets[:, -1])
    np.testing.assert_allclose(probs[np.arange(2048), shifted], 0.7, rtol=1e-6)


@pytest.mark.parametrize("held_out", [False, True])
def test_evaluation_shows_held_out_drawings_only_if_told(key, held_out):
    task = ClassMixture(inputs=Glyphs(noise=0.0, size=12), held_out=held_out)
    drawn = _sample(task.evaluation_sets()["eval-default-none"], key, 64)
    table = task.inputs.load(task.num_classes)  # drawing 0 for training, 1 held out
    expected = table[np.asarray(drawn.latents["classes"]), int(held_out)] / np.float32(255)
    np.testing.assert_allclose(drawn.inputs[..., 0], expected, atol=1e-6)
    trained = _sample(task, key, 64)
    expected = table[np.asarray(trained.latents["classes"]), 0] / np.float32(255)
    np.testing.assert_allclose(trained.inputs[..., 0], expected, atol=1e-6)


def test_counters_add_up_to_the_batches(key):
    task = ClassMixture(p_relevant=0.5)
    batch = _sample(task, key, 512)
    counts = task.count(batch)
    query = np.asarray(batch.latents["classes"][:, -1])
    relevant = np.any(np.asarray(batch.kinds) == SUPPORT, axis=1)
    np.testing.assert_array_equal(counts["exposures_relevant"], np.bincount(query[relevant], minlength=10))
    np.testing.assert_array_equal(counts["exposures_irrelevant"], np.bincount(query[~relevant], minlength=10))


def test_image_inputs_render_inside_the_program(key):
    task = ClassMixture(inputs=Glyphs(noise=0.0, size=16), context_length=2)
    batch = _sample(task, key, 3)
    assert batch.inputs.shape[:2] == (3, 3) and batch.inputs.dtype == jnp.float32
    assert 0 <= float(batch.inputs.min()) and float(batch.inputs.max()) <= 1


@pytest.mark.parametrize(
    "change, words",
    [
        ({"p_high": 1.2}, "p_high is 1.2"),
        ({"p_high": 0.0}, "p_high is 0.0"),
        ({"p_high": 0.3}, "at least 0.5"),
        ({"p_relevant": -0.1}, "between 0 and 1"),
        ({"label_noise": 2.0}, "between 0 and 1"),
        ({"num_sequences": 9}, "at least 10"),
        ({"num_sequences": 64.5}, "whole number"),
        ({"num_sequences": math.nan}, "whole number"),
        ({"num_sequences": 2.0**25}, "16777216"),
        ({"num_relevant": 2}, "task.context_length, 1"),
        ({"context_length": 0}, "at least 1"),
        ({"num_low": 1}, "at least 2 classes"),
        ({"flip": 5}, "leaves no label"),
        ({"flip": 0}, "task.flip is 0; it must be -1"),
        ({"flip": 1.5}, "whole shift"),
        ({"relabel": 1}, "task.relabel is 1; a study must leave it at 0"),
        ({"unseen": True}, "task.unseen is True; a study must leave it"),
        ({"relevant_law": "insrt"}, "Did you mean 'insert'"),
        ({"query_group": 1}, "task.query_group is 1; a study must leave it"),
        ({"inputs": Prototypes(noise=-1.0)}, "noise is -1.0"),
        ({"inputs": Prototypes(dim=0)}, "dim is 0"),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(ClassMixture(), **change).check()


def test_the_edges_of_what_is_allowed_pass():
    for change in (
        {"p_high": 1.0},
        {"p_high": 0.5},
        {"num_sequences": 10},
        {"p_relevant": 0},
        {"num_sequences": math.inf},
    ):
        dataclasses.replace(ClassMixture(), **change).check()
