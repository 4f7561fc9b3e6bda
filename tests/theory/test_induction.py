"""The loss of three nested logits: its gradient at 0, its plateau, and that it drops for L > N alone."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from icl_sim.theory.induction import descend, nested_loss

N = 8
descended = functools.cache(jax.jit(descend, static_argnums=(0, 1, 2)))


@pytest.mark.parametrize("labels", [8, 9, 16, 32])
def test_at_zero_only_the_last_logit_moves_and_only_for_more_labels_than_the_context_shows(labels):
    value, gradient = jax.value_and_grad(nested_loss)(np.zeros(3, np.float32), N, labels)
    assert value == pytest.approx(np.log(labels), rel=1e-6)
    np.testing.assert_allclose(gradient, [0, 0, -(1 / N - 1 / labels)], atol=2e-8)


@pytest.mark.parametrize(("labels", "published"), [(32, 1876), (16, 2119), (9, 3324)])
def test_the_loss_drops_at_the_step_that_was_measured(labels, published):
    loss, parameters = descended(4_000, N, labels)
    assert np.argmax(np.asarray(loss) < 0.02) == pytest.approx(published, abs=2)
    # Most of the loss stays for half of that time, and is gone long before its end.
    assert loss[published // 2] > 0.7 * np.log(labels) and loss[4 * published // 5] < 0.1
    assert np.all(np.diff(parameters[:, 2]) > -1e-6)


def test_it_never_drops_where_the_context_shows_every_label():
    loss, _ = descended(20_000, N, N)
    np.testing.assert_allclose(loss, np.log(N), atol=1e-4)


@pytest.mark.parametrize(("context", "labels"), [(1, 8), (9, 8)])
def test_impossible_sizes_are_refused(context, labels):
    with pytest.raises(ValueError, match="2 <= context <= labels"):
        nested_loss(np.zeros(3), context, labels)
