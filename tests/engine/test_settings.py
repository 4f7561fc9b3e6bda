"""Which steps are evaluated, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from icl_sim.engine.settings import Evaluation, Training
from tests.engine.toys import member


def test_evaluation_steps_are_spaced_evenly_in_their_logarithm():
    assert Evaluation(points=5).steps(10_000) == (0, 1, 10, 100, 1000, 10_000)
    assert Evaluation(points=3).steps(64) == (0, 1, 8, 64)


@pytest.mark.parametrize("points", [1, 2, 3, 20, 1000])
@pytest.mark.parametrize("last", [1, 2, 7, 2500, 100_000])
def test_evaluation_steps_start_at_0_end_at_the_last_and_do_not_repeat(points, last):
    steps = Evaluation(points=points).steps(last)
    assert steps[0] == 0 and steps[-1] == last and len(steps) <= points + 1
    assert list(steps) == sorted(set(steps)) and all(type(step) is int for step in steps)


def test_one_point_is_the_end_and_no_training_is_one_evaluation():
    assert Evaluation(points=1).steps(50) == (0, 50)
    assert Evaluation(points=20).steps(0) == (0,)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (Training(steps=-1), "training.steps is -1; it must be from 0 to 2,147,483,647"),
        (Training(batch_size=0), "training.batch_size is 0; it must be from 1 to 2,147,483,647"),
        (Training(steps=2**31), "training.steps is 2147483648; it must be from 0"),
        (Training(learning_rate=0.0), "training.learning_rate is 0.0; it must be above 0"),
        (Training(learning_rate=float("nan")), "training.learning_rate is nan"),
        (Training(adam_epsilon=-1.0), "training.adam_epsilon is -1.0; it must be at least 0"),
        (Training(schedule="rsqr"), "allowed: constant, rsqrt, cosine, triangle. Did you mean 'rsqrt'?"),
        (Training(schedule="cosin"), "Did you mean 'cosine'?"),
        (Training(adam_b1=1.0), "training.adam_b1 is 1.0; it must be at least 0 and below 1."),
        (Training(adam_b2=-0.1), "training.adam_b2 is -0.1; it must be at least 0 and below 1."),
        (Training(clip_norm=0.0), "training.clip_norm is 0.0; it must be positive, or None."),
        (Training(l2=-1.0), "training.l2 is -1.0; it must be at least 0, finite, or None."),
        (Training(weight_decay=-1.0), "training.weight_decay is -1.0; it must be at least 0, finite, or None."),
        (Training(schedule="rsqrt"), "warmup_steps is 0; with schedule 'rsqrt' it must be at least 1"),
        (Training(warmup_steps=-1), "warmup_steps is -1; with schedule 'constant' it must be at least 0"),
        (Evaluation(points=0), "evaluation.points is 0; it must be from 1 to 10,000,000"),
        (Evaluation(sequences=150, batch_size=100), "it must be a multiple of evaluation.batch_size, 100"),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(setting, sentence):
    with pytest.raises(ValueError) as refused:
        setting.check()
    assert sentence in str(refused.value)


def test_fewer_sequences_than_a_batch_are_one_batch():
    Evaluation(sequences=50, batch_size=100).check()


def test_a_member_checks_its_parts_and_its_seed():
    member(seed=2**32 - 1).check()
    with pytest.raises(ValueError, match=r"seed is 4294967296; it must be a whole number from 0 to 2\^32 - 1"):
        member(seed=2**32).check()
    with pytest.raises(ValueError, match="training.batch_size"):
        member(batch_size=0).check()
    with pytest.raises(ValueError, match="evaluation.points"):
        dataclasses.replace(member(), evaluation=Evaluation(points=0)).check()
