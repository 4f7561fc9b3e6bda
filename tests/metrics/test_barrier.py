"""Barriers between parameters: losses whose way is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.metrics import barrier

A = {"w": jnp.asarray([-1.0, 0.0]), "b": {"c": jnp.asarray(2.0)}}
B = {"w": jnp.asarray([1.0, 0.0]), "b": {"c": jnp.asarray(4.0)}}


def wells(params):
    """A double well in w_0, with minima of 0 at the ends, tilted by c."""
    return (jnp.square(params["w"][0]) - 1) ** 2 + 3 * params["b"]["c"]


def test_is_the_height_above_the_line_between_the_ends():
    assert jax.jit(lambda a, b: barrier(wells, a, b))(A, B) == pytest.approx(1.0)  # at alpha = 1/2, a point of the 11
    # Of four points the nearest to the middle is alpha = 1/3, w_0 = -1/3.
    assert barrier(wells, A, B, points=4) == pytest.approx((1 - 1 / 9) ** 2)
    # Ends of different height: w_0 from -1 to 0, c from 2 to 4, so that the line is alpha + 3c.
    to = {"w": jnp.zeros(2), "b": B["b"]}
    alpha = np.linspace(0, 1, 11)
    assert barrier(wells, A, to) == pytest.approx(np.max(((1 - alpha) ** 2 - 1) ** 2 - alpha), abs=3e-6)


def test_of_a_convex_loss_is_zero():
    assert barrier(lambda p: jnp.sum(jnp.exp(p["w"])) + p["b"]["c"] ** 2, A, B) == 0
    assert barrier(wells, A, A) == pytest.approx(0, abs=1e-6)


def test_refuses_with_a_sentence():
    with pytest.raises(ValueError, match="at 1 points"):
        barrier(wells, A, B, points=1)
    for other in ({"w": A["w"]}, {**A, "w": jnp.zeros(3)}):
        with pytest.raises(ValueError, match="same names and shapes"):
            barrier(wells, A, other)
