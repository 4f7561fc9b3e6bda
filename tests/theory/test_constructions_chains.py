"""Primitives, the two chains of theorems 1 and 2, and what they become in a real layer, in float64."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.theory.constructions import (
    HandSet,
    aff,
    div,
    gelu_identity,
    gelu_product,
    mov,
    mul,
    norm_quotient,
    sgd_chain,
    sherman_morrison,
    sherman_morrison_chain,
)
from icl_sim.theory.constructions.chains import columns, sgd_rows, sgd_steps


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def test_mov_changes_rows_of_one_column():
    h = normal(6, 4)
    moved = np.asarray(mov(h, 1, 3, (0, 2), (4, 6)))
    expected = np.array(h)
    expected[4:6, 3] = expected[0:2, 1]
    np.testing.assert_array_equal(moved, expected)
    with pytest.raises(ValueError, match="from column 3 to 1"):
        mov(h, 3, 1, (0, 2), (4, 6))
    with pytest.raises(ValueError, match="rows 4 to 6, which are 2; it needs 3"):
        mov(h, 1, 3, (0, 3), (4, 6))


def test_mul_is_a_product_of_matrices_in_every_column():
    h = normal(2 * 3 + 3 * 4 + 2 * 4, 5)
    product = np.asarray(mul(h, (2, 3, 4), (0, 6), (6, 18), (18, 26)))
    for t in range(5):
        expected = np.asarray(h)[0:6, t].reshape(2, 3) @ np.asarray(h)[6:18, t].reshape(3, 4)
        np.testing.assert_allclose(product[18:26, t].reshape(2, 4), expected, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(product[:18], h[:18])
    with pytest.raises(ValueError, match="mul has rows 18 to 25, which are 7; it needs 8"):
        mul(h, (2, 3, 4), (0, 6), (6, 18), (18, 25))


def test_div_is_by_an_absolute_value():
    h = jnp.asarray([[6.0, 6.0], [1.0, 2.0], [-3.0, 2.0]])
    np.testing.assert_allclose(div(h, (0, 2), 2, (0, 2)), [[2.0, 3.0], [1 / 3, 1.0], [-3.0, 2.0]], rtol=1e-15)


def test_aff_is_affine_in_two_ranges():
    h, first, second, bias = normal(7, 3), normal(2, 3, seed=1), normal(2, 2, seed=2), normal(2, seed=3)
    got = np.asarray(aff(h, (0, 3), (3, 5), (5, 7), first, second, bias))
    H = np.asarray(h)
    np.testing.assert_allclose(got[5:], first @ H[:3] + second @ H[3:5] + np.asarray(bias)[:, None], atol=1e-14)
    np.testing.assert_array_equal(got[:5], H[:5])


@pytest.mark.parametrize("dim", [1, 4])
def test_theorem_1_is_a_step_of_ridge_sgd(dim):
    x_1, x_2, w = np.asarray(normal(3, dim, seed=dim))
    y_1, rate, decay = 0.7, 0.3, 0.2
    h, answer = jax.jit(sgd_chain)(x_1, y_1, x_2, w, rate, decay)
    assert h.shape == (4 + 4 * dim, 3)
    slope = 2 * (w @ x_1 - y_1) * x_1 + 2 * decay * w  # the gradient of |w.x - y|^2 + decay |w|^2
    np.testing.assert_allclose(answer, (w - rate * slope) @ x_2, rtol=0, atol=1e-12)
    np.testing.assert_allclose(h[4 + 3 * dim :, 2], w - rate * slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 4])
def test_theorem_2_is_ridge_on_one_pair(dim):
    x_1, x_2 = np.asarray(normal(2, dim, seed=dim))
    h, answer = jax.jit(sherman_morrison_chain)(x_1, -1.3, x_2, 0.4)
    assert h.shape == (3 + 5 * dim + 3 * dim**2, 3) and (dim != 4 or len(h) == 71)
    ridge = np.linalg.solve(np.outer(x_1, x_1) + 0.4 * np.eye(dim), -1.3 * x_1)
    np.testing.assert_allclose(answer, ridge @ x_2, rtol=0, atol=1e-12)


def test_sherman_morrison_is_ridge_on_every_prefix():
    x, y = normal(12, 4), normal(12, seed=1)
    w_LX = np.asarray(sherman_morrison(x, y, 0.4))
    for k in range(1, 13):
        part = np.asarray(x)[:k]
        expected = np.linalg.solve(part.T @ part + 0.4 * np.eye(4), part.T @ np.asarray(y)[:k])
        np.testing.assert_allclose(w_LX[k - 1], expected, rtol=0, atol=1e-12)


def test_a_product_by_gelus_has_an_error_of_fourth_order():
    """The largest on [-1, 1]^2 is at (1, 1), 7/6 / c^2; random points see some .59, 1.06e-2, 1.06e-4 (published)."""
    product = jax.jit(gelu_product)
    u, v = np.meshgrid(np.linspace(-1, 1, 101), np.linspace(-1, 1, 101))
    worst = {scale: np.abs(product(u, v, float(scale)) - u * v).max() for scale in (1, 10, 100, 1000)}
    assert 0.59 < worst[1] < 0.67
    assert worst[10] == pytest.approx(7 / 6e2, rel=0.01)
    assert worst[100] == pytest.approx(7 / 6e4, rel=0.01)
    # At small numbers the error follows the fourth order, at which halving both divides it by 16.
    error = [float(abs(product(0.6 * t, 0.4 * t, 1.0) - 0.24 * t**2)) for t in (0.02, 0.01)]
    assert error[0] / error[1] == pytest.approx(16, rel=0.01)
    u, v = 0.01, -0.02
    leading = -(2 * u**3 * v + 3 * u**2 * v**2 + 2 * u * v**3) / 6
    assert float(product(u, v, 1.0)) - u * v == pytest.approx(leading, rel=0.01)


@pytest.mark.parametrize("offset, error", [(5.0, 1.3e-4), (10.0, 2e-15)])
def test_numbers_pass_a_gelu_far_above_zero(offset, error):
    x = np.linspace(-1, 1, 101)
    worst = np.abs(gelu_identity(x, offset) - x).max()
    assert worst < error and (offset > 5 or worst > 2e-5)


@pytest.mark.parametrize("divisor", [1.0, -2.5])
@pytest.mark.parametrize("offset", [100.0, 1e4])
def test_a_layer_norm_divides(divisor, offset):
    """Exactly by sqrt(c^2 + (|y|^2 + (sum y)^2) / (2 N^2)), which is |c| within 2e-3 at N = 100, 2e-7 at 1e4."""
    y = np.asarray(normal(200, 5))
    rest = (np.sum(y**2, axis=1) + np.sum(y, axis=1) ** 2) / (2 * offset**2)
    got = np.asarray(jax.jit(norm_quotient)(y, divisor, offset))
    np.testing.assert_allclose(got, y / np.sqrt(divisor**2 + rest)[:, None], rtol=1e-9)
    assert 1e-5 < offset**2 / 1e4 * np.abs(got - y / abs(divisor)).max() < 1e-2


def test_a_layer_norm_divides_every_column_by_its_own():
    y, divisor = np.asarray(normal(20, 5)), np.asarray(normal(20, seed=1)) + 3.0
    np.testing.assert_allclose(jax.jit(norm_quotient)(y, divisor, 1e5), y / np.abs(divisor)[:, None], atol=1e-7)


def test_a_block_reads_the_column_before():
    h = normal(5, 4)
    blocks = HandSet(5, 4)
    start = blocks.stream(h)
    stream = np.asarray(jax.jit(lambda: blocks.run(blocks.mov([0, 0, 1, 2], (0, 2), (2, 4)), start))())
    expected = np.array(h)
    expected[2:4] = expected[0:2, [0, 0, 1, 2]]
    np.testing.assert_allclose(stream[:, :5].T, expected, atol=1e-5)
    np.testing.assert_allclose(stream.sum(axis=1), 0.0, atol=1e-9)
    with pytest.raises(ValueError, match="must read itself or one before"):
        blocks.mov([1, 0, 1, 2], (0, 2), (2, 4))
    with pytest.raises(ValueError, match="cannot divide .*, is 'div'; allowed: mov, mul, aff."):
        blocks.step(("div", ((0, 2), 2, (0, 2))))


def test_a_block_multiplies_and_writes_over_what_stood_there():
    h = normal(4 + 2 + 2, 3) / 2
    blocks = HandSet(8, 3, scale=1000.0, offset=1e5)
    rows = (2, 2, 1), (0, 4), (4, 6), (6, 8)
    start = blocks.stream(h)
    stream, expected = jax.jit(lambda: (blocks.run(blocks.mul(*rows), start), mul(h, *rows)))()
    np.testing.assert_allclose(stream[:, :8].T, expected, atol=1e-5)


@pytest.mark.parametrize("scale, error", [(100.0, 1e-3), (3000.0, 1e-6)])
def test_nine_transformer_blocks_are_theorem_1(scale, error):
    """The whole chain in the blocks that we train, each with hand-set weights; what is left is the products' 1/c^2."""
    dim = 2
    x_1, x_2, w = (jnp.asarray(row) for row in np.random.default_rng(0).uniform(-1, 1, (3, dim)))
    steps = sgd_steps(w, 0.3, 0.2)
    assert len(steps) == 9
    blocks = HandSet(sgd_rows(dim), 3, offset=1e5, scale=scale)
    params = [blocks.step(step) for step in steps]
    start = blocks.stream(columns(x_1, 0.7, x_2, blocks.rows))
    stream = np.asarray(jax.jit(lambda h_TD: functools.reduce(lambda h, p: blocks.run(p, h), params, h_TD))(start))
    h, answer = jax.jit(sgd_chain)(x_1, 0.7, x_2, w, 0.3, 0.2)
    assert math.isclose(stream[2, 3 + 3 * dim], answer, abs_tol=error)
    np.testing.assert_allclose(stream[2, : blocks.rows], h[:, 2], atol=error)
    assert np.abs(stream[2, : blocks.rows] - h[:, 2]).max() > error / 100
