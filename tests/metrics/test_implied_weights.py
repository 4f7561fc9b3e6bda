"""Implied weights: exact for linear learners, numpy's fit for one that is not, and what the queries are."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.metrics import ImpliedWeights
from icl_sim.metrics.implied_weights import fresh_queries
from icl_sim.predictors.learners.least_squares import LeastSquares, Ridge, weights
from tests.metrics.toys import Moments, compare, prompts

FEW = ImpliedWeights(queries=24)


def least_squares_weights(batch, penalty):
    return jax.vmap(weights, in_axes=(0, 0, None))(batch.inputs[:, :-1], batch.targets[:, :-1], penalty)


def test_of_linear_learners_is_the_distance_of_their_weights():
    """Ridge against least squares and against X^T y, after every number of exemplars; R^2 is 1."""
    batch = prompts(6)
    w_BSX = np.asarray(least_squares_weights(batch, 0.3))
    others = {
        LeastSquares(): np.asarray(least_squares_weights(batch, 0.0)),
        Moments(rate=0.2): np.asarray(Moments(rate=0.2).weights(batch)),
    }
    for other, w_other_BSX in others.items():
        found = compare(FEW, Ridge(penalty=0.3), other, batch)
        expected_BS = np.sum((w_BSX - w_other_BSX) ** 2, axis=-1) / 3
        np.testing.assert_allclose(found["ilwd"], expected_BS, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["linearity"][:, 1:], np.ones((6, 6)), atol=1e-6)
        assert np.isnan(found["linearity"][:, 0]).all()  # both answer 0 to everything
        assert (found["ilwd"][:, 0] == 0).all()


def test_of_a_bent_learner_is_the_least_squares_fit_to_its_answers():
    batch = prompts(6)
    learner = Moments(rate=0.1, bend=0.4)
    found = compare(FEW, learner, Moments(rate=0.1), batch)
    query_BNX = np.asarray(fresh_queries(batch, 24), np.float64)
    straight_BSX = np.asarray(Moments(rate=0.1).weights(batch), np.float64)
    for b in range(6):
        for k in range(1, 7):
            line_N = query_BNX[b] @ straight_BSX[b, k]
            y_N = line_N + 0.4 * line_N**2
            w_X = np.linalg.lstsq(query_BNX[b], y_N, rcond=None)[0]
            left = np.sum((y_N - query_BNX[b] @ w_X) ** 2)
            assert found["ilwd"][b, k] == pytest.approx(np.mean((w_X - straight_BSX[b, k]) ** 2), rel=1e-3, abs=1e-6)
            assert found["linearity"][b, k] == pytest.approx(1 - left / np.sum(y_N**2), abs=1e-4)


def test_chosen_positions_are_those_of_all_and_the_query_alone_is_the_last():
    batch = prompts(6)
    learners = Moments(rate=0.1, bend=0.4), Ridge(penalty=0.3)
    everything = compare(FEW, *learners, batch)
    chosen = compare(ImpliedWeights(queries=24, positions=(5, 1)), *learners, batch)
    only = compare(FEW, *learners, dataclasses.replace(batch, weights=None))
    short = compare(FEW, Moments(rate=0.1, bend=0.4, slots=2), learners[1], batch)
    for name, value_BS in everything.items():
        np.testing.assert_allclose(chosen[name][:, [1, 5]], value_BS[:, [1, 5]], rtol=1e-5)
        assert np.isnan(chosen[name][:, [0, 2, 3, 4, 6]]).all()
        assert only[name].shape == (6, 1)
        np.testing.assert_allclose(only[name], value_BS[:, -1:], rtol=1e-4)
        np.testing.assert_allclose(short[name][:, -2:], value_BS[:, -2:], rtol=1e-4)
        assert np.isnan(short[name][:, :-2]).all()


def test_queries_are_the_last_inputs_of_other_prompts():
    """Tagged by prompt and slot: each prompt meets every other once before an earlier slot is used."""
    tag_BSX = np.stack(np.meshgrid(np.arange(4), np.arange(7), indexing="ij"), axis=-1).astype(np.float32)
    batch = prompts(4, inputs=jnp.asarray(tag_BSX))
    query_BNX = np.asarray(fresh_queries(batch, 7))
    for b in range(4):
        others = {c for c in range(4) if c != b}
        assert {int(x) for x in query_BNX[b, :3, 0]} == others == {int(x) for x in query_BNX[b, 3:6, 0]}
        np.testing.assert_array_equal(query_BNX[b, :, 1], [6, 6, 6, 5, 5, 5, 4])
    everything = np.asarray(fresh_queries(batch, 21))
    assert all(len(np.unique(everything[b], axis=0)) == 21 for b in range(4))


def test_directions_that_no_query_has_get_no_weight():
    """Inputs of the first two of three coordinates: the third weight of X^T y is 0, so the distance stays exact."""
    batch = prompts(6)
    flat = dataclasses.replace(batch, inputs=batch.inputs.at[..., 2].set(0))
    found = compare(FEW, Moments(rate=0.3), Moments(rate=0.1), flat)
    expected_BS = np.sum(np.square(0.2 * np.asarray(Moments().weights(flat))), axis=-1) / 3
    np.testing.assert_allclose(found["ilwd"], expected_BS, rtol=1e-4)


def test_refuses_with_a_sentence():
    with pytest.raises(ValueError, match=r"128 fresh .* other 5 prompts of a batch of 6 have 35"):
        compare(ImpliedWeights(), Moments(), Moments(), prompts(6))
    with pytest.raises(ValueError, match="a prompt has 6 exemplars"):
        compare(ImpliedWeights(queries=4, positions=(7,)), Moments(), Moments(), prompts(6))
    with pytest.raises(ValueError, match="num_classes=2"):
        compare(FEW, Moments(), Moments(), prompts(6, num_classes=2))
    with pytest.raises(ValueError, match="ImpliedWeights is 0"):
        ImpliedWeights(queries=0).check()
