"""A trace of training that names its program and holds no compilation."""

from __future__ import annotations

import gzip
import json

import pytest

from icl_sim.studies import profile
from tests.engine.toys import Corners, Guess, group, member


def events(trace):
    with gzip.open(trace, "rt") as file:
        return json.load(file)["traceEvents"]


@pytest.mark.fleet
def test_a_trace_holds_training_and_neither_compiling_nor_evaluating(tmp_path):
    idle, line = group(member(Guess())), group(member(steps=200), member(seed=1, steps=200))
    trace = profile.traced([(idle, 0), (line, 200)], tmp_path)
    assert trace.parent.parent.parent.parent == tmp_path
    assert list(trace.parent.glob("*.xplane.pb"))
    found = events(trace)
    modules = {e["args"]["hlo_module"] for e in found if "hlo_module" in e.get("args", {})}
    assert any(name.startswith("jit_train") for name in modules)
    assert not any("measure" in name or "start" in name for name in modules)
    assert not any("Compile" in e.get("name", "") for e in found)
    shares = profile.shares(trace)
    assert sum(share for _, share, _ in shares) == pytest.approx(1) and all(count for *_, count in shares)
    assert shares == sorted(shares, key=lambda each: -each[1])
    dots = dict((kind, count) for kind, _, count in shares)
    steps = profile.CHUNKS * profile.STEPS
    assert any(count >= 2 * steps for count in dots.values())  # of two members
    assert profile.to_text(trace).splitlines()[1].strip().startswith(f"{shares[0][1]:.1%}")


def test_what_cannot_be_profiled_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="There is nothing to profile"):
        profile.traced([(group(member(Guess(), Corners())), 0)], tmp_path)
    with pytest.raises(ValueError, match="training.steps is 20, too few to profile"):
        profile.traced([(group(member(steps=20)), 20)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_shares_are_of_operations_alone(tmp_path):
    def event(name, dur, module="jit_train"):
        return {"ph": "X", "name": name, "dur": dur, "args": {"hlo_module": module}}

    told = [event("dot.1", 3), event("dot.2", 3), event("add_fusion", 2), event("while.5", 99)]
    told += [event("dot.3", 50, "jit_measure"), {"ph": "X", "name": "Python", "dur": 70}, {"ph": "M", "name": "thread"}]
    with gzip.open(tmp_path / "vm.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": told}, file)
    assert profile.shares(tmp_path / "vm.trace.json.gz") == [("dot", 0.75, 2), ("add_fusion", 0.25, 1)]
