"""What a study costs, against what is counted by hand."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from icl_sim.engine.accelerators import ACCELERATORS
from icl_sim.engine.layout import mesh_of
from icl_sim.engine.settings import Evaluation, Training
from icl_sim.studies import estimate
from icl_sim.studies.plan import plan
from icl_sim.studies.shards import Shard, pack
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import product
from tests.engine.toys import Corners, Guess, Line

V5E = ACCELERATORS["v5e"]
STUDY = Study(
    task=Corners(),
    predictors={"line": Line(), "guess": Guess()},
    training=Training(steps=100, batch_size=4),
    evaluation=Evaluation(sequences=20, batch_size=10, points=4),
    sweep=product({"training.batch_size": [4, 8], "task.shift": np.linspace(0, 1, 6).tolist()}),
)


@pytest.fixture(scope="module")
def found():
    return estimate.costs(plan(STUDY))


def of(found, **changes):
    """The same of groups that differ in the costs given."""
    return [dataclasses.replace(cost, **changes) if cost.steps else cost for cost in found]


def test_members_updates_and_bytes(found):
    assert [(cost.label, cost.steps, cost.updates) for cost in found] == [
        ("6 x guess", 0, 0),
        ("6 x guess", 0, 0),
        ("6 x line", 100, 600),
        ("6 x line", 100, 600),
    ]
    parameters = 2 * 2 + 2 + 1
    adam = 4 + 2 * 4 * parameters  # its count, and two moments
    others = 2 * 4 + 4 + 4  # the task's counts, the sum of losses, where it diverged
    assert found[2].state == 4 * parameters + adam + others
    sequence = 3 * (2 * 4 + 4 + 1)  # of three slots: two coordinates, a label and a kind
    assert (found[2].batch, found[3].batch) == (4 * sequence, 8 * sequence)
    assert found[0].state < 50 and found[0].batch == 0 and found[0].flops == 0
    assert 1.5 < found[3].flops / found[2].flops < 2.1


def test_evaluations_are_forward_passes_of_all_sets_at_all_steps(found):
    steps, sets, sequences = 5, 3, 20  # 0 and 4 more; as trained, far, and what it was trained on
    assert found[2].evaluation_flops == pytest.approx(steps * sets * sequences * found[2].flops / 3 / 4)


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_packs_are_those_that_shards_do(found, shards):
    counts = estimate.packs(found, shards)
    assert counts.shape == (shards, 4) and counts.sum() == 24
    planned = plan(STUDY)
    for number in range(1, shards + 1):
        sizes = [len(group) for group, _ in pack(planned, Shard(of=shards, number=number))]
        assert sizes == [n for n in counts[number - 1] if n]


def test_the_time_on_an_accelerator_is_work_over_speed_where_there_is_much(found):
    much = of(found, flops=1e12, evaluation_flops=1e13)
    speed = V5E.peak * estimate.UTILISATION
    (alone,) = estimate.seconds_on(much, V5E)
    assert alone == pytest.approx(2 * 6 * (100 * 1e12 + 1e13) / speed)
    (spread,) = estimate.seconds_on(much, V5E, chips=4)  # of 6 members, a chip has 2
    assert spread == pytest.approx(alone / 3)
    assert estimate.seconds_on(much, V5E, of=2, utilisation=2 * estimate.UTILISATION).max() == pytest.approx(alone / 4)


def test_the_time_on_an_accelerator_has_a_floor_where_there_is_little(found):
    (seconds,) = estimate.seconds_on(found, V5E)
    assert seconds == pytest.approx(2 * 100 * estimate.LEAST, rel=1e-3)


@pytest.mark.parametrize("utilisation", [0, -1, 1.5, float("nan")])
def test_a_utilisation_that_is_none_is_a_sentence(found, utilisation):
    with pytest.raises(ValueError, match="--utilisation is .*; it must be above 0 and at most 1"):
        estimate.seconds_on(found, V5E, utilisation=utilisation)


@pytest.mark.parametrize("shards", [0, -3, 10**6])
def test_shards_that_cannot_be_are_a_sentence(found, shards):
    with pytest.raises(ValueError, match=r"--shards is .*; it must be from 1 to 100,000"):
        estimate.packs(found, shards)


def test_the_text_tells_what_is_assumed(found):
    text = estimate.to_text(found, 3)
    assert text.startswith("24 members, 1,200 updates; groups (one training program each): 4\n")
    assert "3  6 x line: 100 updates each of" in text and "1  6 x guess: nothing to train" in text
    assert "shards       3, of 4 to 16 members" in text
    told = estimate.time_on(of(found, flops=1e15, state=10**10), V5E, 4, 1, 0.1)
    assert "on 4 chips of TPU v5e" in told and "10 % of a peak of 197 TFLOP/s (cloud.google.com/tpu/docs/v5e)" in told
    assert "20 GB, do not fit into the 16 GB of a chip" in told
    assert "do not fit" not in estimate.time_on(found, V5E, 4, 1)


def test_a_trial_measures_and_its_time_is_work_over_rate(found):
    trial = estimate.tried(found[2], 0.01)
    assert trial.rate > 0 and trial.preparing > 0
    trials = [None, None, estimate.Trial(2.0, 1.0), estimate.Trial(3.0, 4.0)]
    text = estimate.time_here(of(found, evaluation_flops=0.0), trials, 1)
    assert "group 4: 4 updates/s, 3.0 s to compile and start" in text
    assert (
        f"time here    {estimate.span(600 + 150 + 5)} with" in text and f"of it {estimate.span(750)} training" in text
    )
    assert "the longest of 2 shards takes 0:10:02" in estimate.time_here(of(found, evaluation_flops=0.0), trials, 2)


def test_a_trial_keeps_within_its_time_and_tries_what_would_run(found, monkeypatch):
    now, lengths = [0.0], []

    class OneASecond:
        def __init__(self, group, mesh):
            assert mesh == mesh_of(group)

        def start(self):
            return 0

        def train(self, state, start, stop, phase):
            now[0] += stop - start
            lengths.append(stop - start)
            return 0

    monkeypatch.setattr(estimate, "Program", OneASecond)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now[0])
    assert estimate.tried(found[2], 20.0) == estimate.Trial(preparing=1.0, rate=6.0)
    assert lengths == [1, 1, 2, 4, 8]  # 5 s are left, too few for more than the last
    lengths.clear()
    estimate.tried(found[2], 0.5)
    assert lengths == [1, 1]


def test_two_thousand_members_of_twelve_structures_are_reckoned_in_seconds():
    axes = {"task.classes": [2, 3, 4], "training.batch_size": [2, 4, 6, 8], "task.shift": np.arange(167) / 167}
    many = dataclasses.replace(STUDY, predictors={"line": Line()}, sweep=product(axes))
    started = time.process_time()
    found = estimate.costs(plan(many))
    assert time.process_time() - started < 5
    assert len(found) == 12 and sum(len(cost.group) for cost in found) == 2004
