"""What live progress says, and how often."""

from __future__ import annotations

import errno
import io
import math
import os

import numpy as np
import pytest

from icl_sim.engine.simulate import Chunk
from icl_sim.studies import progress as progress_module
from icl_sim.studies.progress import Progress, headline_means


def chunk(step, updates=0, seconds=1.0, **errors) -> Chunk:
    measures = {("summary", name): np.asarray(values) for name, values in errors.items()} or None
    return Chunk(step, measures, updates, seconds, True, lambda: None)


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def test_a_line_says_step_speed_rest_and_errors():
    stream = io.StringIO()
    with Progress(1000, ("icl_error", "iwl_error_low"), stream) as progress:
        progress.begin("group 1/2 (4 members)", 200)
        progress.update(chunk(25, updates=100, seconds=60.0), 100)
        compiling = progress.line(25, 100)
        progress.update(chunk(50, updates=100, seconds=1.0, icl_error=[0.25, 0.75], iwl_error_low=[1, 1]), 100)
        line = progress.line(50, 100)
    assert compiling == "group 1/2 (4 members), step 25/100"
    assert line == (
        "group 1/2 (4 members), step 50/100 | 100 updates/s | 0:00:06 left | icl_error 0.500 | iwl_error_low 1.000"
    )


def test_the_speed_is_that_of_late_and_of_this_group():
    with Progress(10**6, (), io.StringIO()) as progress:
        progress.begin("group 1/2", 0)
        for step in range(200):
            progress.update(chunk(step, updates=100), 1000)
        for step in range(200, 400):
            progress.update(chunk(step, updates=300), 1000)
        assert "| 300 updates/s |" in progress.line(400, 1000)
        progress.begin("group 2/2", 80_000)
        assert "updates/s" not in progress.line(0, 1000)


def test_the_errors_of_the_last_evaluation_stay_until_the_next():
    with Progress(100, ("icl_error",), io.StringIO()) as progress:
        progress.update(chunk(1, updates=1, icl_error=[0.5]), 10)
        progress.update(chunk(2, updates=1), 10)
        assert "icl_error 0.500" in progress.line(2, 10)


def test_plain_lines_come_at_most_every_ten_seconds_and_at_the_end(clock):
    stream = io.StringIO()
    with Progress(100, (), stream) as progress:
        progress.begin("group 1/1", 0)
        for step in range(1, 31):
            clock[0] = step
            progress.update(chunk(step, updates=1), 30)
    steps = [line.split("step ")[1].split("/")[0] for line in stream.getvalue().splitlines()[1:]]
    assert steps == ["10", "20", "30"]
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


def test_a_terminal_gets_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Progress(100, ("icl_error",), stream) as progress:
        progress.begin("group 1/1", 0)
        progress.update(chunk(100, updates=100, icl_error=[0.125]), 100)
        progress.note("A sentence.")
    assert "100 %" in stream.getvalue() and "A sentence." in stream.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_where_nobody_can_see_it_any_more_the_run_goes_on(is_terminal):
    class Gone(io.StringIO):
        def isatty(self):
            return is_terminal

        def write(self, text):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Progress(100, ("icl_error",), Gone()) as progress:
        progress.begin("group 1/1", 0)
        progress.note("A sentence.")
        progress.update(chunk(100, updates=100, icl_error=[0.125]), 100)
        assert "icl_error 0.125" in progress.line(100, 100)


def test_members_that_diverged_are_left_out_of_the_means():
    measures = {("summary", "a"): np.asarray([0.5, np.nan]), ("summary", "b"): np.asarray([np.nan])}
    means = headline_means(measures, ("a", "b", "absent"))
    assert means["a"] == 0.5 and math.isnan(means["b"]) and set(means) == {"a", "b"}


def test_the_line_tells_of_answers_that_are_not_finite():
    def evaluated(step, *errors):
        return Chunk(step, {("default", "error"): np.asarray(errors)}, 0, 1.0, True, lambda: None)

    with Progress(100, (), io.StringIO()) as progress:
        progress.begin("group 1/2", 0)
        progress.update(evaluated(1, 0.5, 0.5), 10)
        assert progress.line(1, 10) == "group 1/2, step 1/10"
        progress.update(evaluated(2, math.nan, 0.5), 10)
        assert progress.line(2, 10) == "group 1/2, step 2/10 | no finite answers of 1 member"
        progress.update(chunk(3), 10)
        assert progress.line(3, 10).endswith("| no finite answers of 1 member")
        progress.begin("group 2/2", 0)
        assert progress.line(0, 10) == "group 2/2, step 0/10"
