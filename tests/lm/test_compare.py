from __future__ import annotations

import functools
import math

import jax
import numpy as np
import pytest

from icl_sim.lm import compare, decoder, similarity, tiny
from icl_sim.lm.asking import Answers, Record
from icl_sim.lm.finetuning import Finetuned

N, A, H, T, K, D = 6, 2, 3, 4, 7, 5
LABELS = np.array([0, 1, 0, 1, 0, 1])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def answers(rng, right, shown=0):
    scores = np.eye(2)[np.where(right, LABELS, 1 - LABELS)]
    mask = np.ones((N, T), bool)
    drawn = [rng.standard_normal(shape) for shape in ((N, A, D), (N, A, H, T), (N, A, shown), (N, A, D))]
    return Answers(scores, LABELS, Record(drawn[0], drawn[1], mask, drawn[2], drawn[3]))


@pytest.fixture
def three(rng):
    zsl, ft, icl = (
        np.array([0, 0, 0, 1, 1, 0], bool),
        np.array([1, 1, 0, 1, 0, 1], bool),
        np.array([1, 0, 1, 1, 1, 1], bool),
    )
    made = Finetuned({}, (2.0, 1.0), rng.standard_normal((A, K, D)), 0.5, 0.01)
    return answers(rng, zsl), answers(rng, icl, K), answers(rng, ft), made


def test_every_measure_is_that_of_similarity(three):
    zsl, icl, ft, made = three
    numbers, layers = compare.likeness(zsl, icl, ft, made)
    assert (numbers["rec2ftp"], numbers["ft_and_icl_correct"], numbers["ft_corrects"]) == (pytest.approx(200 / 3), 2, 3)
    outputs = [one.record.attention_NAD for one in (icl, ft, zsl)]
    np.testing.assert_array_equal(layers["sim_aou"], similarity.sim_aou(*outputs))
    np.testing.assert_array_equal(layers["sim_aou_norm"], similarity.sim_aou(*outputs, normalised=True))
    maps = [one.record.logits_NAHT for one in (icl, ft, zsl)]
    np.testing.assert_allclose(layers["sim_am_delta"], similarity.sim_am(*maps))
    np.testing.assert_allclose(layers["sim_am_before"], similarity.sim_am(maps[0], maps[2]))
    np.testing.assert_allclose(layers["sim_am_after"], similarity.sim_am(maps[0], maps[1]))
    weighed = similarity.training_attention(made.query_AKD, ft.record.query_NAD)
    np.testing.assert_allclose(layers["kendall"], similarity.kendall(icl.record.context_NAK, weighed).mean(0))
    assert numbers["sim_aou"] == pytest.approx(layers["sim_aou"].mean())
    assert (numbers["update_norm"], numbers["first_loss"], numbers["last_loss"]) == (0.5, 2.0, 1.0)
    few, _ = compare.likeness(zsl, icl, ft, made, kendall_queries=1)
    first = similarity.kendall(icl.record.context_NAK[:1], weighed[:1])
    assert few["kendall"] == pytest.approx(first.mean())


def test_only_what_all_but_zero_shot_have_right(three):
    zsl, icl, ft, made = three
    _, layers = compare.likeness(zsl, icl, ft, made, only_corrected=True)
    both = [0, 5]
    outputs = [one.record.attention_NAD[both] for one in (icl, ft, zsl)]
    np.testing.assert_allclose(layers["sim_aou"], similarity.sim_aou(*outputs))
    none, _ = compare.likeness(ft, icl, ft, made, only_corrected=True)
    assert math.isnan(none["rec2ftp"]) and math.isnan(none["sim_aou"]) and math.isnan(none["kendall"])


def test_finetuning_that_does_what_demonstrations_do_is_wholly_like_them(three):
    zsl, icl, _, made = three
    numbers, _ = compare.likeness(zsl, icl, icl, made)
    for name in ("sim_aou", "sim_aou_norm", "sim_am_after", "sim_am_delta", "sim_am_delta_centred"):
        assert numbers[name] == pytest.approx(1)


def test_answers_without_records_are_a_sentence(three):
    zsl, icl, ft, made = three
    with pytest.raises(ValueError, match="record=True"):
        compare.likeness(Answers(zsl.scores_NC, LABELS), icl, ft, made)


def filled(value, leaf):
    return np.full(leaf.shape, value)


def test_trained_embeddings_keep_all_but_attention_and_mlp():
    shapes = decoder.shapes(tiny.ARCHITECTURE)
    trained, random = (jax.tree.map(functools.partial(filled, value), shapes) for value in (1, 2))
    mixed = compare.trained_embeddings(trained, random)
    assert jax.tree.structure(mixed) == jax.tree.structure(trained)
    for path, leaf in jax.tree_util.tree_leaves_with_path(mixed):
        name = jax.tree_util.keystr(path)
        source = random if "layers" in name and "norm" not in name else trained
        wanted = dict((jax.tree_util.keystr(p), one) for p, one in jax.tree_util.tree_leaves_with_path(source))[name]
        np.testing.assert_array_equal(leaf, wanted)
