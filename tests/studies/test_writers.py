"""Numbers for TensorBoard, for Weights & Biases and for a writer of one's own, none of which can break a run."""

from __future__ import annotations

import struct
import sys
import types

import numpy as np
import pandas as pd
import pytest

from icl_sim.engine.simulate import Chunk
from icl_sim.studies import writers
from icl_sim.studies.runner import run
from icl_sim.studies.shards import Shard
from icl_sim.studies.store import load
from icl_sim.studies.writers import Scalars, means, opened
from tests.engine.toys import group, member
from tests.studies.fake_engine import STUDY

ERROR, LOSS, DIVERGED = ("summary", "icl_error"), ("training", "loss"), ("training", "diverged_at_step")
NAN = float("nan")


class Kept:
    """A writer of one's own: keeps what it gets; can be made to fail."""

    def __init__(self):
        self.got, self.closed, self.fails = [], False, False

    def write(self, where, step, values):
        if self.fails:
            raise OSError("No space\nleft")
        self.got.append((where, step, dict(values)))

    def close(self):
        self.closed = True
        raise OSError("again")


def chunk(step, updates=20, **columns) -> Chunk:
    at = {"error": ERROR, "loss": LOSS, "diverged": DIVERGED}
    measures = {at[name]: np.asarray(values, float) for name, values in columns.items()} or None
    return Chunk(step, measures, updates, 0.5, True, lambda: None)


def test_means_are_those_of_members_that_have_not_diverged():
    told = means(chunk(7, error=[0.25, 0.75, NAN], loss=[1, 3, NAN], diverged=[NAN, NAN, 5]), ["icl_error", "absent"])
    assert told == {"updates_per_s": 40, "icl_error": 0.5, "training_loss": 2, "diverged": 1}
    assert means(chunk(7), ["icl_error"]) == {"updates_per_s": 40}
    assert means(chunk(0, 0), ["icl_error"]) == {}


def test_few_members_are_written_one_by_one_and_many_are_not():
    few, many = (group(*(member(seed=seed) for seed in range(size))) for size in (2, writers.FEW + 1))
    kept = Kept()
    with Scalars({"mine": kept}, ["icl_error"]) as scalars:
        scalars.update(3, few, pytest.fail, chunk(7, error=[0.25, 0.75]))
        assert kept.got == [
            ("group_3", 7, {"updates_per_s": 40, "icl_error": 0.5}),
            ("member_0", 7, {"icl_error": 0.25}),
            ("member_1", 7, {"icl_error": 0.75}),
        ]
        kept.got.clear()
        scalars.update(3, few, pytest.fail, chunk(8))
        scalars.update(4, many, pytest.fail, chunk(7, error=[0.5] * len(many)))
    assert [where for where, *_ in kept.got] == ["group_3", "group_4"]
    assert kept.closed  # and that closing failed does not matter


def test_a_writer_that_fails_is_noted_once_and_the_run_goes_on(engine, expected, tmp_path, capsys):
    sound, ill = Kept(), Kept()
    ill.fails = True
    run(STUDY, tmp_path, prepare=lambda planned: {"ill": ill, "sound": sound})
    told = capsys.readouterr().err
    assert told.count("The writer 'ill' failed (OSError: No space left) and is switched off; the run goes on.") == 1
    pd.testing.assert_frame_equal(load(tmp_path), expected)
    steps = STUDY.evaluation.steps(STUDY.training.steps)
    for number in (1, 2):
        assert {step for where, step, values in sound.got if where == f"group_{number}" and len(values) > 1} >= {
            *steps
        } - {0}
    rows = load(tmp_path)
    last = rows[(rows["member"] == 5) & (rows["step"] == steps[-1])]["value"].item()
    assert ("member_5", steps[-1], {"icl_error": last}) in sound.got or not STUDY.shown == ("icl_error",)


def test_event_files_hold_what_was_written(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX: pip install 'icl_sim[tensorboard]'")
    (writer,) = opened(["tensorboard"], tmp_path, STUDY, Shard(of=2, number=1)).values()
    writer.write("group_1", 7, {"icl_error": 0.5, "updates_per_s": 40.0})
    writer.write("member_3", 8, {"icl_error": NAN})
    writer.close()
    (events,) = (tmp_path / "tensorboard" / "1-of-2").glob("events.out.tfevents.*")
    assert read_back(events.read_bytes())[:2] == [("group_1/icl_error", 7, 0.5), ("group_1/updates_per_s", 7, 40.0)]
    name, step, value = read_back(events.read_bytes())[2]
    assert (name, step) == ("member_3/icl_error", 8) and np.isnan(value)


def read_back(content: bytes) -> list[tuple[str, int, float]]:
    """The scalars of an event file: records of a length, its checksum, an event, and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    scalars, at = [], 0
    while at < len(content):
        (length,) = struct.unpack("<Q", content[at : at + 8])
        event = Event.FromString(content[at + 12 : at + 12 + length])
        scalars += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 16 + length
    return scalars


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package, which keeps what it is told."""
    told = types.SimpleNamespace(init=[], log=[], metrics=[], finished=0)

    class Run:
        def log(self, values):
            told.log.append(values)

        def define_metric(self, name, step_metric):
            told.metrics.append((name, step_metric))

        def finish(self):
            told.finished += 1

    def init(**settings):
        told.init.append(settings)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    return told


def test_weights_and_biases_get_groups_with_steps_of_their_own(wandb, tmp_path):
    for _ in range(2):
        (writer,) = opened(["wandb"], tmp_path / "run", STUDY, None).values()
        writer.write("group_1", 7, {"icl_error": 0.5})
        writer.write("group_1", 9, {"icl_error": 0.25})
        writer.write("group_2", 0, {"icl_error": 1.0})
        writer.close()
    assert wandb.log[:3] == [
        {"group_1/step": 7, "group_1/icl_error": 0.5},
        {"group_1/step": 9, "group_1/icl_error": 0.25},
        {"group_2/step": 0, "group_2/icl_error": 1.0},
    ]
    assert wandb.metrics[:2] == [("group_1/*", "group_1/step"), ("group_2/*", "group_2/step")]
    first, again = wandb.init
    assert first["id"] == again["id"] and first["resume"] == "allow" and first["config"]["training"]["steps"] == 40
    opened(["wandb"], tmp_path / "run", STUDY, Shard(of=2, number=1))
    assert wandb.init[2]["id"] != first["id"] and wandb.init[2]["name"].endswith(" 1/2") and wandb.finished == 2


def test_one_that_cannot_begin_is_noted_and_left_out(wandb, tmp_path, monkeypatch):
    def fail(**settings):
        raise ConnectionError("no network")

    monkeypatch.setattr(sys.modules["wandb"], "init", fail)
    notes = []
    assert opened(["wandb"], tmp_path, STUDY, None, notes.append) == {}
    assert notes == ["The writer 'wandb' failed (ConnectionError: no network) and is switched off; the run goes on."]


def test_wrong_names_and_missing_packages_are_sentences(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="--log is 'tensorbord'; allowed: tensorboard, wandb. Did you mean 'tensorboard'"
    ):
        opened(["tensorbord"], tmp_path, STUDY, None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"--log=wandb needs wandb, .*: pip install 'icl_sim\[wandb\]'"):
        opened(["wandb"], tmp_path, STUDY, None)
    assert not list(tmp_path.iterdir())
