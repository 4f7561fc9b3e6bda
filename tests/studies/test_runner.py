"""Running studies: rows and checkpoints stay in step whatever happens between them.

Most tests replace the engine by a few lines of arithmetic, whose every chunk can be made to fail; the last ones run
the real one.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest

from icl_sim.engine.settings import Evaluation, Training
from icl_sim.predictors import InWeightMLP
from icl_sim.studies import runner
from icl_sim.studies import stop as stopping
from icl_sim.studies.files import StoreError
from icl_sim.studies.plan import plan
from icl_sim.studies.runner import run, simulate
from icl_sim.studies.shards import CHECKPOINTS, MEMBERS
from icl_sim.studies.store import ROWS, load
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import product
from icl_sim.tasks import ClassMixture, Prototypes
from tests.studies import fake_engine
from tests.studies.fake_engine import CHUNK, STEPS, STUDY, Killed, raise_at


def test_a_run_in_a_folder_equals_a_run_in_memory(engine, expected, tmp_path):
    assert run(STUDY, tmp_path, quiet=True) == runner.Status(finished=True, groups=2, simulated=2, complete=True)
    pd.testing.assert_frame_equal(load(tmp_path), expected)
    assert set(expected["step"]) == set(STUDY.evaluation.steps(STEPS)) and len(expected) == 8 * 5
    assert list(expected.columns[-2:]) == ["task.num_sequences", "seed"]
    pd.testing.assert_frame_equal(simulate(STUDY, tmp_path / "python"), expected)


def test_what_is_finished_is_not_simulated_again(engine, expected, tmp_path):
    run(STUDY, tmp_path, quiet=True)
    engine.chunks.clear()
    assert run(STUDY, tmp_path, quiet=True) == runner.Status(finished=True, groups=2, simulated=0, complete=True)
    assert engine.chunks == []
    (tmp_path / "results.parquet").unlink()
    assert run(STUDY, tmp_path, quiet=True).simulated == 0 and (tmp_path / "results.parquet").exists()


@pytest.mark.parametrize("moment", ["on_chunk", "on_save"])  # before the rows; between rows and checkpoint
@pytest.mark.parametrize("step", [0, 1, 10, 12, 40])
def test_killed_at_any_moment_a_run_goes_on_as_if_never_stopped(engine, expected, tmp_path, moment, step):
    setattr(engine, moment, raise_at(4, step, Killed()))
    if moment == "on_chunk" or step in (10, 40):  # saved are full chunks, and the end
        with pytest.raises(Killed):
            run(STUDY, tmp_path, quiet=True)
        before = load(tmp_path)
        setattr(engine, moment, lambda *at: None)
        engine.chunks.clear()
        assert run(STUDY, tmp_path, quiet=True).finished
        assert {member for member, _ in engine.chunks} <= {4}  # the first group was done
        assert len(before.merge(expected)) == len(before)
    pd.testing.assert_frame_equal(simulate(STUDY, tmp_path), expected)


def test_rows_reach_the_disk_before_their_checkpoint(engine, tmp_path):
    found = []
    engine.on_save = lambda member, step: found.append((step, set(load(tmp_path)["step"])))
    run(STUDY, tmp_path, quiet=True)
    assert found and all(s in steps for s, steps in found if s in STUDY.evaluation.steps(STEPS))


def test_a_resumed_run_repeats_at_most_what_came_after_its_checkpoint(engine, expected, tmp_path):
    engine.on_chunk = raise_at(0, 30, Killed())
    with pytest.raises(Killed):
        run(STUDY, tmp_path, quiet=True)
    saved = max(step for member, step in engine.saves)
    engine.on_chunk, engine.chunks = (lambda *at: None), []
    run(STUDY, tmp_path, quiet=True)
    assert min(step for member, step in engine.chunks if member == 0) > saved


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_the_next_run_goes_on_from_there(engine, expected, tmp_path, name, capfd):
    def interrupt(member, step):
        if (member, step) == (4, 20):
            os.kill(os.getpid(), name)

    before = signal.getsignal(name)
    engine.on_chunk = interrupt
    status = run(STUDY, tmp_path, quiet=True)
    assert status == runner.Status(finished=False, groups=2, simulated=2, complete=False)
    assert engine.saves[-1] == (4, 20) and "Finishing this chunk" in capfd.readouterr().err
    assert signal.getsignal(name) == before
    assert (tmp_path / "results.parquet").exists()
    engine.on_chunk, engine.chunks = (lambda *at: None), []
    assert run(STUDY, tmp_path, quiet=True).finished
    assert min(engine.chunks) > (4, 20)
    pd.testing.assert_frame_equal(load(tmp_path), expected)


def test_a_signal_saves_where_nobody_reads_what_is_said_of_it(engine, tmp_path, monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr(sys, "stderr", Closed())
    engine.on_chunk = lambda *at: at == (0, 20) and signal.raise_signal(signal.SIGINT)
    assert not run(STUDY, tmp_path).finished and engine.saves[-1] == (0, 20)


def test_results_of_a_part_are_not_returned_as_if_they_were_all(engine, expected, tmp_path):
    engine.on_chunk = lambda *at: at == (0, 20) and signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match=f"A signal stopped the run in {tmp_path}; what it has is saved"):
        simulate(STUDY, tmp_path)
    assert len(load(tmp_path)) < len(expected)
    engine.on_chunk = lambda *at: None
    pd.testing.assert_frame_equal(simulate(STUDY, tmp_path), expected)


@pytest.fixture
def python_hears_ctrl_c():
    """As in a terminal: a shell has what it starts in the background ignore SIGINT, and Python leaves it at that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_ends_at_once(engine, tmp_path, python_hears_ctrl_c):
    def interrupt(member, step):
        if step == 20:
            # Not by os.kill, which may wake another thread first: two signals would then be handled as one.
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    engine.on_chunk = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(STUDY, tmp_path, quiet=True)


def test_what_a_scheduler_sends_twice_is_one_wish_and_later_ends_at_once(engine, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    seconds = 0.0

    def interrupt(member, step):
        if step == 20:
            signal.raise_signal(signal.SIGUSR2)
            now[0] += seconds
            signal.raise_signal(signal.SIGTERM)

    def end(*_):
        raise Killed()

    before = signal.signal(signal.SIGTERM, end)
    try:
        engine.on_chunk = interrupt
        assert not run(STUDY, tmp_path, quiet=True).finished and engine.saves == [(0, 10), (0, 20)]
        seconds = 2 * stopping.SAME_WISH
        with pytest.raises(Killed):
            run(STUDY, tmp_path / "again", quiet=True)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("seconds", "calls"), [(0.5, 1), (0.0, 0)])
def test_a_chunk_that_does_not_end_after_a_signal_is_told_while_it_lasts(engine, tmp_path, monkeypatch, seconds, calls):
    overdue = []
    monkeypatch.setattr(stopping, "PATIENCE", 0.1)

    def interrupt(member, step):
        if step == 20:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(seconds)
            assert len(overdue) == calls

    engine.on_chunk = interrupt
    assert not run(STUDY, tmp_path, quiet=True, overdue=lambda: overdue.append(True)).finished
    time.sleep(0.2)
    assert len(overdue) == calls and signal.set_wakeup_fd(-1) == -1


def test_processes_of_one_program_stop_where_jax_has_them_agree(engine, expected, tmp_path, monkeypatch):
    heard_by, asked = [], []
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(stopping.hosts, "are_connected", lambda: True)
    monkeypatch.setattr(stopping.multihost_utils, "reached_preemption_sync_point", lambda n: asked.append(n) or n == 4)
    engine.on_chunk = lambda *at: heard_by.append(signal.getsignal(signal.SIGTERM))
    assert not run(STUDY, tmp_path, quiet=True).finished
    assert set(heard_by) == {before}  # jax listens to it
    assert asked == [1, 2, 3, 4] and engine.saves[-1] == engine.chunks[-1] == engine.chunks[3]
    monkeypatch.undo()
    fake_engine.put(engine, monkeypatch)
    pd.testing.assert_frame_equal(simulate(STUDY, tmp_path), expected)


def test_a_corrupted_checkpoint_is_named_and_nothing_is_lost(engine, expected, tmp_path, capfd):
    engine.on_chunk = raise_at(0, 30, Killed())
    with pytest.raises(Killed):
        run(STUDY, tmp_path, quiet=True)
    for path in (tmp_path / CHECKPOINTS / "000000").iterdir():
        path.write_bytes(b"damaged")
    rows = len(load(tmp_path))
    engine.on_chunk = raise_at(0, 0, Killed())
    with pytest.raises(Killed):
        run(STUDY, tmp_path)
    assert "damaged" in (told := capfd.readouterr().err) and "000000" in told
    assert len(load(tmp_path)) == rows
    engine.on_chunk = lambda *at: None
    pd.testing.assert_frame_equal(simulate(STUDY, tmp_path), expected)


def test_waves_are_shown_as_they_begin(engine, tmp_path, monkeypatch, capfd):
    first, second = (np.arange(4) // 3 == number for number in (0, 1))  # three members, and the last
    monkeypatch.setattr(
        runner, "laid_out", lambda group, layout: [(group.taken(mine), None) for mine in (first, second)]
    )
    begun = []
    monkeypatch.setattr(runner.Progress, "begin", lambda self, name, before: begun.append((name, before)))
    run(STUDY, tmp_path, quiet=True)
    assert begun[:3] == [
        ("group 1/2 (4 members)", 0),
        ("group 1/2, wave 1/2 (3 members)", 0),
        ("group 1/2, wave 2/2 (1 members)", 3 * STEPS),
    ]
    assert begun[4:] == [
        ("group 2/2, wave 1/2 (3 members)", 4 * STEPS),
        ("group 2/2, wave 2/2 (1 members)", 7 * STEPS),
    ]


def test_checkpoints_of_other_members_are_set_aside(engine, expected, tmp_path, capfd):
    engine.on_chunk = raise_at(4, 30, Killed())
    with pytest.raises(Killed):
        run(STUDY, tmp_path, quiet=True)
    first, second = (tmp_path / CHECKPOINTS / name for name in ("000000", "000004"))
    shutil.rmtree(second)
    shutil.copytree(first, second)
    engine.on_chunk = lambda *at: None
    run(STUDY, tmp_path)
    assert f"{second} holds checkpoints of other members, which are set aside" in capfd.readouterr().err
    pd.testing.assert_frame_equal(load(tmp_path), expected)
    assert json.loads((second / MEMBERS).read_text()) == [4, 5, 6, 7]


def test_rows_that_are_gone_are_made_again_rather_than_missed(engine, expected, tmp_path, capfd):
    engine.on_chunk = raise_at(0, 30, Killed())
    with pytest.raises(Killed):
        run(STUDY, tmp_path, quiet=True)
    lines = (tmp_path / ROWS).read_text().splitlines(keepends=True)
    (tmp_path / ROWS).write_text("".join(lines[:1] + lines[2:]))
    engine.on_chunk = lambda *at: None
    run(STUDY, tmp_path)
    assert "the rows of step 1 are gone" in capfd.readouterr().err
    pd.testing.assert_frame_equal(load(tmp_path), expected)


def test_rows_that_a_finished_study_has_lost_are_made_again(engine, expected, tmp_path):
    run(STUDY, tmp_path, quiet=True)
    lines = (tmp_path / ROWS).read_text().splitlines(keepends=True)
    (tmp_path / ROWS).write_text("".join(lines[:1] + lines[2:]))
    engine.chunks.clear()
    assert run(STUDY, tmp_path, quiet=True).simulated == 1
    pd.testing.assert_frame_equal(load(tmp_path), expected)
    assert run(STUDY, tmp_path, quiet=True).simulated == 0


def test_a_disk_that_is_full_for_a_checkpoint_keeps_the_rows(engine, expected, tmp_path):
    engine.on_save = raise_at(0, 10, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(StoreError, match="is full"):
        run(STUDY, tmp_path, quiet=True)
    assert {0, 1}.issubset(load(tmp_path)["step"])
    engine.on_save = lambda *at: None
    pd.testing.assert_frame_equal(simulate(STUDY, tmp_path), expected)


def test_every_full_chunk_is_saved(engine, tmp_path):
    run(STUDY, tmp_path, quiet=True)
    assert engine.saves == [(member, step) for member in (0, 4) for step in range(CHUNK, STEPS + 1, CHUNK)]


def test_slow_checkpoints_take_a_small_share_of_the_time(engine, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])

    def pass_time(seconds):
        def hook(member, step):
            now[0] += seconds

        return hook

    engine.on_chunk, engine.on_save = pass_time(1.0), pass_time(1.0)
    long = Study(task=STUDY.task, predictors={"a": STUDY.predictors["a"]}, training=Training(steps=2000))
    run(long, tmp_path, quiet=True)
    assert 0.5 < len(engine.saves) / now[0] / runner.SHARE_OF_SAVING <= 1.1


REAL = Study(
    task=ClassMixture(inputs=Prototypes(dim=8)),
    predictors={"in_weight": InWeightMLP()},
    training=Training(steps=STEPS, batch_size=4),
    evaluation=Evaluation(sequences=8, batch_size=8, points=4),
    sweep=product({"task.num_sequences": [64, 256]}),
)


@pytest.fixture(scope="module")
def real() -> pd.DataFrame:
    return simulate(REAL)


@pytest.mark.fleet
def test_the_real_engine_gives_a_table_of_every_member_and_evaluation_set(real):
    assert set(real["member"]) == {entry.id for entry in plan(REAL).entries}
    assert set(real["step"]) == set(REAL.evaluation.steps(STEPS))
    assert set(real["eval_set"]) == {*REAL.task.evaluation_sets(), "pretraining", "summary", "training"}
    last = real[(real["step"] == STEPS) & (real["eval_set"] == "training")]
    shown = last[last["metric"].str.match(r"exposures_(ir)?relevant/")].groupby("member")["value"].sum()
    assert (shown == STEPS * REAL.training.batch_size).all()


@pytest.mark.fleet
def test_the_real_engine_resumed_equals_the_real_engine(real, tmp_path, monkeypatch):
    true_simulate, seen = runner.simulate_group, []

    def interrupted(group, **kwargs):
        for chunk in true_simulate(group, chunk_steps=5, **kwargs):
            yield chunk
            seen.append(chunk.step)
            if len(seen) == 4:
                raise Killed

    monkeypatch.setattr(runner, "simulate_group", interrupted)
    with pytest.raises(Killed):
        run(REAL, tmp_path, quiet=True)
    assert 0 < seen[-1] < STEPS
    pd.testing.assert_frame_equal(simulate(REAL, tmp_path), real, check_exact=True)
    assert seen[3:5] == [5, 10]  # it went on, rather than started again
