"""Symbols: one point per class, all equally far apart."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import KernelCopy
from icl_sim.tasks import INPUTS, ClassMixture, Symbols
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Batch


def _points(symbols, classes, key):
    return np.asarray(symbols.prepare(key, classes).render(key, jnp.arange(classes)[None]))[0]


@pytest.mark.parametrize("distance", [4.0, 0.5, 2.0])
def test_classes_are_equally_far_apart(key, distance):
    x_CX = _points(Symbols(distance=distance), 5, key)
    squares_CC = np.square(x_CX[:, None] - x_CX[None]).sum(axis=-1)
    np.testing.assert_allclose(squares_CC, distance * (1 - np.eye(5)), rtol=1e-6)
    np.testing.assert_allclose(x_CX, math.sqrt(distance / 2) * np.eye(5), rtol=1e-6)


def test_nothing_is_random(key):
    one, other = jax.random.split(key)
    np.testing.assert_array_equal(_points(Symbols(), 4, one), _points(Symbols(), 4, other))


def test_works_in_a_class_mixture(key):
    task = ClassMixture(inputs=Symbols(), num_high=2, num_low=3, context_length=3, label_noise=0.5)
    task.check()
    batch = jax.jit(lambda key: task.sample(key, 256))(key)
    assert batch.inputs.shape == (256, 4, 5)
    expected = math.sqrt(2) * np.eye(5)[np.asarray(batch.latents["classes"])]  # of the class, whatever the label
    np.testing.assert_allclose(batch.inputs, expected, rtol=1e-6)
    assert np.any(batch.targets != batch.latents["classes"])


def test_held_out_looks_are_the_same(key):
    task = ClassMixture(inputs=Symbols(held_out=True)).prepare()
    assert task.inputs.held_out and task.inputs.load(10) is None
    np.testing.assert_array_equal(task.inputs.table, Symbols().prepare(key, 10).table)


def test_distance_is_a_leaf_that_changes_no_program(key):
    sample = jax.jit(lambda d, key: ClassMixture(inputs=Symbols(distance=d)).sample(key, 4).inputs)
    largest = [float(sample(d, jax.random.clone(key)).max()) for d in (2.0, 8.0)]
    np.testing.assert_allclose(largest, [1.0, 2.0], rtol=1e-6)
    assert sample._cache_size() == 1


def test_a_copier_of_temperature_one_weighs_other_classes_by_e_to_the_minus_distance(key):
    x_BSX = Symbols().prepare(key, 3).render(key, jnp.asarray([[0, 1, 1]]))
    kinds_BS = jnp.asarray([[CONTEXT, SUPPORT, QUERY]], jnp.int8)
    batch = Batch(inputs=x_BSX, targets=jnp.asarray([[0, 1, 1]]), kinds=kinds_BS, num_classes=3)
    copier = KernelCopy(temperature=1.0)
    weights_L = copier.apply(copier.init(key, batch), batch, record=True).record["weights"][0]
    assert weights_L[0] / weights_L[1] == pytest.approx(math.exp(-4), rel=1e-5)
    assert weights_L.sum() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("distance", [0.0, -1.0, math.inf, math.nan])
def test_a_distance_that_is_not_positive_is_named(distance):
    words = rf"task\.inputs\.distance is {distance}; a squared distance must be positive and finite\."
    with pytest.raises(ValueError, match=words):
        Symbols(distance=distance).check(3)
    with pytest.raises(ValueError, match=words):
        ClassMixture(inputs=Symbols(distance=distance)).check()


def test_symbols_must_be_laid_out_before_they_are_drawn(key):
    with pytest.raises(ValueError, match="not been laid out yet; call prepare first"):
        Symbols().render(key, jnp.zeros((1, 2), int))


def test_are_registered():
    assert INPUTS["symbols"] is Symbols
    Symbols().check(1000)
