from __future__ import annotations

import math

import numpy as np
import pytest

from icl_sim.lm import scores


def test_normalisations():
    log_probs = np.log([[[0.5, 0.1], [0.25, 0.5]]])  # the first candidate has one token, the second two
    lengths, logits = np.array([1, 2]), np.array([[7.0, 8.0]])
    of = {name: scores.candidate_scores(log_probs, lengths, logits, name)[0] for name in scores.NORMALISATIONS}
    np.testing.assert_allclose(of["sum"], np.log([0.5, 0.125]))
    np.testing.assert_allclose(of["mean"], [math.log(0.5), math.log(0.125) / 2])
    np.testing.assert_allclose(of["none"], [7, 8])
    with pytest.raises(ValueError, match="Did you mean 'mean'"):
        scores.candidate_scores(log_probs, lengths, logits, "means")


def test_calibration_takes_away_a_preference():
    labels = np.array([0, 0, 1, 1])
    fair = np.array([[1.0, 0], [2, 0], [0, 1], [0, 2]])
    biased = fair + [0, 5]
    assert scores.accuracy(biased, labels) == 0.5
    assert scores.accuracy(scores.calibrated(biased), labels) == 1
    assert scores.auc(biased, labels) == scores.auc(fair, labels) == 1


def test_what_is_not_finite_is_no_answer():
    lost, labels = np.full((4, 2), np.nan), np.array([0, 0, 0, 1])
    assert scores.accuracy(lost, labels) == 0 and math.isnan(scores.auc(lost, labels))
    one_lost = np.array([[1.0, 0], [np.nan, 0], [1, 0], [0, 1]])
    assert scores.accuracy(one_lost, labels) == 0.75
    np.testing.assert_array_equal(scores.right(one_lost, labels), [True, False, True, True])


def test_auc_counts_pairs_and_halves_ties():
    rng = np.random.default_rng(0)
    scored, labels = rng.integers(0, 4, (40, 2)).astype(float), rng.integers(0, 2, 40)
    odds = scored[:, 1] - scored[:, 0]
    pairs = odds[labels == 1][:, None] - odds[labels == 0]
    expected = np.mean((pairs > 0) + (pairs == 0) / 2)
    assert scores.auc(scored, labels) == pytest.approx(expected, abs=1e-12)
    assert scores.auc(np.zeros((40, 2)), labels) == 0.5


def test_auc_of_many_classes_is_the_mean_of_each_against_the_rest():
    labels = np.array([0, 1, 2, 0, 1, 2])
    right = np.eye(3)[labels] * 3
    assert scores.auc(right, labels) == 1
    shifted = np.eye(3)[(labels + 1) % 3] * 3
    assert scores.auc(shifted, labels) == pytest.approx(0.25)  # each ties with one class and loses to the other
    # A class that nobody asks about is left out; one class alone says nothing.
    assert scores.auc(np.hstack([right, np.full((6, 1), -9)]), labels) == 1
    assert math.isnan(scores.auc(right, np.zeros(6, int)))
    assert math.isnan(scores.auc(right[:, :2], np.zeros(6, int)))
