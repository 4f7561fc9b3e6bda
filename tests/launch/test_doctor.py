"""The doctor tells health from illness: its whole run here, and its answer to what is made to go wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from launch import doctor
from tests.conftest import QUICKLY

SCRIPT = Path(doctor.__file__)


def run_doctor(*flags: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XLA_FLAGS": QUICKLY}
    return subprocess.run([sys.executable, str(SCRIPT), *flags], capture_output=True, text=True, env=env)


@pytest.mark.fleet
def test_a_whole_visit_finds_this_machine_healthy():
    visit = run_doctor()
    assert visit.returncode == 0, visit.stdout + visit.stderr
    assert "STOPPED" not in visit.stdout
    assert [line.split()[:2] for line in visit.stdout.splitlines() if line.startswith("  ok")] == [
        ["ok", "sample:"],
        ["ok", "train:"],
        ["ok", "ensemble:"],
    ]
    assert visit.stdout.endswith("icl_sim works here.\n")


def test_a_mistyped_flag_is_answered_in_a_sentence():
    visit = run_doctor("--chek")
    assert visit.returncode != 0
    assert "chek" in visit.stderr and "Traceback" not in visit.stderr


def test_a_failed_check_is_named_and_the_others_still_run(capsys):
    def sick() -> str:
        raise doctor.CheckError("the loss rose.")

    def broken() -> str:
        raise RuntimeError("no such\n  device")

    assert doctor.run_checks({"sick": sick, "broken": broken, "sound": lambda: "fine"}) == 1
    assert capsys.readouterr().out.splitlines() == [
        "Self-check",
        "  FAILED  sick: the loss rose.",
        "  FAILED  broken: RuntimeError: no such device",
        "  ok      sound: fine",
        "",
        "icl_sim does not work here: the check of sick and broken failed.",
    ]


@pytest.mark.parametrize(
    ("losses", "complaint"),
    [
        ([[2.5, 2.5], [0.1, np.nan]], "after 200 steps"),
        ([[1.5, 1.5], [0.1, 1.6]], "went from"),
        ([[4.0, 4.0], [0.1, 2.4]], "no better than guessing"),
    ],
)
def test_training_that_goes_wrong_for_one_member_is_seen(monkeypatch, losses, complaint):
    monkeypatch.setattr(doctor, "trained", lambda seeds: np.array(losses))
    with pytest.raises(doctor.CheckError, match=complaint):
        doctor.train()


def test_a_member_that_feels_its_neighbour_is_seen(monkeypatch):
    leak = {(0, 1): [[2.5, 2.5], [0.1, 0.15]], (1,): [[2.5], [0.1]]}
    monkeypatch.setattr(doctor, "trained", lambda seeds: np.array(leak[seeds]))
    with pytest.raises(doctor.CheckError, match="off by 0.05"):
        doctor.ensemble()


def test_what_is_not_installed_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(doctor, "EXTRAS", {"none": ("pytest", "no-such-extra"), "all": ("pytest",)})
    rows = dict(doctor.versions())
    assert rows["numpy"] == np.__version__
    assert rows["no-such-package"] == "missing"
    assert rows["extra [none]"] == "without no-such-extra"
    assert rows["extra [all]"] == "complete"


def test_rows_stop_with_a_reason_instead_of_a_stack_trace():
    def rows():
        yield "cores", "2"
        raise ImportError("no jax")

    assert list(doctor.attempt(rows)) == [("cores", "2"), ("STOPPED", "ImportError: no jax")]


def test_the_compilation_cache_is_called_what_it_is(tmp_path, monkeypatch):
    assert doctor.cache_state(None).startswith("off")
    assert doctor.cache_state(str(tmp_path)).endswith("(writable)")
    assert doctor.cache_state(str(tmp_path / "not" / "yet")).endswith("(writable)")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a read-only folder does not stop root
    assert doctor.cache_state(str(tmp_path)).endswith("(NOT writable)")
