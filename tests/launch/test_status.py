"""The command that says what a run is at, as a user types it."""

from __future__ import annotations

import functools

import pytest

from icl_sim.studies.store import Store
from tests.launch.conftest import load
from tests.studies.test_status import FIRST, PLANNED, SECOND, STEPS, STUDY_

command = load("status")


@pytest.fixture
def call(nursery):
    return functools.partial(nursery.call, "status.py")


def test_one_screen(call, tmp_path):
    with Store(tmp_path, STUDY_, PLANNED) as store:
        store.finish(FIRST, STEPS)
        done = call(f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"mine in {tmp_path}\n  state     running\n  members   4 of 8 done\n")


def test_watching_ends_when_all_is_done(tmp_path, capsys):
    looks = []

    def finish(seconds):
        looks.append(seconds)
        with Store(tmp_path, STUDY_, PLANNED) as store:
            store.finish(FIRST, STEPS)
            store.finish(SECOND, STEPS)
            store.tabulate()

    with Store(tmp_path, STUDY_, PLANNED):
        pass
    command.show(str(tmp_path), 7.0, finish)
    assert looks == [7.0]
    before, after = capsys.readouterr().out.split("\n\n")
    assert "0 of 8 done" in before and "8 of 8 done" in after and "the table of all is written" in after


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "Which run? Give --workdir=DIR"),
        (["--workdir=~nosuchuser"], "~nosuchuser cannot be found: there is no user 'nosuchuser' here."),
        (["--workdir=nowhere"], "There is no folder nowhere"),
        (["--workdir=."], ". holds no study.json, so it is not the folder of a study's run."),
        (["--workdir=.", "--watch=0"], "--watch is 0; it must be a number of seconds, at least 0.1."),
        (["--workdir=.", "--watch=nan"], "--watch is nan; it must be"),
        (["--workdir=.", "stray"], "Unknown argument 'stray'"),
    ],
)
def test_mistakes_are_one_sentence(call, args, sentence):
    done = call(*args)
    assert done.returncode == 1 and sentence in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
