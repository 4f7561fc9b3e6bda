"""Random numbers against those of `jax.random`, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import draws


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 129)])
def test_bits_are_those_of_jax(shape):
    key = jax.random.fold_in(jax.random.key(2**31 + 3), 11)
    np.testing.assert_array_equal(draws.bits(key, shape), jax.random.bits(key, shape), strict=True)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.5, 0.5), (3.0, 4.5)])
def test_uniform_numbers_are_those_of_jax(low, high):
    key = jax.random.key(1)
    ours = jax.jit(lambda key: draws.uniform(key, (4, 250), low, high))(key)  # as theirs is
    theirs = jax.random.uniform(key, (4, 250), minval=low, maxval=high)
    np.testing.assert_array_equal(ours, theirs, strict=True)
    traced = jax.jit(lambda low, high: draws.uniform(key, (4, 250), low, high))(low, high)
    np.testing.assert_allclose(traced, theirs, rtol=1e-6, atol=1e-6)


def test_normal_numbers_are_those_of_jax():
    key = jax.random.key(0)
    np.testing.assert_array_equal(draws.normal(key, (300, 3)), jax.random.normal(key, (300, 3)), strict=True)


def test_every_key_of_a_batch_draws_its_own():
    keys = jax.random.split(jax.random.key(4), 6)
    ours, theirs = (jax.vmap(lambda key: draw(key, (5,)))(keys) for draw in (draws.uniform, jax.random.uniform))
    np.testing.assert_array_equal(ours, theirs)


def test_other_generators_and_precisions_are_left_to_jax():
    one, other = (jax.random.key(0, impl="rbg") for _ in range(2))
    np.testing.assert_array_equal(draws.normal(one, (4,)), jax.random.normal(other, (4,)))
    with jax.enable_x64(True):
        one, other = (jax.random.key(0) for _ in range(2))
        ours = draws.normal(one, (4,))
        assert ours.dtype == jnp.float64
        np.testing.assert_array_equal(ours, jax.random.normal(other, (4,)))
