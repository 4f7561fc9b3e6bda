"""Random numbers against those of `jax.random`, bit for bit or to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

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


def test_normal_numbers_are_exact_to_rounding_and_those_of_jax():
    one, two, three = (jax.random.key(0) for _ in range(3))
    ours = np.asarray(jax.jit(lambda key: draws.normal(key, (200_000,)))(one))
    u = np.asarray(jax.jit(lambda key: draws.uniform(key, (200_000,), np.nextafter(np.float32(-1), 0), 1.0))(two))
    assert np.max(np.abs(ours)) > 4  # both branches
    np.testing.assert_allclose(ours, np.sqrt(2) * special.erfinv(u.astype(np.float64)), rtol=5e-7, atol=1e-9)
    np.testing.assert_allclose(ours, jax.random.normal(three, (200_000,)), rtol=1e-5)


def test_laplace_numbers_are_those_of_jax():
    one, two = (jax.random.key(3) for _ in range(2))
    np.testing.assert_allclose(draws.laplace(one, (9, 40)), jax.random.laplace(two, (9, 40)), rtol=1e-6)


def test_every_key_of_a_batch_draws_its_own():
    keys = jax.random.split(jax.random.key(4), 6)
    ours = jax.vmap(lambda key: draws.uniform(key, (5,)))(keys)
    theirs = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(keys)
    np.testing.assert_array_equal(ours, theirs)


def test_other_generators_and_precisions_are_left_to_jax():
    one, other = (jax.random.key(0, impl="rbg") for _ in range(2))
    np.testing.assert_array_equal(draws.normal(one, (4,)), jax.random.normal(other, (4,)))
    with jax.enable_x64(True):
        one, other = (jax.random.key(0) for _ in range(2))
        ours = draws.normal(one, (4,))
        assert ours.dtype == jnp.float64
        np.testing.assert_array_equal(ours, jax.random.normal(other, (4,)))


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_noise_is_scaled_and_none_where_the_scale_is_0(scale):
    key = jax.random.key(3)
    found = jax.jit(lambda scale: draws.noise(key, (4, 7), scale))(scale)
    np.testing.assert_array_equal(found, scale * draws.normal(jax.random.clone(key), (4, 7)))
