"""The fastest number of members at once is tried where it is worth it, and remembered."""

from __future__ import annotations

import json

import pytest

from icl_sim.engine import cache, trial
from icl_sim.engine.devices import member_mesh
from tests.engine.toys import group, member

SIX = group(*(member(seed=seed, steps=10**6) for seed in range(6)))
SPEEDS = {1: 1e-3, 3: 4e-4}  # seconds per update with so many members at once


@pytest.fixture(autouse=True)
def tried(monkeypatch, tmp_path):
    """How many members at once were tried, by a clock of its own."""
    asked = []
    monkeypatch.setattr(trial, "_seconds_per_update", lambda p: asked.append(p.at_once) or SPEEDS[p.at_once])
    monkeypatch.setattr(trial.Program, "bytes_of_training", lambda self: 0)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return asked


def test_the_fastest_is_taken_and_remembered(tried, tmp_path):
    mesh = member_mesh(6)
    assert trial.fastest(SIX, mesh).at_once == 3 and tried == [1, 3]
    assert trial.fastest(SIX, mesh).at_once == 3 and tried == [1, 3]
    (remembered,) = (tmp_path / "cache").glob("*.json")
    assert list(json.loads(remembered.read_text()).values()) == [3]
    remembered.write_text("[not what it was")
    assert trial.fastest(SIX, mesh).at_once == 3 and tried == [1, 3, 1, 3]


def test_what_is_hardly_faster_is_not_taken(tried, monkeypatch):
    monkeypatch.setitem(SPEEDS, 3, 0.97e-3)
    assert trial.fastest(SIX, member_mesh(6)).at_once == 1


def test_what_does_not_fit_is_not_tried(tried, monkeypatch):
    monkeypatch.setattr(trial, "memory_for_training", lambda: 1.0)
    monkeypatch.setattr(trial.Program, "bytes_of_training", lambda self: 1)
    assert trial.fastest(SIX, member_mesh(6)).at_once == 1 and tried == [1]


def test_short_runs_are_not_held_up(tried, monkeypatch):
    few = group(*(member(seed=seed, steps=10_000) for seed in range(6)))
    assert trial.fastest(few, member_mesh(6)).at_once == 1 and not tried
    assert trial.fastest(group(member(steps=10**6)), member_mesh(1)).at_once == 1 and not tried  # one for each device
    monkeypatch.setitem(SPEEDS, 1, 1e-5)  # a minute in all
    assert trial.fastest(SIX, member_mesh(6)).at_once == 1 and tried == [1]


def test_a_trial_times_updates(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(trial, "STRETCH", 0.01)
    program = trial.Program(SIX, member_mesh(6))
    assert 1e-7 < trial._seconds_per_update(program) < 1e-1
