"""Sentences for the owner of a run: answers that are not finite, and figures with nothing to show."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib")

from icl_sim.studies import figures, remarks, report
from icl_sim.studies.figures import Lines, Quantity
from tests.studies import report_runs as runs

COLUMNS = ("member", "step", "predictor", "eval_set", "metric", "value")


def table(*rows):
    return pd.DataFrame([(*row, 0) for row in rows], columns=[*COLUMNS, "seed"])


def test_a_predictor_without_finite_answers_is_named_with_its_first_step_and_sets():
    rows = table(
        (0, 0, "mine", "default", "squared_error", 1.0),
        (0, 1000, "mine", "default", "squared_error", math.nan),
        (0, 2000, "mine", "default", "squared_error", math.nan),
        (1, 2000, "mine", "other", "error", math.inf),
        (2, 0, "mine", "default", "error", 0.5),
        (2, 0, "mine", "default", "cross_entropy", math.inf),  # of the one who is sure of what is wrong
        (2, 0, "mine", "default", "spd_ols", math.nan),  # what does not apply
        (2, 0, "mine", "summary", "error", math.inf),  # told of its set
        (3, 0, "good", "default", "error", 0.5),
        (4, 0, "lost", "default", "error", math.nan),
    )
    assert remarks.on_answers(rows) == [
        "The predictor 'mine' has no finite answers on default, other, first at step 1,000 (2 of 3 members): they or "
        "their errors are NaN or infinite.",
        "The predictor 'lost' has no finite answers on default, first at step 0 (1 of 1 member): they or their errors "
        "are NaN or infinite.",
    ]
    assert remarks.on_answers(rows[rows["predictor"] == "good"]) == []


def test_members_are_lost_where_any_evaluation_set_is():
    one, other = np.array([0.5, math.nan, 0.5]), np.array([math.inf, math.nan, 0.5])
    assert remarks.lost({("a", "error"): one, ("b", "squared_error"): other}) == 2
    assert remarks.lost({("a", "error"): one, ("summary", "error"): other, ("a", "cross_entropy"): other}) == 1
    assert remarks.lost({("training", "loss"): other}) == 0


def test_a_report_tells_of_them_and_of_figures_with_nothing_to_show(tmp_path):
    mine = Lines(name="mine", title="", quantities=(Quantity("gate_mean"), Quantity("icl_error_low")))
    rows = pd.concat([runs.table(), table((0, 10, "transformer", "swap", "error", math.nan))])
    members = [{"predictor": "transformer", "point": {}}] * rows["member"].nunique()
    runs.write(tmp_path, rows, figures=figures.to_json([mine]), members=members)
    told = []
    report.write_report(tmp_path, tell=told.append)
    sets = "eval-relevant-high_prob, eval-relevant-low_prob, eval-irrelevant-high_prob, eval-irrelevant-low_prob"
    assert told == [
        "The predictor 'transformer' has no finite answers on swap, first at step 10 (1 of 1 member): they or their "
        "errors are NaN or infinite.",
        f"The figure 'mine' shows gate_mean on summary, which this study does not measure there; it is on: {sets}.",
    ]
    page = (tmp_path / "report.html").read_text()
    assert "<dt>Not finite</dt><dd>The predictor &#x27;transformer&#x27; has no finite answers" in page
    assert "<p>The figure &#x27;mine&#x27; shows gate_mean on summary" in page


def test_nothing_is_said_of_figures_while_some_members_have_no_rows_yet():
    mine = Lines(name="mine", title="", quantities=(Quantity("gate_mean"),))
    rows = runs.table()
    members = rows["member"].nunique()
    assert remarks.on_figures([mine], rows, members + 1) == []
    assert len(remarks.on_figures([mine], rows, members)) == 1
