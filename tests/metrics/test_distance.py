"""Distances of predictions: numbers worked out by hand, and which slots enter which mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.metrics import Distance
from icl_sim.predictors.learners.least_squares import LeastSquares
from icl_sim.types import Outputs, Predictor, setting
from tests.metrics.toys import Says, compare, prompts

NOTHING = jnp.zeros((2, 7))


def says(*rows):
    return Says(values=jnp.asarray(rows, jnp.float32))


def test_by_hand():
    """d = 3, so k = 1 and 2 are under-determined: squares 9 and 1, by 3."""
    found = compare(Distance(), says([1, 3, 1, 0, 2, 0, 0], [0, 0, 3, 0, 0, 0, 6]), Says(values=NOTHING), prompts(2))
    np.testing.assert_allclose(found["spd"][0], np.array([1, 9, 1, 0, 4, 0, 0]) / 3, rtol=1e-6)
    np.testing.assert_allclose(found["mspd"], [10 / 6, 9 / 6], rtol=1e-6)
    np.testing.assert_allclose(found["delta"], [15 / 21, 45 / 21], rtol=1e-6)


def test_aligned_on_the_last_slots_that_both_answer():
    """The last six slots are k = 1 to 6, the last five k = 2 to 6."""
    all_slots = Says(values=jnp.tile(jnp.arange(7.0)[None], (2, 1)))
    six = compare(Distance(), all_slots, Says(values=NOTHING[:, :6]), prompts(2))
    five = compare(Distance(), Says(values=NOTHING[:, :5]), all_slots, prompts(2))
    np.testing.assert_allclose(six["spd"], np.tile(np.arange(1, 7) ** 2 / 3, (2, 1)), rtol=1e-6)
    np.testing.assert_allclose(six["mspd"], np.full(2, 5 / 6), rtol=1e-6)
    np.testing.assert_allclose(five["spd"], np.tile(np.arange(2, 7) ** 2 / 3, (2, 1)), rtol=1e-6)
    np.testing.assert_allclose(five["mspd"], np.full(2, 4 / 3), rtol=1e-6)


@pytest.mark.parametrize("every", [True, False])
def test_the_query_alone_has_no_under_determined_positions(every):
    """Two exemplars of three coordinates: k = 2 would be one, but a single position makes no MSPD."""
    batch = prompts(2, pairs=2, every=every)
    found = compare(Distance(), says([5, 5, 3], [5, 5, 0]), Says(values=jnp.zeros((2, 1))), batch)
    np.testing.assert_array_equal(found["spd"], [[3], [0]])
    np.testing.assert_array_equal(found["delta"], [3, 0])
    assert np.isnan(found["mspd"]).all()


def test_where_only_the_query_is_asked_other_answers_do_not_count():
    found = compare(Distance(), says([5, 5, 3], [5, 5, 0]), Says(values=jnp.zeros((2, 3))), prompts(2, 2, every=False))
    np.testing.assert_array_equal(found["spd"], [[3], [0]])
    assert np.isnan(found["mspd"]).all()


def test_slots_of_weight_0_do_not_enter_the_means():
    weight_BS = jnp.asarray([[1, 1, 0, 1, 1, 1, 1], [1, 0, 0, 1, 1, 1, 1]], jnp.float32)
    answers = says([0, 3, 9, 3, 0, 0, 0], [0, 9, 9, 3, 0, 0, 0])
    found = compare(Distance(), answers, Says(values=NOTHING), prompts(2, weights=weight_BS))
    np.testing.assert_allclose(found["mspd"], [3, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found["delta"], [6 / 6, 3 / 5], rtol=1e-6)


def test_of_least_squares_from_nothing_is_its_closed_form():
    """The least squares fit of minimal norm has |w_k|^2 = |w|^2 k / d on average, and x is independent of it."""
    batch = prompts(4000, pairs=6, d=4)

    @setting
    class Nothing(Predictor):
        def apply(self, params, batch, *, record=False):
            return Outputs(values=jnp.zeros_like(batch.targets))

    found = compare(Distance(), LeastSquares(), Nothing(), batch)
    expected = np.minimum(np.arange(7) / 4, 1)
    error = found["spd"].std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(found["spd"].mean(axis=0) - expected) <= 4 * error)
    assert found["mspd"].mean() == pytest.approx(expected[1:4].mean(), abs=4 * found["mspd"].std() / np.sqrt(4000))
    assert found["delta"].mean() == pytest.approx(found["spd"].mean(), rel=1e-5)


def test_refuses_classes():
    batch = prompts(2, num_classes=4)
    with pytest.raises(ValueError, match="num_classes=4"):
        jax.eval_shape(lambda: compare(Distance(), Says(values=NOTHING), Says(values=NOTHING), batch))
