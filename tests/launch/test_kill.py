"""Runs that are killed, as a user's are: what is on disk goes on, loses at most a chunk and never a row."""

from __future__ import annotations

import os
import random
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from icl_sim.studies.store import load
from tests.launch.conftest import Nursery

KILLS = 4
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
