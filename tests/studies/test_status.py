"""What is told of a run that others write to: packs, speed, what is left, and who does worst."""

from __future__ import annotations

import fcntl
import json
import os
import time

import numpy as np
import pytest

from icl_sim.engine.settings import Training
from icl_sim.predictors import Transformer
from icl_sim.studies import status
from icl_sim.studies.description import STUDY
from icl_sim.studies.files import StoreError
from icl_sim.studies.locks import LOCK
from icl_sim.studies.plan import plan
from icl_sim.studies.shards import CHECKPOINTS, Shard, checkpoint_names
from icl_sim.studies.store import ROWS, Store
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import product
from icl_sim.studies.table import Line
from icl_sim.tasks import ClassMixture, Prototypes

STEPS = 1000
STUDY_ = Study(
    name="mine",
    task=ClassMixture(inputs=Prototypes(dim=8)),
    predictors={"net": Transformer(depth=1, width=8)},
    training=Training(steps=STEPS),
    sweep=product({"task.context_length": [1, 2], "task.num_sequences": [64.0, 256.0], "seed": range(2)}),
)
PLANNED = plan(STUDY_)
FIRST, SECOND = (group.ids for group in PLANNED.groups)
ERROR, LOSS, DIVERGED = ("summary", "icl_error"), ("training", "loss"), ("training", "diverged_at_step")


@pytest.fixture
def clock(monkeypatch):
    """The time at which rows are written; locks are taken at 0."""
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(status, "_modified", lambda path: 0.0 if path.name != "900" else 26.0)
    return now


def measured(store, clock, ids, at, step, **columns):
    clock[0] = at
    names = {"error": ERROR, "loss": LOSS, "diverged": DIVERGED}
    store.append(ids, step, {names[name]: np.asarray(values, float) for name, values in columns.items()})


def opened(folder, shard=None) -> Store:
    return Store(folder, STUDY_, PLANNED, shard=shard)


def states(found):
    return {pack.name: pack.state for pack in found.packs}


def test_a_run_that_is_not_divided(tmp_path, clock):
    with opened(tmp_path) as store:
        assert states(status.read(tmp_path)) == {"whole": "running"}
        assert status.read(tmp_path).age is None and not status.read(tmp_path).worst
        for at, step in ((1, 0), (11, 100), (21, 600)):
            measured(store, clock, FIRST, at, step, error=[0.5] * 4)
        found = status.read(tmp_path, now=24)
        assert (found.members, found.members_done, found.updates, found.updates_done) == (8, 0, 8000, 2400)
        assert found.rate == pytest.approx(4 * 500 / 10) and found.seconds_left == pytest.approx(5600 / 200)
        assert found.age == pytest.approx(3) and found.packs[0].writer.startswith(f"{os.getpid()} of")
        store.finish(FIRST, STEPS)
        measured(store, clock, SECOND, 30, 0, error=[0.5] * 4)
        store.tabulate()
    found = status.read(tmp_path)
    assert not found.is_tabulated and "  state     stopped\n" in status.to_text(found)  # a table of some is not of all
    assert states(found) == {"whole": "stopped"} and found.rate is found.seconds_left is None
    assert (found.members_done, found.updates_done, found.packs[0].share) == (4, 4000, 0.5)
    with opened(tmp_path) as store:
        store.finish(SECOND, STEPS)
        store.tabulate()
    found = status.read(tmp_path)
    assert found.is_done and found.is_tabulated and states(found) == {"whole": "done"}


def test_between_two_rows_checkpoints_tell_how_far_a_group_is(tmp_path, clock):
    with opened(tmp_path) as store:
        for at, step in ((1, 0), (11, 100), (21, 600)):
            measured(store, clock, FIRST, at, step, error=[0.5] * 4)
        (tmp_path / CHECKPOINTS / checkpoint_names(FIRST)[0] / "900").mkdir(parents=True)
        (tmp_path / CHECKPOINTS / checkpoint_names(FIRST)[0] / "950.damaged").mkdir()
        found = status.read(tmp_path)
    assert found.updates_done == 4 * 900 and found.rate == pytest.approx(4 * 300 / 5)


def test_shards_are_running_stopped_waiting_or_done(tmp_path, clock):
    done, stopped, running = (Shard(of=4, number=number) for number in (1, 2, 3))
    with opened(tmp_path, done) as store:
        measured(store, clock, FIRST[:2], 1, 0, error=[0.5] * 2)
        store.finish(FIRST[:2], STEPS)
    with opened(tmp_path, stopped) as store:
        measured(store, clock, FIRST[2:], 1, 0, error=[0.5] * 2)
    with opened(tmp_path, running) as store:
        for at, step in ((2, 0), (4, 10), (12, 410)):
            measured(store, clock, SECOND[:2], at, step, error=[0.5] * 2)
        found = status.read(tmp_path, now=12)
    assert states(found) == {"1/4": "done", "2/4": "stopped", "3/4": "running", "4/4": "waiting"}
    assert [pack.members for pack in found.packs] == [2] * 4 and found.packs[2].share == pytest.approx(0.41)
    assert found.rate == pytest.approx(2 * 400 / 8) and found.updates_done == 2 * 1000 + 2 * 410
    text = status.to_text(found)
    assert "4: 1 done, 1 running, 1 waiting, 1 stopped" in text
    assert "2,820 of 8,000 (35 %), 100/s, 0:00:52 left" in text
    assert f"3/4       running    41 %, 0 of 2 members done, 100 updates/s, process {os.getpid()} of" in text
    with opened(tmp_path):
        assert states(status.read(tmp_path))["whole"] == "running"


def test_the_speed_is_that_of_the_present_process(tmp_path, clock, monkeypatch):
    with opened(tmp_path) as store:
        for at, step in ((1, 0), (11, 100), (911, 600)):  # killed at 11, started again at 900
            measured(store, clock, FIRST, at, step, error=[0.5] * 4)
        monkeypatch.setattr(status, "_modified", lambda path: 900.0)
        assert status.read(tmp_path).rate is None
        measured(store, clock, FIRST, 921, 700, error=[0.5] * 4)
        assert status.read(tmp_path).rate == pytest.approx(40)


def test_who_diverged_is_worst_and_then_who_has_the_highest_loss(tmp_path, clock):
    with opened(tmp_path) as store:
        measured(store, clock, FIRST, 1, 0, error=[9.0] * 4)
        measured(
            store,
            clock,
            FIRST,
            2,
            10,
            error=[0.1, 0.9, 0.2, 0.3],
            loss=[0.5, 0.1, np.nan, 0.7],
            diverged=[np.nan] * 2 + [7, np.nan],
        )
        measured(store, clock, SECOND, 3, 0, error=[0.8, 0.2, 0.1, np.nan])
    worst = status.read(tmp_path).worst
    assert [poor.member for poor in worst] == [FIRST[2], FIRST[3], FIRST[0], FIRST[1], SECOND[0]]
    assert worst[0].diverged_at == 7 and worst[1].measures == {"training loss": 0.7, "icl_error": 0.3}
    assert worst[0].name == "net, task.context_length=1, task.num_sequences=256, seed=0"
    text = status.to_text(status.read(tmp_path))
    assert "\nworst members: those that diverged, then the highest training loss, then the highest icl_error\n" in text
    assert "diverged at step 7 after 10 steps  (net, " in text and "training loss 0.7, icl_error 0.3 after" in text


def test_what_another_writes_or_has_damaged_is_left_alone(tmp_path, clock):
    with opened(tmp_path) as store:
        measured(store, clock, FIRST, 1, 0, error=[0.5] * 4)
        measured(store, clock, FIRST, 2, 100, error=[0.5] * 4)
    whole = (tmp_path / ROWS).read_bytes()
    torn = b"{damaged}\n" + whole + b'{"ids":[0,1'
    (tmp_path / ROWS).write_bytes(torn)
    found = status.read(tmp_path)
    assert found.updates_done == 400 and (tmp_path / ROWS).read_bytes() == torn
    (note,) = found.notes
    assert note.startswith(f"Line 1 of {tmp_path / ROWS} is damaged") and f"Note: {note}" in status.to_text(found)


def test_a_run_of_before_there_were_times_is_read(tmp_path):
    with opened(tmp_path) as store:
        store._append(Line(FIRST, 0, {ERROR: np.zeros(4)}))
        store._append(Line(FIRST, STEPS, {}, finished=True))
    told = json.loads((tmp_path / STUDY).read_text())
    for member in told["members"]:
        del member["group"], member["steps"]
    (tmp_path / STUDY).write_text(json.dumps(told))
    found = status.read(tmp_path)
    assert (found.updates, found.updates_done, found.members_done) == (8000, 4000, 4)
    assert 0 <= found.age < 60


def test_what_is_no_run_is_a_sentence(tmp_path):
    with pytest.raises(StoreError, match=r"There is no folder .*nowhere; --workdir names"):
        status.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / STUDY).write_text('{"config": {}, "members": []}')
    with pytest.raises(StoreError, match="tells of no members"):
        status.read(tmp_path / "empty")
    with pytest.raises(StoreError, match=r"holds no study.json"):
        status.read(tmp_path)


def test_looking_never_keeps_a_writer_out(tmp_path):
    with opened(tmp_path):
        pass
    with open(tmp_path / LOCK) as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        tries = []

        def let_go(seconds):
            tries.append(seconds)
            fcntl.flock(looked_at, fcntl.LOCK_UN)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", let_go)
            with opened(tmp_path):
                assert len(tries) == 1


def test_two_thousand_members_are_read_in_a_moment(tmp_path):
    rng, groups, names = np.random.default_rng(0), 12, 10
    members = 2000 // groups * groups
    point = {"task.p_high": 0.5, "seed": 0}
    told = [{"id": i, "predictor": "net", "point": point, "group": i % groups, "steps": 600} for i in range(members)]
    (tmp_path / STUDY).write_text(json.dumps({"name": "many", "config": {}, "members": told}))
    lines = []
    for group in range(groups):
        ids = tuple(range(group, members, groups))
        for step in range(0, 601, 100):
            columns = {("summary", f"m{name}"): rng.random(len(ids)) for name in range(names)}
            lines.append(Line(ids, step, columns, time=float(step)).to_json())
    (tmp_path / ROWS).write_text("\n".join([*lines, ""]))
    started = time.process_time()
    found = status.read(tmp_path)
    assert time.process_time() - started < 1
    assert found.updates_done == found.updates == 600 * members
