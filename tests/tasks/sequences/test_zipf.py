"""Laws of classes, drawn from a grid of uniform numbers so that frequencies are exact to its spacing."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks.sequences.zipf import ClassLaw, distinct_numbers, zipf

K, GRID = 7, 40_000
U = (jnp.arange(GRID) + 0.5) / GRID
LAWS = {"zipf": (0, K, False), "part": (1, 6, False), "even": (1, 6, True)}
EXCLUDED = [(), (3,), (0, 1), (6, 5, 0), (2, 2, -1), (1, 2, 4, 5, 5)]


def law(alpha: float, kind: str = "zipf") -> ClassLaw:
    first, end, even = LAWS[kind]
    return ClassLaw(cumulative=zipf(K, alpha), first=first, end=end, even=even)


def masses(alpha: float, kind: str = "zipf") -> np.ndarray:
    first, end, even = LAWS[kind]
    weights = np.where(even, 1.0, (K - np.arange(K)) ** -float(alpha))
    weights[:first] = weights[end:] = 0
    return weights / weights.sum()


@pytest.fixture(scope="module")
def draw():
    """Draws of a law without the classes `out`, at most 5."""
    drawn = jax.jit(lambda law, u, out: law.draw(u, out))
    return lambda law, u, out: np.asarray(drawn(law, u, np.array((*out, -1, -1, -1, -1, -1)[:5])))


@pytest.fixture(scope="module")
def frequencies(draw):
    return lambda law, out: np.bincount(draw(law, U, out), minlength=K) / GRID


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("out", EXCLUDED)
def test_a_draw_has_the_law_without_what_is_excluded(frequencies, alpha, kind, out):
    expected = masses(alpha, kind)
    expected[[c for c in out if c >= 0]] = 0
    found = frequencies(law(alpha, kind), out)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=3 / GRID, rtol=1e-5)
    assert not found[expected == 0].any()


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
def test_the_mass_is_that_of_the_law_and_none_beyond_training(alpha):
    mass = jax.jit(lambda law: law.mass(jnp.arange(K + 1)))
    for kind in LAWS:
        np.testing.assert_allclose(mass(law(alpha, kind)), (*masses(alpha, kind), 0), rtol=1e-5)


def test_published_shares_of_the_most_frequent_classes():
    """Chan et al. 2022, 12,800 classes: at alpha 3 three have 97 %, at alpha 1 ten have 29 %; the last come first."""
    assert 1 - zipf(12_800, 3.0)[-4] == pytest.approx(0.97, abs=0.005)
    assert 1 - zipf(12_800, 1.0)[-11] == pytest.approx(0.29, abs=0.005)


def test_no_draw_near_an_edge_hits_an_excluded_class(draw):
    one = law(1.0)
    edges = np.concatenate([np.nextafter(np.asarray(one.cumulative), side) for side in (0, 1)]).clip(0, 1 - 2**-24)
    for out in EXCLUDED[1:]:
        left = 1 - sum(masses(1.0)[c] for c in set(out) if c >= 0)
        u = np.concatenate([edges, (edges / left).clip(0, 1 - 2**-24)]).astype(np.float32)
        assert not set(draw(one, u, out).tolist()) & set(out)


def test_one_after_the_other_is_without_repetition_by_the_law(key):
    draw = jax.jit(
        jax.vmap(lambda u_N: ClassLaw(cumulative=zipf(4, 1.0), first=0, end=4).draw_distinct(u_N, jnp.array([1])))
    )
    drawn = np.asarray(draw(jax.random.uniform(key, (20_000, 2))))
    p = (1 / np.array([4, 3, 2, 1])) / sum(1 / np.array([4, 3, 2, 1]))
    p[1] = 0
    p /= p.sum()
    pairs = [pair for pair in itertools.permutations([0, 2, 3], 2)]
    expected = [p[a] * p[b] / (1 - p[a]) for a, b in pairs]
    counts = [np.sum((drawn == pair).all(axis=1)) for pair in pairs]
    assert sum(counts) == len(drawn)
    assert stats.chisquare(counts, np.array(expected) * len(drawn)).pvalue > 1e-3


def test_distinct_numbers_are_every_choice_equally_often(key):
    drawn = np.asarray(jax.jit(jax.vmap(lambda u: distinct_numbers(u, 4)))(jax.random.uniform(key, (24_000, 3))))
    choices, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(choices) == 24 and all(len(set(choice)) == 3 for choice in choices.tolist())
    assert stats.chisquare(counts).pvalue > 1e-3
