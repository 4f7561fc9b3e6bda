"""The predicted switch to memory: published exposures, the regret of counting, and that n* is the least such n."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from icl_sim.theory.bounds import label_noise_entropy
from icl_sim.theory.switch import counting_regret, mixed_loss, switch_exposures, switch_steps

SHARP = math.log1p(math.exp(-4))  # two of four labels right, the others weighed by e^-4


def regret(n, num_labels, add=0.5):
    n = np.asarray(n, float)
    lg = special.gammaln
    return (lg(n + num_labels * add) - lg(num_labels * add)) - (lg(n + add) - lg(add))


# ------------------------------------------------------------------------------- exposures


@pytest.mark.parametrize(("loss", "expected"), [(SHARP, 1702), (math.log(2), 15), (0.0, math.inf), (-1.0, math.inf)])
def test_known_exposures(loss, expected):
    assert switch_exposures(loss, 10) == expected


def test_two_labels_by_hand():
    """C = 2, beta = 1: after n equal labels g has lost log(n + 1), which is below n l_h at n = 1 if l_h > log 2, and at
    n = 2 if l_h > log(3) / 2."""
    assert switch_exposures(math.log(2) + 1e-9, 2, add=1.0) == 1
    assert switch_exposures(math.log(2) - 1e-9, 2, add=1.0) == 2
    assert switch_exposures(math.log(3) / 2 + 1e-9, 2, add=1.0) == 2
    assert switch_exposures(math.log(3) / 2 - 1e-9, 2, add=1.0) == 3


def test_label_noise_is_lost_by_both():
    noise = float(label_noise_entropy(0.1))
    assert switch_exposures(noise, 10, label_noise=0.1) == math.inf
    assert switch_exposures(0.1, 10, label_noise=0.1) == math.inf
    assert switch_exposures(SHARP + noise, 10, label_noise=0.1) == switch_exposures(SHARP, 10) == 1702


@given(gain=st.floats(1e-4, 5.0), num_labels=st.integers(2, 60), add=st.floats(0.5, 3.0))
@settings(deadline=None, max_examples=150)
def test_is_the_least_number_of_exposures_after_which_g_is_ahead(gain, num_labels, add):
    n = float(switch_exposures(gain, num_labels, add=add))
    assert n == round(n) >= 1
    slack = 1e-9 * n * (1 + gain)  # the two ways to calculate it differ by rounding
    assert regret(n, num_labels, add) < n * gain + slack
    earlier = np.unique(np.rint(np.geomspace(1, max(n - 1, 1), 400)))
    earlier = np.append(earlier, np.arange(max(1, n - 50), n))
    earlier = earlier[earlier < n]
    assert np.all(regret(earlier, num_labels, add) >= earlier * gain - slack)


def test_is_the_first_by_brute_force():
    n = np.arange(1, 20_000)
    for loss in (0.05, SHARP, 0.3, 1.0):
        for num_labels in (2, 10, 30):
            expected = n[np.argmax(regret(n, num_labels) < n * loss)]
            assert switch_exposures(loss, num_labels) == expected


def test_exposures_of_many_at_once():
    losses = np.array([[SHARP, math.log(2)], [0.0, 1.0]])
    found = switch_exposures(losses, 10)
    assert found.shape == (2, 2)
    for at, loss in np.ndenumerate(losses):
        assert found[at] == switch_exposures(loss, 10)
    noisy = switch_exposures(1.0, 10, label_noise=[0.0, 0.1, 0.5])
    assert noisy.shape == (3,) and noisy[0] < noisy[1] < noisy[2] < math.inf


@pytest.mark.parametrize("add", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("num_labels", [2, 10, 100])
def test_no_gain_is_never_a_switch(num_labels, add):
    assert switch_exposures(0.0, num_labels, add=add) == math.inf


@pytest.mark.parametrize("gain", [1e-6, 1e-9, 1e-12, 1e-14, 1e-16])
def test_small_gains_are_exact_still(gain):
    """r(n) = 4.5 log n + lgamma(1/2) - lgamma(5) up to 1/n, C = 10."""
    n = 1e12
    for _ in range(100):
        n = (4.5 * math.log(n) + math.lgamma(0.5) - math.lgamma(5)) / gain
    assert switch_exposures(gain, 10) == pytest.approx(n, rel=1e-4)


# ------------------------------------------------------------------------------- its parts


@pytest.mark.parametrize("add", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("num_labels", [2, 10, 200])
def test_regret_of_counting(num_labels, add):
    n = np.array([0, 1, 2, 15, 1702, 1e6])
    np.testing.assert_allclose(counting_regret(n, num_labels, add), regret(n, num_labels, add), rtol=1e-8, atol=1e-9)
    # One label after the other: -log of (i + beta) / (i + C beta).
    by_hand = sum(-math.log((i + add) / (i + num_labels * add)) for i in range(15))
    assert counting_regret(15, num_labels, add) == pytest.approx(by_hand)
    assert counting_regret(0, num_labels, add) == pytest.approx(0, abs=1e-12)


def test_mixed_loss():
    assert mixed_loss(0.9, 0.5, 10.0) == pytest.approx(1.45)
    np.testing.assert_allclose(mixed_loss([0, 1, 0.5], 2.0, [4.0, 4.0, 6.0]), [4, 2, 4])
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"p_relevant is .*; a probability must be between 0 and 1\."):
            mixed_loss(wrong, 0.0, 1.0)


def test_steps_are_exposures_over_their_rate():
    assert switch_steps(1702, 0.18, 32) == pytest.approx(1702 / 5.76)
    np.testing.assert_allclose(switch_steps([18.0, 18.0], [0.18, 0.02], 10), [10, 90])  # the ratio of priors
    assert switch_steps(5.0, 0.0, 1) == math.inf and switch_steps(math.inf, 0.5, 1) == math.inf


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: counting_regret(1, 1), "num_labels is 1 .*at least 2 labels"),
        (lambda: counting_regret(1, 2, 0.4), "add is 0.4; .*counts from 1/2 on"),
        (lambda: counting_regret(1, 2, math.inf), "add is inf"),
        (lambda: counting_regret(-1, 2), "exposures are -1; they must be at least 0"),
        (lambda: counting_regret(math.nan, 2), "exposures are nan"),
        (lambda: switch_exposures(math.nan, 2), "in_context_loss is nan; it must be a number of nats"),
        (lambda: switch_exposures(1.0, 1), "at least 2 labels"),
        (lambda: switch_exposures(1.0, 2, label_noise=1.5), "label_noise is 1.5"),
        (lambda: switch_steps(1, 1.5, 2), "mass is 1.5 .*must be a probability"),
        (lambda: switch_steps(1, 0.5, 0), "batch_size is 0; .*at least 1"),
    ],
)
def test_wrong_numbers_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
