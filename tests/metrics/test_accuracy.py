"""Measures against values worked out by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import metrics
from icl_sim.types import Batch, Outputs

LN2, LN4 = math.log(2), math.log(4)


def batch(targets, num_classes=3, **latents) -> Batch:
    target_BS = jnp.asarray(targets)
    return Batch(
        inputs=jnp.zeros((*target_BS.shape, 1)),
        targets=target_BS,
        kinds=jnp.zeros(target_BS.shape, jnp.int8),
        latents=latents,
        num_classes=num_classes,
    )


# Probabilities 1/2, 1/4, 1/4 and 1/4, 1/4, 1/2; the constant added to the logits says nothing.
OUTPUTS = Outputs(values=jnp.asarray([[LN2, 0.0, 0.0], [5.0, 5.0, 5.0 + LN2]]))


def test_error_is_of_the_query_alone():
    np.testing.assert_array_equal(metrics.error(OUTPUTS, batch([[1, 0], [1, 0]])), [0.0, 1.0])
    np.testing.assert_array_equal(metrics.error(OUTPUTS, batch([[0, 2], [0, 2]])), [1.0, 0.0])


def test_cross_entropy_is_minus_the_log_of_the_label_s_probability():
    np.testing.assert_allclose(metrics.cross_entropy(OUTPUTS, batch([[1, 0], [1, 0]])), [LN2, LN4], rtol=1e-6)


def test_cross_entropy_under_label_noise_is_against_the_law_of_the_label():
    # Three times in four the label is 0, else it is 1; what the query's label happens to be does not matter.
    law_BC = jnp.asarray([[0.75, 0.25, 0.0]] * 2)
    expected = [0.75 * LN2 + 0.25 * LN4, LN4]
    for label in (0, 1):
        noisy = batch([[1, label], [1, label]], label_probs=law_BC)
        np.testing.assert_allclose(metrics.cross_entropy(OUTPUTS, noisy), expected, rtol=1e-6)


def test_loss_is_of_the_label_seen_even_where_its_law_is_known():
    noisy = batch([[0, 1], [0, 2]], label_probs=jnp.asarray([[0.75, 0.25, 0.0]] * 2))
    np.testing.assert_allclose(metrics.loss(OUTPUTS, noisy), [LN4, LN2], rtol=1e-6)


def test_loss_of_real_targets_is_the_squared_error():
    real = batch([[9.0, 1.0], [9.0, -2.0]], num_classes=0)
    outputs = Outputs(values=jnp.asarray([[3.0], [-2.5]]))
    np.testing.assert_array_equal(metrics.loss(outputs, real), [4.0, 0.25])
    np.testing.assert_array_equal(metrics.squared_error(outputs, real), [[4.0], [0.25]])


def test_gradient_of_the_loss_is_probability_minus_label():
    gradient = jax.grad(lambda v: metrics.loss(Outputs(values=v), batch([[1, 0], [1, 0]])).sum())(OUTPUTS.values)
    np.testing.assert_allclose(gradient, [[-0.5, 0.25, 0.25], [-0.75, 0.25, 0.5]], atol=1e-6)


@pytest.mark.parametrize("logits", [[1e4, 0.0, -1e4], [-1e4, 1e4, 0.0]])
def test_extreme_logits_stay_finite(logits):
    outputs, one = Outputs(values=jnp.asarray([logits])), batch([[0, 2]])
    assert np.isfinite(metrics.cross_entropy(outputs, one)).all() and np.isfinite(metrics.loss(outputs, one)).all()
