"""The curriculum: the schedule of Garg et al. 2022."""

import jax
import numpy as np
import pytest

from icl_sim.tasks.regression import Curriculum, Regression

TREES = Curriculum(pairs=26, pairs_step=5)


@pytest.mark.parametrize(
    "curriculum, step, dims, pairs",
    [
        (Curriculum(), 0, 5, 11),
        (Curriculum(), 1999, 5, 11),
        (Curriculum(), 2000, 6, 13),
        (Curriculum(), 3999, 6, 13),
        (Curriculum(), 29_999, 19, 39),
        (Curriculum(), 30_000, 20, 41),
        (TREES, 0, 5, 26),
        (TREES, 30_000, 20, 101),
        (Curriculum(dims=1, dims_step=3, pairs=2, pairs_step=0, every=10), 25, 7, 2),
    ],
)
def test_grows_as_the_paper_says(curriculum, step, dims, pairs):
    assert tuple(map(int, jax.jit(lambda c, t: c.at(t))(curriculum, step))) == (dims, pairs)


@pytest.mark.parametrize("step, dims, slots", [(0, 2, 3), (7, 3, 5), (14, 4, 6), (1000, 4, 6)])
def test_what_is_not_active_is_0_or_weighs_0_and_all_is_active_in_the_end(key, step, dims, slots, sample):
    task = Regression(dim=4, context_length=5, curriculum=Curriculum(dims=2, pairs=3, every=7))
    now = jax.jit(lambda task, step: task.at(step))(task, step)
    batch = sample(now, key, 16)
    assert np.all(batch.inputs[..., :dims] != 0) and not np.any(batch.inputs[..., dims:])
    np.testing.assert_array_equal(batch.weights, np.tile(np.arange(6) < slots, (16, 1)))
    default = sample(now.evaluation_sets()["default"], key, 16)
    assert np.all(default.inputs != 0) and np.all(default.weights == 1)


def test_without_a_curriculum_a_step_changes_nothing():
    task = Regression()
    assert task.at(3) is task


@pytest.mark.parametrize(
    "name, value", [("dims", 0), ("pairs", 0), ("every", 0), ("dims_step", -1), ("pairs_step", -1)]
)
def test_refuses_with_a_sentence(name, value):
    with pytest.raises(ValueError, match=rf"task\.curriculum\.{name} is {value}; it must be at least"):
        Regression(curriculum=Curriculum(**{name: value})).check()


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(scored="last"), "task.scored is 'last'; a curriculum shortens prompts"),
        (dict(scored="window", first_scored=11), "task.curriculum.pairs is 11; it must be above task.first_scored, 11"),
    ],
)
def test_refuses_prompts_that_ask_nothing(changes, words):
    with pytest.raises(ValueError, match=words):
        Regression(curriculum=Curriculum(), **changes).check()
