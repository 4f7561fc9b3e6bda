"""Runs that are killed, as a user's are: what is on disk goes on, loses at most a chunk and never a row."""

from __future__ import annotations

import os
import random
import select
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from icl_sim.studies.store import load
from tests.conftest import QUICKLY
from tests.launch.conftest import Nursery

pytestmark = pytest.mark.fleet
KILLS = 4
CHAOS = int(os.environ.get("ICL_SIM_CHAOS", 3))  # parts of a study, and kills: 12 of them take a minute and a half
CONFIG = """
    from icl_sim.engine.settings import Evaluation, Training
    from icl_sim.predictors import GradientDescent
    from icl_sim.studies.codec import config_of
    from icl_sim.studies.study import Study
    from icl_sim.studies.sweep import product
    from icl_sim.tasks import Regression


    def get_config():
        return config_of(
            Study(
                name="tiny",
                task=Regression(dim=2, context_length=3),
                predictors={"gd": GradientDescent(rate=0.1, learned=True)},
                training=Training(steps=150_000, batch_size=4),
                evaluation=Evaluation(sequences=8, batch_size=8, points=20),
                sweep=product({"task.noise": [0.25, 1.0]}),
            )
        )
"""


class Launcher:
    """Starts `launch/run.py` of the study, and tells how it ended."""

    def __init__(self, folder: Path, nursery: Nursery):
        self.log, self.config = folder / "log", folder / "tiny.py"
        self.config.write_text(textwrap.dedent(CONFIG))
        self.nursery = nursery

    def start(self, workdir: Path, *more: str) -> int:
        """The process id of a new run, compiled as its users have it."""
        args = (f"--config={self.config}", f"--workdir={workdir}", *more)
        return self.nursery.start("run.py", *args, out=self.log, err=self.log, env={})

    def exit_code(self) -> int:
        return self.nursery.exit_code()


@pytest.fixture
def launcher(nursery, tmp_path):
    return Launcher(tmp_path, nursery)


def saved(workdir: Path) -> list[int]:
    """Steps of the checkpoints that are whole."""
    return sorted(int(path.name) for path in workdir.glob("checkpoints/*/*") if path.name.isdigit())


def is_saving(workdir: Path) -> bool:
    return any("tmp" in path.name for path in workdir.glob("checkpoints/*/*"))


def wait_for(condition: Callable[[], bool], launcher: Launcher) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not get going: {launcher.log.read_text()[-2000:]}")
        time.sleep(0.002)


def test_killed_four_times_and_stopped_twice_a_run_ends_with_the_rows_of_an_undisturbed_one(launcher, tmp_path):
    rng = random.Random(0)
    whole, workdir = tmp_path / "whole", tmp_path / "killed"
    launcher.start(whole)
    assert launcher.exit_code() == 0, launcher.log.read_text()
    expected = pd.read_parquet(whole / "results.parquet")

    def newer_checkpoint() -> bool:
        return bool(steps := saved(workdir)) and steps[-1] > newest

    before, newest, killed_in_save = expected.head(0), 0, 0
    for number in range(KILLS):
        process = launcher.start(workdir)
        wait_for(newer_checkpoint, launcher)
        newest = saved(workdir)[-1]
        if number % 2:
            wait_for(lambda: is_saving(workdir), launcher)
        else:
            time.sleep(rng.uniform(0, 0.3))
        os.kill(process, signal.SIGKILL)
        assert launcher.exit_code() == -signal.SIGKILL, launcher.log.read_text()
        killed_in_save += is_saving(workdir)
        assert saved(workdir)[-1] >= newest  # what was saved before the kill is there after it, and so are rows
        newest, rows = saved(workdir)[-1], load(workdir)
        assert len(rows.merge(before)) == len(before)
        assert len(rows.merge(expected)) == len(rows)
        before = rows
    assert killed_in_save >= 1

    for more, name, code in (((), signal.SIGTERM, 0), (("--stopped_exit_code=75",), signal.SIGUSR1, 75)):
        process = launcher.start(workdir, *more)
        wait_for(newer_checkpoint, launcher)
        os.kill(process, name)
        assert launcher.exit_code() == code
        told = launcher.log.read_text()
        assert "Finishing this chunk" in told and "goes on from here" in told and f"--workdir={workdir}" in told
        newest = saved(workdir)[-1]
        assert newest < 150_000
    assert not is_saving(workdir)  # what killed saves left behind is gone

    launcher.start(workdir)
    assert launcher.exit_code() == 0, launcher.log.read_text()
    actual = pd.read_parquet(workdir / "results.parquet")
    pd.testing.assert_frame_equal(actual, expected, check_exact=True)
    assert not actual.duplicated(["member", "step", "predictor", "eval_set", "metric"]).any()


def test_ctrl_c_saves_where_it_ends_the_reader_of_the_log_first(launcher, tmp_path):
    """As it does with `2>&1 | tee log`."""
    workdir, pipe = tmp_path / "run", tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    launcher.log.touch()
    args = (f"--config={launcher.config}", f"--workdir={workdir}", "--stopped_exit_code=75")
    process = launcher.nursery.start("run.py", *args, out=pipe, err=pipe, env={})
    wait_for(lambda: bool(saved(workdir)), launcher)
    os.close(reader)
    newest = saved(workdir)[-1]
    os.kill(process, signal.SIGINT)
    assert launcher.exit_code() == 75
    assert newest < saved(workdir)[-1] < 150_000


def test_whoever_is_killed_whenever_a_study_in_parts_ends_with_every_row_once(
    nursery, shared_compilation_cache, tmp_path
):
    """Two workers do its parts; until all are done, or enough have died, one or the other is killed."""
    config, whole, workdir = tmp_path / "tiny.py", tmp_path / "whole", tmp_path / "killed"
    text = CONFIG.replace('"task.noise": [0.25, 1.0]', f'"seed": range({CHAOS})')
    config.write_text(textwrap.dedent(text.replace("150_000", "20_000").replace("points=20", "points=5")))
    done = nursery.call("run.py", f"--config={config}", f"--workdir={whole}")
    assert done.returncode == 0, done.stderr

    dice, strikes, logs = random.Random(2), 0, []
    left, at_work = set(range(1, CHAOS + 1)), {}
    other = Nursery(tmp_path)

    def is_begun(shard: int) -> bool:
        return any(workdir.glob(f"shards/{shard}-of-{CHAOS}/checkpoints/*/*/checksums.json"))

    try:
        while left:
            for worker in (nursery, other):
                idle = sorted(left - {shard for shard, _, _ in at_work.values()})
                if worker not in at_work and idle:
                    shard = dice.choice(idle)
                    logs.append(tmp_path / f"log{len(logs)}")
                    args = (f"--config={config}", f"--workdir={workdir}", f"--shard={shard}/{CHAOS}")
                    process = worker.start("run.py", *args, out=logs[-1], err=logs[-1], env={"XLA_FLAGS": QUICKLY})
                    # Every third while it starts, the others soon after their first checkpoint.
                    at_work[worker] = shard, process, len(logs) % 3 == 0
            ended, _, _ = select.select([worker.process.stdout for worker in at_work], [], [], 0.02)
            for worker, (shard, process, early) in list(at_work.items()):
                if worker.process.stdout in ended:
                    del at_work[worker]
                    code = worker.exit_code()
                    assert code in (0, -signal.SIGKILL), logs[-1].read_text()
                    left -= {shard} if code == 0 else set()
                elif strikes < CHAOS and (is_begun(shard) or early) and dice.random() < 0.3:
                    os.kill(process, signal.SIGKILL)
                    strikes += 1
    finally:
        other.process.communicate()
    assert strikes == CHAOS
    assert sum("going on from step" in log.read_text() for log in logs) >= CHAOS / 6
    actual, expected = (pd.read_parquet(folder / "results.parquet") for folder in (workdir, whole))
    pd.testing.assert_frame_equal(actual, expected, check_exact=True)
    assert not actual.duplicated(["member", "step", "predictor", "eval_set", "metric"]).any()
