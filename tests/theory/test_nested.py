"""The loss of three nested logits as a study: when it drops, for members in columns, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from icl_sim.theory import NestedDescent, NestedLogits

DESCENT = NestedDescent(steps=4_000)


def test_members_in_columns_drop_when_it_was_measured_or_not_at_all():
    told = DESCENT.calculate(NestedLogits(labels=np.array([8, 9, 16, 32])))
    np.testing.assert_allclose(told["drop_step"], [4_000, 3_324, 2_119, 1_876], atol=2)
    np.testing.assert_allclose(told["drive"], [0, 1 / 72, 1 / 16, 3 / 32], atol=1e-12)
    assert told["plateau_loss"][0] == pytest.approx(1, abs=1e-3) and np.all(told["plateau_loss"] > 0.7)


def test_twice_the_rate_takes_half_the_steps():
    rates = NestedDescent(steps=4_000, learning_rate=np.array([0.05, 0.1]))
    slow, fast = rates.calculate(NestedLogits())["drop_step"]
    assert slow / fast == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("sizes", [{"context": 1}, {"labels": 7}, {"labels": 9.5}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="2 <= context <= labels"):
        NestedLogits(**sizes).check()


def test_there_is_nothing_to_sample():
    with pytest.raises(ValueError, match="no sequences"):
        NestedLogits().sample(None, 1)  # type: ignore[arg-type]
    for changes, words in (({"learning_rate": 0.0}, "positive"), ({"steps": 1}, "from 2 to")):
        with pytest.raises(ValueError, match=words):
            NestedDescent(**changes).check()
