"""Sensitivities and gradients against weights that are known, and projections against numpy's."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.metrics import GradientAlignment, Sensitivity
from icl_sim.metrics.sensitivity import projections
from icl_sim.predictors.learners.least_squares import LeastSquares
from icl_sim.types import Leaf, Outputs, Predictor, setting
from tests.metrics.toys import Moments, compare, prompts


@setting
class Affine(Predictor):
    """The same u.x + bias of every slot, whatever the context."""

    weights: tuple[Leaf, ...]
    bias: Leaf = 0.0

    def apply(self, params, batch, *, record=False):
        u_X = jnp.stack([jnp.asarray(u) for u in self.weights])
        return Outputs(values=batch.inputs @ u_X.astype(batch.inputs.dtype) + self.bias)


def cosine(a, b):
    return np.sum(a * b, axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


@pytest.mark.parametrize("every", [True, False])
def test_of_affine_functions_by_hand(every):
    found = compare(Sensitivity(), Affine(weights=(3.0, 4.0), bias=9.0), Affine(weights=(3.0, 0.0)), prompts(4, d=2))
    x_BX = np.asarray(prompts(4, d=2, every=every).inputs[:, -1])
    np.testing.assert_allclose(found["sensitivity_cosine"], np.full(4, 0.6), rtol=1e-6)
    np.testing.assert_allclose(found["sensitivity_difference"], np.full(4, 4.0), rtol=1e-6)
    np.testing.assert_allclose(found["prediction_difference"], np.abs(4 * x_BX[:, 1] + 9), rtol=1e-5)


@pytest.mark.parametrize("slots", [0, 1])
def test_only_the_input_of_the_query_moves(slots):
    """The weights X^T y do not move with it, and those of the context, which the query's slot holds too, do not count.

    That of a square is 2 bend (w.x) w + w.
    """
    batch = prompts(4)
    linear, bent = Moments(rate=0.5, slots=slots), Moments(rate=-0.5, bend=0.3, slots=slots)
    w_BX = np.asarray(linear.weights(batch)[:, -1])
    y_B = np.sum(w_BX * np.asarray(batch.inputs[:, -1]), axis=-1)
    s_BX = -w_BX * (1 - 2 * 0.3 * y_B)[:, None]
    found = compare(Sensitivity(), linear, bent, batch)
    np.testing.assert_allclose(found["sensitivity_cosine"], -np.sign(1 - 0.6 * y_B), rtol=1e-5)
    np.testing.assert_allclose(found["sensitivity_difference"], np.linalg.norm(w_BX - s_BX, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["prediction_difference"], np.abs(2 * y_B - 0.3 * y_B**2), rtol=1e-4)


def test_of_a_constant_has_no_direction():
    found = compare(Sensitivity(), Affine(weights=(0.0, 0.0)), Affine(weights=(3.0, 4.0)), prompts(2, d=2))
    assert np.isnan(found["sensitivity_cosine"]).all()
    np.testing.assert_allclose(found["sensitivity_difference"], np.full(2, 5.0), rtol=1e-6)


@pytest.mark.parametrize("every", [True, False])
def test_of_least_squares_is_the_true_weight_vector_once_determined(every):
    """And has a gradient at all: with more exemplars than coordinates X has equal (zero) singular values."""
    batch = prompts(4, every=every)

    @setting
    class Truth(Predictor):
        def apply(self, params, batch, *, record=False):
            return Outputs(values=jnp.einsum("BSX,BX->BS", batch.inputs, batch.latents["w"]))

    found = compare(Sensitivity(), LeastSquares(), Truth(), batch)
    np.testing.assert_allclose(found["sensitivity_cosine"], np.ones(4), atol=1e-5)
    np.testing.assert_allclose(found["sensitivity_difference"], np.zeros(4), atol=1e-4)


def test_gradients_of_every_slot_are_its_weights():
    """Slot by slot: what a slot's input does to later answers, as one of the pairs, must not enter."""
    batch = prompts(4)
    w_BSX = np.asarray(Moments().weights(batch))
    found = compare(GradientAlignment(), Moments(), Moments(), batch)
    expected = cosine(w_BSX[:, 1:], np.asarray(batch.latents["w"])[:, None])
    np.testing.assert_allclose(found["gradient_cosine"][:, 1:], expected, atol=1e-5)
    assert all(np.isnan(value[:, 0]).all() for value in found.values())  # nothing is known after no exemplar


def test_least_squares_moves_as_the_projected_weights():
    """The fit of minimal norm to noiseless pairs is the projection, whose cosine with w is |proj w| / |w|."""
    batch = prompts(6, pairs=7, d=5)
    found = compare(GradientAlignment(), LeastSquares(), Moments(), batch)
    np.testing.assert_allclose(found["projected_gradient_cosine"][:, 1:], np.ones((6, 7)), atol=1e-5)
    x_BSX, w_BX = np.asarray(batch.inputs, np.float64), np.asarray(batch.latents["w"], np.float64)
    for b in range(6):
        for k in range(1, 8):
            known = np.linalg.pinv(x_BSX[b, :k]) @ x_BSX[b, :k] @ w_BX[b]
            assert found["gradient_cosine"][b, k] == pytest.approx(
                np.linalg.norm(known) / np.linalg.norm(w_BX[b]), abs=1e-5
            )


def test_chosen_positions_are_those_of_all():
    batch = prompts(4)
    everything = compare(GradientAlignment(), Moments(bend=0.2), Moments(), batch)
    chosen = compare(GradientAlignment(positions=(4, 2)), Moments(bend=0.2), Moments(), batch)
    for name, value_BS in chosen.items():
        np.testing.assert_allclose(value_BS[:, [2, 4]], everything[name][:, [2, 4]], rtol=1e-6)
        assert np.isnan(value_BS[:, [0, 1, 3, 5, 6]]).all()


def test_the_query_alone():
    """Where no other slot is asked there is one, and the others of a predictor that answers it alone do not apply."""
    batch = prompts(4)
    everything = compare(GradientAlignment(), Moments(), Moments(), batch)
    only = compare(GradientAlignment(), Moments(), Moments(), dataclasses.replace(batch, weights=None))
    short = compare(GradientAlignment(), Moments(slots=1), Moments(), batch)
    for name, value_BS in everything.items():
        assert only[name].shape == (4, 1)
        np.testing.assert_allclose(only[name], value_BS[:, -1:], rtol=1e-6)
        np.testing.assert_allclose(short[name][:, -1], value_BS[:, -1], rtol=1e-6)
        assert np.isnan(short[name][:, :-1]).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_projections_on_spans_that_are_not_full(scale):
    """Repeated, zero, nearly dependent inputs, in single precision, at any scale."""
    rng = np.random.default_rng(0)
    x_SX = rng.normal(size=(8, 4))
    x_SX[1] = 0
    x_SX[2] = -2 * x_SX[0]
    x_SX[4] = x_SX[0] + 3 * x_SX[3]
    x_SX[5] = x_SX[0] + 1e-4 * rng.normal(size=4)  # a third direction, known to the rounding of its input
    w_X = rng.normal(size=4)
    got_SX = jax.jit(projections)(jnp.asarray(scale * x_SX, jnp.float32), jnp.asarray(w_X, jnp.float32))
    for k in range(8):
        expected = np.linalg.pinv(x_SX[:k], rcond=1e-7) @ x_SX[:k] @ w_X if k else np.zeros(4)
        np.testing.assert_allclose(got_SX[k], expected, atol=5e-3 if k == 6 else 1e-5)


def test_refuses_with_a_sentence():
    batch = prompts(2)
    with pytest.raises(ValueError, match="needs the latent w"):
        compare(GradientAlignment(), Moments(), Moments(), dataclasses.replace(batch, latents={}))
    with pytest.raises(ValueError, match=r"\(7,\), but a prompt has 6"):
        compare(GradientAlignment(positions=(7,)), Moments(), Moments(), batch)
    for comparison in (Sensitivity(), GradientAlignment()):
        with pytest.raises(ValueError, match="num_classes=2"):
            compare(comparison, Moments(), Moments(), dataclasses.replace(batch, num_classes=2))
    for positions in ((-1,), (2, 2)):
        with pytest.raises(ValueError, match="positions are"):
            GradientAlignment(positions=positions).check()
