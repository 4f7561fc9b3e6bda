"""Which members share a program, and the columns that their settings become."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.engine.group import by_structure
from icl_sim.engine.structure import stack
from icl_sim.keys import stream
from icl_sim.predictors import Transformer
from icl_sim.tasks import ClassMixture, Prototypes
from icl_sim.types import Leaf, setting
from tests.engine.toys import Corners, Guess, Line, member


def test_members_that_differ_in_leaves_share_a_group():
    members = [member(Line(spread=s), Corners(shift=s), seed=7, learning_rate=r) for s in (0.1, 1) for r in (0.1, 0.2)]
    (group,) = by_structure(enumerate(members))
    assert group.ids == (0, 1, 2, 3) and len(group) == 4
    np.testing.assert_array_equal(group.members.task.shift, np.float32([0.1, 0.1, 1, 1]))
    np.testing.assert_array_equal(group.members.training.learning_rate, np.float32([0.1, 0.2, 0.1, 0.2]))


def test_the_grid_of_the_paper_is_one_program():
    tasks = [
        ClassMixture(p_high=p, num_sequences=n, inputs=Prototypes(noise=s), seed=1)
        for p in (0.5, 0.9)
        for n in (64, 2**20, float("inf"))
        for s in (0.2, 1.0)
    ]
    (group,) = by_structure(enumerate(member(Transformer(), task) for task in tasks))
    size_M = group.members.task.num_sequences
    assert size_M.dtype == np.float32 and np.isinf(size_M).sum() == 4


def test_every_static_difference_is_a_group_and_order_is_kept():
    a, b = member(), member(steps=61)
    others = [member(Guess()), member(task=Corners(classes=0)), member(points=5), member(batch_size=5)]
    numbered = [(10, b), (11, a), (12, others[0]), (5, a), (3, b), *((20 + n, other) for n, other in enumerate(others))]
    groups = by_structure(numbered)
    assert [group.ids for group in groups] == [(10, 3), (11, 5), (12, 20), (21,), (22,), (23,)]
    assert groups[0].members.training.steps == 61


@setting
class Values:
    value: Leaf


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], np.int32),
        ([0, -1], np.int32),
        ([0, 2**31], np.uint32),
        ([2**32 - 1, 5], np.uint32),
        ([0.5, 2.0], np.float32),
        ([64, float("inf")], np.float32),
        ([np.float64(0.1), 1], np.float32),
        ([True, False], np.bool_),
    ],
)
def test_columns(values, dtype):
    column = stack([Values(value=value) for value in values]).value
    assert column.dtype == dtype and column.shape == (2,)
    np.testing.assert_array_equal(column, np.asarray(values, dtype))


def test_a_seed_is_the_same_beside_seeds_that_need_more_bits():
    small = stack([Values(value=5)]).value
    large = stack([Values(value=5), Values(value=2**32 - 1)]).value
    data = [jax.random.key_data(stream(seed, "init")) for seed in (5, small[0], large[0], large[1], 2**31)]
    assert len({tuple(np.asarray(d).tolist()) for d in data[:3]}) == 1
    assert len({tuple(np.asarray(d).tolist()) for d in data}) == 3
