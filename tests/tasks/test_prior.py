import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.tasks.prior import TwoGroupPrior


def _even(n: int) -> jax.Array:
    return (jnp.arange(n) + 0.5) / n


@pytest.mark.parametrize(
    "p_high, num_high, num_low", [(0.9, 5, 5), (0.5, 5, 5), (0.99, 5, 495), (1.0, 3, 2), (0.9, 20, 1603)]
)
def test_draw_has_law_p(p_high, num_high, num_low):
    prior = TwoGroupPrior(p_high=p_high, num_high=num_high, num_low=num_low)
    n = 2**20
    frequency = np.bincount(prior.draw(_even(n)), minlength=num_high + num_low) / n
    expected = [p_high / num_high] * num_high + [(1 - p_high) / num_low] * num_low
    np.testing.assert_allclose(frequency, expected, atol=3 / n)


@pytest.mark.parametrize("p_high, num_high, num_low", [(0.9, 5, 5), (0.99, 2, 3), (1.0, 3, 2), (0.5, 1, 4)])
def test_draw_excluding_is_p_renormalised(p_high, num_high, num_low):
    prior = TwoGroupPrior(p_high=p_high, num_high=num_high, num_low=num_low)
    mass = np.asarray(prior.mass(jnp.arange(num_high + num_low)))
    n = 2**18
    for excluded in range(num_high + num_low):
        frequency = np.bincount(prior.draw_excluding(_even(n), jnp.asarray(excluded)), minlength=len(mass)) / n
        expected = np.where(np.arange(len(mass)) == excluded, 0, mass)
        np.testing.assert_allclose(frequency, expected / expected.sum(), atol=4 / n)


def test_draw_excluding_never_draws_the_excluded_class_at_the_edges():
    prior = TwoGroupPrior(p_high=0.9, num_high=5, num_low=5)
    edges = jnp.nextafter(jnp.linspace(0, 1, 1001), jnp.asarray(-1.0))[1:]
    for excluded in range(10):
        drawn = prior.draw_excluding(jnp.concatenate([edges, jnp.zeros(1)]), jnp.asarray(excluded))
        assert not np.any(np.asarray(drawn) == excluded)
        assert 0 <= int(drawn.min()) and int(drawn.max()) <= 9


def test_draw_within_a_group_is_uniform():
    prior = TwoGroupPrior(p_high=0.9, num_high=4, num_low=8)
    n = 2**16
    for group, ids in ((1, range(0, 4)), (2, range(4, 12))):
        frequency = np.bincount(prior.draw_within(_even(n), group), minlength=12) / n
        np.testing.assert_allclose(frequency, [(c in ids) / len(ids) for c in range(12)], atol=2 / n)
