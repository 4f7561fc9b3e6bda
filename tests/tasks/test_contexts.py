"""The conditional laws of contexts, against exact probabilities."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks import contexts
from icl_sim.tasks.prior import TwoGroupPrior

DRAWS = 2**14
# One false alarm in a thousand runs of all of these tests; seeds are fixed, so it is now or never.
ALPHA = 1e-5


@functools.partial(jax.jit, static_argnames=("length", "law", "draws"))
def _draw(key, prior, query, relevant, length, num_relevant=0, law=contexts.CONDITIONAL, draws=DRAWS):
    u = jax.random.uniform(key, (draws, 1 + 2 * length))

    def one(u):
        rank, slot = u[1 : 1 + length], u[1 + length :]
        return contexts.context_classes(u[0], rank, slot, prior, query, relevant, num_relevant, law)

    return jax.vmap(one)(u)


def _drawn(*args, **kwargs):
    key, *rest = args
    return np.asarray(_draw(jax.random.clone(key), *rest, **kwargs))


def _chi_square(observed, expected):
    expected = expected * (observed.sum() / expected.sum())  # the law is in float32 in places
    keep = expected > 1e-9
    assert observed[~keep].sum() == 0
    rare = expected < 5
    if np.any(rare & keep):  # pool cells that are too rare to count
        observed = np.append(observed[keep & ~rare], observed[keep & rare].sum())
        expected = np.append(expected[keep & ~rare], expected[keep & rare].sum())
    else:
        observed, expected = observed[keep], expected[keep]
    if len(expected) > 1:
        assert stats.chisquare(observed, expected).pvalue > ALPHA


@pytest.mark.parametrize("p_high", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("length", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("query", [0, 7])
def test_number_of_matches_given_relevant_is_a_truncated_binomial(key, p_high, length, query):
    prior = TwoGroupPrior(p_high=p_high, num_high=5, num_low=5)
    classes = _drawn(key, prior, query, True, length)
    p = float(prior.mass(jnp.asarray(query)))
    law = stats.binom.pmf(np.arange(length + 1), length, p)
    law[0] = 0
    matches = np.bincount((classes == query).sum(1), minlength=length + 1)
    _chi_square(matches, DRAWS * law / law.sum())


@pytest.mark.parametrize("relevant", [True, False])
@pytest.mark.parametrize("p_high", [0.5, 0.9])
@pytest.mark.parametrize("query", [1, 3])
def test_joint_law_of_short_contexts_is_the_law_of_rejection(key, relevant, p_high, query):
    prior = TwoGroupPrior(p_high=p_high, num_high=2, num_low=2)
    mass = np.asarray(prior.mass(jnp.arange(4)), np.float64)
    for length in (1, 2, 3):
        cells = list(itertools.product(range(4), repeat=length))
        fits = np.array([(query in cell) == relevant for cell in cells])
        law = np.array([math.prod(mass[c] for c in cell) for cell in cells]) * fits
        classes = _drawn(jax.random.fold_in(key, length), prior, query, relevant, length)
        observed = np.bincount(classes @ (4 ** np.arange(length)[::-1]), minlength=len(cells))
        _chi_square(observed, DRAWS * law / law.sum())


@pytest.mark.parametrize("length, num_relevant", [(1, 1), (2, 1), (4, 1), (4, 2), (4, 3), (4, 4), (8, 3), (16, 2)])
def test_exact_number_of_matches_in_uniform_slots(key, length, num_relevant):
    prior = TwoGroupPrior(p_high=0.9, num_high=5, num_low=5)
    query = 6
    classes = _drawn(key, prior, query, True, length, num_relevant)
    assert np.all((classes == query).sum(1) == num_relevant)
    per_slot = (classes == query).sum(0)
    share = num_relevant / length
    for count in per_slot:
        assert stats.binomtest(int(count), DRAWS, share).pvalue > ALPHA
    if num_relevant == length:
        return
    others = classes[classes != query]
    mass = np.asarray(prior.mass(jnp.arange(10)), np.float64)
    mass[query] = 0
    _chi_square(np.bincount(others, minlength=10), others.size * mass / mass.sum())


def test_matches_of_different_slots_are_exchangeable(key):
    prior = TwoGroupPrior(p_high=0.9, num_high=5, num_low=5)
    for law in contexts.LAWS:
        per_slot = (_drawn(key, prior, 8, True, 4, law=law) == 8).sum(0)
        _chi_square(per_slot, np.full(4, per_slot.sum() / 4))


@pytest.mark.parametrize("query", [0, 3])
def test_insertion_overwrites_one_uniform_slot_where_nothing_matches(key, query):
    prior = TwoGroupPrior(p_high=0.9, num_high=2, num_low=2)
    mass, length = np.asarray(prior.mass(jnp.arange(4)), np.float64), 2
    law = np.zeros((4, 4))
    for a, b in itertools.product(range(4), repeat=2):
        p = mass[a] * mass[b]
        if query in (a, b):
            law[a, b] += p
        else:
            law[query, b] += p / 2
            law[a, query] += p / 2
    classes = _drawn(key, prior, query, True, length, law=contexts.INSERT)
    _chi_square(np.bincount(classes @ [4, 1], minlength=16), DRAWS * law.ravel())


def test_a_class_of_probability_zero_appears_once_at_a_uniform_slot(key):
    prior = TwoGroupPrior(p_high=1.0, num_high=5, num_low=5)
    classes = _drawn(key, prior, 9, True, 4)
    assert np.all((classes == 9).sum(1) == 1)
    _chi_square((classes == 9).sum(0), np.full(4, DRAWS / 4))


def test_first_match_is_a_truncated_geometric():
    n, length, p = 2**16, 5, 0.3
    slots = contexts.first_match((jnp.arange(n) + 0.5) / n, jnp.asarray(p), length)
    law = p * (1 - p) ** np.arange(length)
    np.testing.assert_allclose(np.bincount(slots, minlength=length) / n, law / law.sum(), atol=3 / n)
