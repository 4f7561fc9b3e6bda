"""Learners against their definitions in double precision, and their regret against the bounds they claim."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from icl_sim.theory.learners import (
    LEARNERS,
    Counts,
    FollowTheRegularizedLeader,
    GradientDescent,
    Hedge,
    Learner,
    nearest_on_simplex,
)

ROUNDS = 60
SIZES = st.sampled_from([2, 3, 6])  # each is a program
SEEDS = st.integers(0, 2**32 - 1)
# Learners of linear losses, whose rates are leaves.
LINEAR = {
    "hedge": Hedge(),
    "hedge anytime": Hedge(anytime=True),
    "gradient descent": GradientDescent(),
    "gradient descent anytime": GradientDescent(anytime=True),
    "leader": FollowTheRegularizedLeader(),
    "leader anytime": FollowTheRegularizedLeader(anytime=True),
    "leader entropy": FollowTheRegularizedLeader(regularizer="entropy"),
    "leader entropy anytime": FollowTheRegularizedLeader(regularizer="entropy", anytime=True),
}


@jax.jit
def _jitted_play(learner, losses_TK, hostile):
    rounds, size = losses_TK.shape

    def step(memory_K, round_):
        loss_K, seen = round_
        weights_K = learner.play(memory_K, seen)
        worst_K = jnp.max(jnp.abs(loss_K)) * (jnp.arange(size) == jnp.argmax(weights_K))
        loss_K = jnp.where(hostile, worst_K, loss_K)
        return learner.learn(memory_K, weights_K, loss_K, seen), (weights_K, loss_K, learner.cost(loss_K, seen))

    memory_K, told = jax.lax.scan(step, learner.start(size), (losses_TK, jnp.arange(rounds)))
    slack_T, mixture_T = (slack(1 + jnp.arange(rounds), size) for slack in (learner.slack, learner.mixture_slack))
    return memory_K, *told, slack_T, mixture_T


def _play(learner, losses_TK, hostile=False):
    """Memory, then of every round weights, losses and costs, then slacks; in double precision from here on."""
    told = _jitted_play(learner, jnp.asarray(losses_TK, jnp.float32), hostile)
    return [np.asarray(value, np.float64) for value in told]


@jax.jit
def _jitted_count(learner, label_T, zeros_K):
    size = zeros_K.shape[0]

    def step(memory_K, round_):
        label, seen = round_
        weights_K = learner.play(memory_K, seen)
        gradient_K = jnp.where(jnp.arange(size) == label, -1 / weights_K[label], 0.0)
        return learner.learn(memory_K, weights_K, gradient_K, seen), weights_K

    _, weights_TK = jax.lax.scan(step, learner.start(size), (label_T, jnp.arange(len(label_T))))
    return weights_TK, learner.slack(1 + jnp.arange(len(label_T)), size)


def _count(learner, label_T, size):
    told = _jitted_count(learner, jnp.asarray(label_T), jnp.zeros(size))
    return [np.asarray(value, np.float64) for value in told]


def _projected(v_K):
    """The nearest point of the simplex, by the root of a falling function."""
    v_K = np.asarray(v_K, np.float64)
    threshold = optimize.brentq(lambda t: np.maximum(v_K - t, 0).sum() - 1, v_K.max() - 1.001, v_K.max(), xtol=1e-14)
    return np.maximum(v_K - threshold, 0)


def _by_definition(learner, losses_TK):
    """The weights of every round, in double precision."""
    losses_TK = np.asarray(np.float32(losses_TK), np.float64)
    size = losses_TK.shape[1]
    total_K, w_K, played = np.zeros(size), np.full(size, 1 / size), []
    for t, loss_K in enumerate(losses_TK, start=1):
        rate = learner.rate / math.sqrt(t) if learner.anytime else learner.rate
        if isinstance(learner, GradientDescent):
            played.append(w_K)
            w_K = _projected(w_K - rate * loss_K)
        elif isinstance(learner, Hedge) or learner.regularizer == "entropy":
            played.append(special.softmax(-rate * total_K))
        else:
            played.append(_projected(1 / size - rate * total_K))
        total_K = total_K + loss_K
    return np.asarray(played)


def _assert_on_simplex(weights_TK):
    assert weights_TK.min() >= 0
    np.testing.assert_allclose(weights_TK.sum(axis=-1), 1, rtol=1e-4)


def _assert_at_most(value, bound, scale):
    """Within what single precision of numbers of this scale allows."""
    excess = value - bound - 1e-4 * scale - 1e-3
    assert np.all(excess <= 0), f"exceeded by {excess.max()} in round {1 + int(np.argmax(excess))}"


def _losses(seed, size, pattern, scale):
    rng = np.random.default_rng(seed)
    normal_TK, option_T = rng.normal(size=(ROUNDS, size)), rng.integers(size, size=ROUNDS)
    turn_T, t_T = np.arange(ROUNDS) // rng.integers(1, 20), np.arange(ROUNDS)
    return scale * {
        "uniform": rng.uniform(size=(ROUNDS, size)),
        "normal with trends": normal_TK + rng.normal(size=size),
        "one loses": np.eye(size)[option_T],
        "one gains": -np.eye(size)[option_T] * rng.exponential(size=ROUNDS)[:, None],
        "in turn": np.eye(size)[turn_T % size],
        "alternating": np.where(t_T % 2, 1.0, -1.0)[:, None] * np.eye(size)[0] * np.where(t_T == 0, 0.5, 1.0)[:, None],
        "common offset": 5 + normal_TK,
    }[pattern]


PATTERNS = ("uniform", "normal with trends", "one loses", "one gains", "in turn", "alternating", "common offset")


# By definition.


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("rate", [0.1, 1.5])
def test_weights_are_those_of_the_definition(name, rate):
    learner = dataclasses.replace(LINEAR[name], rate=rate)
    for size in (2, 6):
        losses_TK = np.random.default_rng(size).normal(size=(ROUNDS, size)) + np.linspace(0, 1, size)
        _, weights_TK, *_ = _play(learner, losses_TK)
        _assert_on_simplex(weights_TK)
        np.testing.assert_allclose(weights_TK[0], 1 / size, rtol=1e-6)
        np.testing.assert_allclose(weights_TK, _by_definition(learner, losses_TK), rtol=1e-4, atol=1e-5)
        assert np.ptp(weights_TK[:, 0]) > 0.05  # it has moved, so that the comparison says something


@pytest.mark.parametrize("add", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("size", [1, 2, 6])
def test_counts_are_frequencies_with_something_added(add, size):
    label_T = np.random.default_rng(size).integers(size, size=50)
    weights_TK, _ = _count(Counts(add=add), label_T, size)
    _assert_on_simplex(weights_TK)
    before_TK = np.cumsum(np.eye(size)[label_T], axis=0) - np.eye(size)[label_T]
    expected_TK = (before_TK + add) / (np.arange(50)[:, None] + size * add)
    np.testing.assert_allclose(weights_TK, expected_TK, rtol=1e-5)


def test_counts_add_the_posterior_of_the_options():
    memory_K, q_K = jnp.asarray([3.0, 0.0, 1.5]), jnp.asarray([0.2, 0.9, 0.4])
    w_K = Counts().play(memory_K, 4.5)
    added_K = Counts().learn(memory_K, w_K, -q_K / jnp.dot(w_K, q_K), 4.5) - memory_K
    np.testing.assert_allclose(added_K, w_K * q_K / np.dot(w_K, q_K), rtol=1e-5)


@pytest.mark.parametrize("anytime", [False, True])
@pytest.mark.parametrize("rate", [0.3, 2.0])
def test_the_leader_with_the_entropy_is_hedge(anytime, rate):
    losses_TK = _losses(3, 3, "normal with trends", 1.0)
    leader = FollowTheRegularizedLeader(rate=rate, anytime=anytime, regularizer="entropy")
    for a, b in zip(_play(leader, losses_TK), _play(Hedge(rate=rate, anytime=anytime), losses_TK), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_rates_fall_with_the_root_of_the_round_or_stay():
    seen_T = jnp.arange(4)
    np.testing.assert_allclose(Hedge(rate=0.5).rate_of(seen_T), 0.5)
    np.testing.assert_allclose(Hedge(rate=0.5, anytime=True).rate_of(seen_T), 0.5 / np.sqrt([1, 2, 3, 4]), rtol=1e-6)


def test_a_common_loss_moves_nothing():
    losses_TK = _losses(4, 3, "normal with trends", 1.0)
    for learner in LINEAR.values():
        _, weights_TK, _, cost_T, *_ = _play(learner, losses_TK)
        _, shifted_TK, _, shifted_cost_T, *_ = _play(learner, losses_TK + np.linspace(-3, 9, ROUNDS)[:, None])
        np.testing.assert_allclose(shifted_TK, weights_TK, atol=1e-4)
        np.testing.assert_allclose(shifted_cost_T, cost_T, rtol=1e-4, atol=1e-5)


# The nearest point of the simplex.

_jitted_nearest = jax.jit(nearest_on_simplex)


@given(st.integers(2, 6).flatmap(lambda k: st.lists(st.floats(-20, 20, width=32), min_size=k, max_size=k)))
@settings(deadline=None, max_examples=150)
def test_nearest_point_of_the_simplex(v_K):
    w_K = np.asarray(_jitted_nearest(jnp.asarray(v_K, jnp.float32)), np.float64)
    _assert_on_simplex(w_K)
    np.testing.assert_allclose(w_K, _projected(v_K), atol=2e-5)
    # No vertex lies on the side of w that v lies on: what makes w the nearest.
    toward_K = np.asarray(v_K) - w_K
    assert (toward_K - toward_K @ w_K).max() <= 1e-3


@pytest.mark.parametrize(
    ("v_K", "w_K"),
    [
        ([0.3, 0.7], [0.3, 0.7]),
        ([1.0, 0.0], [1.0, 0.0]),
        ([0.0, 0.0], [0.5, 0.5]),
        ([2.0, -1.0], [1.0, 0.0]),
        ([0.9, 0.5], [0.7, 0.3]),
        ([5.0, 5.0, -5.0], [0.5, 0.5, 0.0]),
        ([0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]),
        ([0.2, 0.0, 0.5, 0.3], [0.2, 0.0, 0.5, 0.3]),
        ([-7.0, -7.0, -7.0], [1 / 3, 1 / 3, 1 / 3]),
        ([4.0], [1.0]),
    ],
)
def test_nearest_points_by_hand(v_K, w_K):
    np.testing.assert_allclose(nearest_on_simplex(jnp.asarray(v_K)), w_K, atol=1e-6)


def test_nearest_points_to_large_ones():
    """Gradients of a log loss reach C / smoothing, which `OnlineGated` allows to be 10^12 C."""
    np.testing.assert_allclose(nearest_on_simplex(jnp.asarray([1e8, 1e8, 0.0])), [0.5, 0.5, 0.0], atol=1e-3)


# Regret and its bound.


@given(
    name=st.sampled_from(sorted(LINEAR)),
    size=SIZES,
    pattern=st.sampled_from(PATTERNS),
    hostile=st.booleans(),
    rate=st.floats(0.02, 5),
    scale=st.floats(0.02, 5),
    seed=SEEDS,
)
@settings(deadline=None, max_examples=250)
def test_regret_is_at_most_its_bound(name, size, pattern, hostile, rate, scale, seed):
    """Against the best option, after every number of rounds. Hostile: what the learner trusts most loses."""
    learner = dataclasses.replace(LINEAR[name], rate=rate)
    _, weights_TK, losses_TK, cost_T, slack_T, _ = _play(learner, _losses(seed, size, pattern, scale), hostile)
    _assert_on_simplex(weights_TK)
    paid_T = np.sum(weights_TK * losses_TK, axis=1)
    regret_T = np.cumsum(paid_T) - np.cumsum(losses_TK, axis=0).min(axis=1)
    _assert_at_most(regret_T, slack_T + np.cumsum(cost_T), np.cumsum(np.abs(losses_TK).max(axis=1)))


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_bounds_are_not_idle(name, rate):
    """Two options, of which one always loses 1, cost a learner much of its bound."""
    learner = dataclasses.replace(LINEAR[name], rate=rate)
    _, weights_TK, losses_TK, cost_T, slack_T, _ = _play(learner, np.tile([0.0, 1.0], (ROUNDS, 1)))
    regret_T, bound_T = np.cumsum(weights_TK[:, 1]), slack_T + np.cumsum(cost_T)
    _assert_at_most(regret_T, bound_T, np.arange(1, ROUNDS + 1))
    if rate == 1:
        assert (regret_T / bound_T).max() > (0.15 if learner.anytime else 0.4)


def test_slacks_and_costs_in_closed_form():
    loss_K, n = jnp.asarray([0.0, 1.0, 5.0]), jnp.asarray([0, 1, 16])
    square = 4 + 1 + 9  # of the loss less its mean
    for anytime, eta, eta_n in ((False, 0.5, np.array([0.5] * 3)), (True, 0.25, np.array([0.5, 0.5, 0.125]))):
        rated = {"rate": 0.5, "anytime": anytime}
        for learner, cost, most in (
            (Hedge(**rated), 25 / 8, math.log(3)),
            (FollowTheRegularizedLeader(**rated), square / 2, 1 / 3),
            (GradientDescent(**rated), square / 2, 1.0 if anytime else 1 / 3),
        ):
            assert learner.cost(loss_K, 3) == pytest.approx(eta * cost, rel=1e-5)  # the fourth round
            np.testing.assert_allclose(learner.slack(n, 3), most / eta_n, rtol=1e-5)


# Log loss: counts.


@given(size=SIZES, add=st.floats(0.5, 3), skew=st.floats(0.01, 5), sort=st.booleans(), seed=SEEDS)
@settings(deadline=None, max_examples=100)
def test_regret_of_counts_is_at_most_its_bound(size, add, skew, sort, seed):
    """Against the best law, whose log loss is n times the entropy of the frequencies."""
    rng = np.random.default_rng(seed)
    label_T = rng.choice(size, p=rng.dirichlet(np.full(size, skew)), size=ROUNDS)
    label_T = np.sort(label_T) if sort else label_T
    weights_TK, slack_T = _count(Counts(add=add), label_T, size)
    loss_T = -np.log(weights_TK[np.arange(ROUNDS), label_T])
    n_TK = np.cumsum(np.eye(size)[label_T], axis=0)
    best_T = special.entr(n_TK / n_TK.sum(axis=1, keepdims=True)).sum(axis=1) * np.arange(1, ROUNDS + 1)
    _assert_at_most(np.cumsum(loss_T) - best_T, slack_T, np.cumsum(loss_T))


@pytest.mark.parametrize("add", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("size", [2, 3, 10])
def test_the_bound_of_counts_is_met_where_all_labels_are_equal(add, size):
    weights_TK, slack_T = _count(Counts(add=add), np.full(500, size - 1), size)
    np.testing.assert_allclose(-np.cumsum(np.log(weights_TK[:, -1])), slack_T, rtol=1e-4)


@pytest.mark.parametrize("size", [2, 10, 1000])
def test_the_slack_of_counts_grows_by_half_a_log_for_every_option_but_one(size):
    n = 10.0 ** np.arange(0, 8)
    slack = np.asarray(Counts().slack(jnp.asarray(n), size), np.float64)
    others = (size - 1) / 2
    np.testing.assert_allclose(slack, special.betaln(others, 0.5) - special.betaln(others, n + 0.5), rtol=1e-4)
    if size < 1000:
        np.testing.assert_allclose(np.diff(slack)[-3:], others * math.log(10), rtol=1e-2)
    assert Counts().slack(0, size) == pytest.approx(0, abs=1e-4)


def test_counts_that_start_from_less_have_no_bound():
    assert np.all(np.isinf(Counts(add=0.49).slack(jnp.arange(1, 4), 3)))
    np.testing.assert_array_equal(Counts(add=0.49).slack(jnp.arange(1, 4), 1), 0)  # nothing to learn
    assert Counts().cost(jnp.ones(3), 2) == 0


# Log loss: mixtures.


@given(size=SIZES, rate=st.floats(0.05, 1), skew=st.floats(0.1, 8), trend=st.floats(0, 3), seed=SEEDS)
@settings(deadline=None, max_examples=100)
def test_the_log_loss_of_a_mixture_is_at_most_the_slack_above_the_best(size, rate, skew, trend, seed):
    rng = np.random.default_rng(seed)
    nats_TK = rng.exponential(skew, size=(ROUNDS, size)) + trend * rng.uniform(size=size)  # -log p
    _, weights_TK, losses_TK, _, _, slack_T = _play(Hedge(rate=rate), nats_TK)
    loss_T = -special.logsumexp(-losses_TK, b=weights_TK, axis=1)
    regret_T = np.cumsum(loss_T) - np.cumsum(losses_TK, axis=0).min(axis=1)
    np.testing.assert_allclose(slack_T, math.log(size) / rate, rtol=1e-5)
    _assert_at_most(regret_T, slack_T, np.cumsum(losses_TK.max(axis=1)))


def test_hedge_of_rate_one_is_the_mixture_of_bayes():
    nats_TK = np.random.default_rng(5).exponential(size=(ROUNDS, 3))
    _, weights_TK, losses_TK, *_ = _play(Hedge(), nats_TK)
    loss = -special.logsumexp(-losses_TK, b=weights_TK, axis=1).sum()
    assert loss == pytest.approx(math.log(3) - special.logsumexp(-losses_TK.sum(axis=0)), rel=1e-5)


@pytest.mark.parametrize(
    "learner",
    [
        Hedge(rate=1.01),
        Hedge(anytime=True),
        FollowTheRegularizedLeader(rate=1.01, regularizer="entropy"),
        FollowTheRegularizedLeader(),
        GradientDescent(),
        Counts(),
    ],
)
def test_no_bound_of_the_mixture_is_known(learner):
    assert np.all(np.isinf(learner.mixture_slack(jnp.asarray([0.0, 1.0, 9.0]), 2)))


def test_the_leader_with_the_entropy_has_the_bound_of_hedge():
    leader = FollowTheRegularizedLeader(rate=0.5, regularizer="entropy")
    assert leader.mixture_slack(3, 2) == pytest.approx(2 * math.log(2))


# Settings.


@pytest.mark.parametrize("kind", [Hedge, GradientDescent, FollowTheRegularizedLeader])
@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_that_is_not_positive_is_named(kind, rate):
    with pytest.raises(ValueError, match=rf"rate is {rate}; a learner's rate must be positive and finite\."):
        kind(rate=rate).check()


@pytest.mark.parametrize("add", [0.0, -0.5, math.inf, math.nan])
def test_counts_that_start_from_nothing_are_named(add):
    with pytest.raises(ValueError, match=rf"add is {add}; what counts start from must be positive and finite\."):
        Counts(add=add).check()


def test_an_unknown_regularizer_is_named():
    with pytest.raises(ValueError, match="regularizer.*euclidian.*euclidean"):
        FollowTheRegularizedLeader(regularizer="euclidian").check()


def test_registered_learners_are_fine_as_they_are():
    assert set(LEARNERS.values()) == {Counts, Hedge, GradientDescent, FollowTheRegularizedLeader}
    for kind in LEARNERS.values():
        kind().check()


def test_a_learner_of_ones_own_is_told_what_it_lacks():
    with pytest.raises(NotImplementedError, match=r"Learner must define play\(memory_K, seen\)"):
        Learner().play(Learner().start(2), 0)
    with pytest.raises(NotImplementedError, match="Learner must define learn"):
        Learner().learn(jnp.zeros(2), jnp.ones(2) / 2, jnp.zeros(2), 0)
    assert np.isinf(Learner().slack(3, 2)) and np.isinf(Learner().mixture_slack(3, 2))
    assert Learner().cost(jnp.zeros(2), 0) == 0
