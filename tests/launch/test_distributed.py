"""Two processes of one run, connected on this machine as the hosts of a pod are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest

import icl_sim as icl
from tests.conftest import QUICKLY

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
    from icl_sim import Evaluation, Study, Training
    from icl_sim.predictors import GradientDescent
    from icl_sim.studies.sweep import product
    from icl_sim.tasks import Regression

    study = Study(
        name="two processes",
        task=Regression(dim=2, context_length=3),
        predictors={"gd": GradientDescent(rate=0.1, learned=True)},
        training=Training(steps=60_000, batch_size=4),
        evaluation=Evaluation(sequences=8, batch_size=8, points=8),
        sweep=product({"task.noise": [0.25, 1.0], "seed": range(3)}),
    )
"""
CONFIG = "    from icl_sim import config_of\n" + STUDY + "    get_config = lambda: config_of(study)\n"


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(textwrap.dedent(CONFIG))
    return path


class Pair:
    """Both processes of a run, with one device each, started; what they print goes to files."""

    def __init__(self, folder: Path, *flags: str):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        flags = (*flags, f"--coordinator=localhost:{port}", "--processes=2")
        xla = f"{QUICKLY} --xla_force_host_platform_device_count=1"
        self.printed = [(folder / f"out{number}", folder / f"err{number}") for number in (0, 1)]
        self.processes = []
        for number, (out, err) in enumerate(self.printed):
            with out.open("w") as stdout, err.open("w") as stderr:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, ROOT / "launch" / "run.py", *flags, f"--process={number}"],
                        stdout=stdout,
                        stderr=stderr,
                        env={**os.environ, "XLA_FLAGS": xla, "OPENBLAS_NUM_THREADS": "1"},
                    )
                )

    def wait_for(self, path: Path) -> None:
        """Until there is a first row."""
        deadline = time.monotonic() + 90
        while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
            assert all(process.poll() is None for process in self.processes), self.ended()
            time.sleep(0.05)

    def ended(self) -> list[tuple[int, str, str]]:
        """Exit codes and what was printed; what hangs is killed, and fails."""
        try:
            for process in self.processes:
                process.wait(timeout=120)
        finally:
            for process in self.processes:
                process.kill()
                process.wait()
        texts = [(out.read_text(), err.read_text()) for out, err in self.printed]
        return [(process.returncode, *text) for process, text in zip(self.processes, texts, strict=True)]


@pytest.mark.fleet
def test_two_processes_stopped_and_resumed_equal_one_that_never_was(config, tmp_path):
    workdir = tmp_path / "run"
    flags = f"--config={config}", f"--workdir={workdir}"
    pair = Pair(tmp_path, *flags, "--stopped_exit_code=75")
    pair.wait_for(workdir / "rows.jsonl")
    pair.processes[1].send_signal(signal.SIGTERM)  # one is told, both stop
    (first, out, _), (second, other, _) = pair.ended()
    assert (first, second) == (75, 75) and "Stopped, with everything saved" in out and "Stopped" not in other
    assert icl.load(workdir)["step"].max() < 60_000 and list(workdir.glob("checkpoints/*/*/checksums.json"))

    (first, out, err), (second, other, _) = Pair(tmp_path, *flags).ended()
    assert (first, second) == (0, 0) and "going on from step" in err
    assert "report.html" in out and "report.html" not in other
    space: dict = {}
    exec(textwrap.dedent(STUDY), space)
    pd.testing.assert_frame_equal(icl.load(workdir), icl.simulate(space["study"]), rtol=1e-5, atol=1e-6)


def test_where_the_writer_cannot_go_on_nobody_waits(config, tmp_path):
    """The folder is a file: a sentence of the one, and the end of both."""
    (tmp_path / "run").write_text("")
    started = time.monotonic()
    (first, _, err), (second, _, _) = Pair(tmp_path, f"--config={config}", f"--workdir={tmp_path / 'run'}").ended()
    assert first == 1 and "is not a folder; choose another --workdir" in err
    assert second != 0 and time.monotonic() - started < 100


def test_processes_without_a_coordinator_are_told_what_to_give(nursery, config, tmp_path):
    done = nursery.call("run.py", f"--config={config}", f"--workdir={tmp_path / 'run'}", "--distributed=on")
    assert done.returncode == 1 and "--coordinator=HOST:PORT --processes=N --process=I" in done.stderr
    done = nursery.call("run.py", f"--config={config}", f"--workdir={tmp_path / 'run'}", "--processes=2")
    assert done.returncode == 1 and "is given, and --coordinator, the first" in done.stderr
