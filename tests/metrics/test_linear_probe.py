"""The linear probe in closed form: normal equations, exact and underdetermined fits, single precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.metrics import linear_probe


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    h_ND = rng.normal(size=(40, 6)) + 3
    return h_ND, h_ND @ rng.normal(size=(6, 2)) + [5, -1] + 0.3 * rng.normal(size=(40, 2))


@pytest.mark.parametrize("penalty", [0.0, 0.7, 50.0])
def test_solves_the_normal_equations_with_a_free_intercept(penalty, data):
    h_ND, v_NX = data
    kernel_DX, bias_X = jax.jit(linear_probe)(jnp.asarray(h_ND), jnp.asarray(v_NX), penalty)
    ones_NE = np.concatenate([h_ND, np.ones((40, 1))], axis=1)
    damping_EE = penalty * np.diag([1.0] * 6 + [0.0])
    expected = np.linalg.solve(ones_NE.T @ ones_NE + damping_EE, ones_NE.T @ v_NX)
    np.testing.assert_allclose(np.vstack([kernel_DX, bias_X]), expected, atol=2e-4)


def test_of_fewer_rows_than_columns_is_of_least_norm(data):
    h_ND, v_NX = (part[:4] for part in data)
    kernel_DX, bias_X = linear_probe(jnp.asarray(h_ND), jnp.asarray(v_NX))
    np.testing.assert_allclose(h_ND @ np.asarray(kernel_DX) + np.asarray(bias_X), v_NX, atol=1e-4)
    expected = np.linalg.pinv(h_ND - h_ND.mean(axis=0)) @ (v_NX - v_NX.mean(axis=0))
    np.testing.assert_allclose(kernel_DX, expected, atol=1e-4)


def test_a_column_twice_is_no_trouble(data):
    h_ND, v_NX = data
    twice = jnp.asarray(np.concatenate([h_ND, h_ND[:, :1]], axis=1))
    kernel_DX, _ = linear_probe(twice, jnp.asarray(v_NX))
    once_DX, _ = linear_probe(jnp.asarray(h_ND), jnp.asarray(v_NX))
    np.testing.assert_allclose(kernel_DX[0], once_DX[0] / 2, atol=1e-4)
    np.testing.assert_allclose(kernel_DX[6], once_DX[0] / 2, atol=1e-4)


def test_of_nothing_is_the_mean():
    kernel_DX, bias_X = linear_probe(jnp.zeros((5, 3)), jnp.arange(10.0).reshape(5, 2))
    np.testing.assert_array_equal(kernel_DX, np.zeros((3, 2)))
    np.testing.assert_allclose(bias_X, [4, 5])
