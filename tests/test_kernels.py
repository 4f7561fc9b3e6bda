"""Kernels: their formulas, numbers by hand."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.kernels import KERNELS, LinearKernel, Periodic, SquaredExponential


def test_values_by_hand():
    x, z = jnp.asarray([[0.0, 0.0], [1.0, 2.0]]), jnp.asarray([[3.0, 4.0]])
    squared = SquaredExponential(length_scale=5.0, variance=2.0)(x, z)
    np.testing.assert_allclose(squared, [[2 * math.exp(-0.5)], [2 * math.exp(-8 / 50)]], rtol=1e-6)
    np.testing.assert_allclose(LinearKernel(variance=0.5)(x, z), [[0.0], [5.5]])
    periodic = Periodic(period=8.0, length_scale=2.0, variance=3.0)(x[:1], z)
    expected = 3 * math.exp(-2 * (math.sin(3 * math.pi / 8) ** 2 + 1) / 4)
    np.testing.assert_allclose(periodic, [[expected]], rtol=1e-6)
    np.testing.assert_allclose(Periodic(period=0.5)(x, x + 1.5), Periodic(period=0.5)(x, x), atol=1e-5)


@pytest.mark.parametrize("kernel", [kind() for kind in KERNELS.values()])
def test_leading_axes_are_kept_and_matrices_are_covariances(kernel):
    x_BNX = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 2)), jnp.float32)
    k_BNN = np.asarray(kernel(x_BNX, x_BNX))
    assert k_BNN.shape == (3, 5, 5)
    np.testing.assert_allclose(k_BNN[1, 2:3, 3:4], kernel(x_BNX[1, 2:3], x_BNX[1, 3:4]), rtol=1e-6)
    np.testing.assert_allclose(k_BNN, np.swapaxes(k_BNN, 1, 2), rtol=1e-6)
    assert np.linalg.eigvalsh(k_BNN).min() > -1e-5


def test_near_points_keep_their_distance_far_from_the_origin():
    x_NX = jnp.asarray([[1000.0], [1000.25]])
    np.testing.assert_allclose(SquaredExponential()(x_NX, x_NX)[0], [1.0, math.exp(-1 / 32)], rtol=1e-6)


@pytest.mark.parametrize("kernel", [SquaredExponential(length_scale=0), Periodic(period=-1), LinearKernel(variance=0)])
def test_refuses_with_a_sentence(kernel):
    with pytest.raises(ValueError, match=f"of {type(kernel).__name__} is .*; it must be positive"):
        kernel.check()
