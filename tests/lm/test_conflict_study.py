from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from icl_sim.lm import conflict, conflict_study, study
from icl_sim.lm.conflict import Point, Table
from icl_sim.lm.conflict_study import EXPOSURES, STEPS, Memorising, NamesAndCities


def table(memorised, follows):
    """Names below `memorised` answer as trained; names below `follows` do so whatever the context says."""
    memory, context = np.zeros((8, 8)), np.zeros((8, 8, 8))
    for name in range(8):
        memory[name, name if name < memorised else (name + 1) % 8] = 1
        for said in range(8):
            context[name, said, name if name < follows else said] = 1
    return Table(memory, context)


def test_shares_by_step_and_by_repetition(monkeypatch):
    points = [
        Point(0, np.zeros(8, int), float("nan"), table(0, 0)),
        Point(10, np.array([0, 0, 0, 0, 1, 2, 3, 4]), 1.0, table(6, 4)),
    ]
    monkeypatch.setattr(conflict, "trained", lambda *args, **kwargs: points)
    monkeypatch.setattr(conflict_study, "_base", lambda name: points[0].table)
    told = Memorising().calculate(NamesAndCities(model="tiny", seed=0))
    assert (told["memorised"], told["from_weights"], told["from_context"]) == (0.75, 0.5, 0.5)
    assert (told["from_weights_invented"], told["from_weights_word_like"]) == (1, 0)
    assert told["base_memorised"] == 0 and told["base_from_context"] == 1
    assert told[STEPS, "from_weights/0"] == 0 and told[STEPS, "from_weights/10"] == 0.5
    # At the end four pairs had not been seen, and all of them were answered from memory.
    assert told[EXPOSURES, "from_weights/0"] == told[EXPOSURES, "memorised/1"] == 1
    assert told[EXPOSURES, "from_weights/1"] == told[EXPOSURES, "memorised/3"] == 0
    study.loaded.cache_clear()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"repetitions": (1,)}, "each of the 8 pairs"),
        ({"repetitions": (0,) * 8}, "not all 0"),
    ],
)
def test_impossible_settings_are_sentences(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(Memorising(), **changes).check()
