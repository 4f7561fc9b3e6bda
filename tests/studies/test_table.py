"""Lines of rows, and the table that they make."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from icl_sim.studies.table import COLUMNS, Line, tabulated

ERROR, GATE = ("eval-default-none", "error"), ("summary", "gate")
MEMBERS = [
    {"id": 0, "predictor": "a", "point": {"task.num_sequences": 64, "seed": 0, "task.law": "x"}},
    {"id": 1, "predictor": "a", "point": {"task.num_sequences": "inf", "seed": 1, "task.law": "y"}},
    {"id": 2, "predictor": "b", "point": {"task.num_sequences": None, "seed": 1, "task.law": "y"}},
]


def line(ids, step, finished=False, **measures) -> Line:
    names = {"error": ERROR, "gate": GATE}
    return Line(
        ids, step, {names[name]: np.asarray(values, float) for name, values in measures.items()}, finished
    )


def test_a_line_survives_strict_json():
    before = line((0, 1, 2), 5, error=[0.1, math.nan, 0.3], gate=[math.inf, -math.inf, np.float32(0.1)])
    text = before.to_json()
    assert "\n" not in text and json.loads(text, parse_constant=pytest.fail)
    after = Line.from_json(text)
    assert (after.ids, after.step, after.finished) == (before.ids, before.step, False)
    for name, values in before.measures.items():
        np.testing.assert_array_equal(after.measures[name], values)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "3", '{"ids":[1', "[" * 100_000),
        '{"ids":[1],"step":0,"measures":[["a"]]}',
        '{"ids":[null],"step":0,"measures":[]}',
        '{"ids":[1.5],"step":0,"measures":[]}',
        '{"ids":[1],"step":null,"measures":[]}',
        '{"ids":[1],"step":[0],"measures":[]}',
        '{"ids":[1],"step":-1,"measures":[]}',
        '{"ids":[1],"step":1' + 30 * "0" + ',"measures":[]}',
        '{"ids":[1,2],"step":0,"measures":[["a","b",[1]]]}',
        '{"ids":[1],"step":0,"measures":[["a","b",["x"]]]}',
        '{"ids":[1],"step":0,"measures":[["a","b",[1' + 400 * "0" + "]]]}",
    ],
)
def test_other_text_is_no_line(text):
    with pytest.raises(ValueError):
        Line.from_json(text)


def test_members_that_the_study_does_not_have_are_named():
    with pytest.raises(ValueError, match="tell of member 7, and the study has 3 members"):
        tabulated([line((0, 7), 0, error=[0.1, 0.2])], MEMBERS)


def test_the_table_is_long_and_sorted():
    lines = [line((2,), 0, gate=[0.9]), line((0, 1), 7, error=[0.3, 0.4]), line((0, 1), 0, error=[0.1, 0.2])]
    table = tabulated(lines, MEMBERS)
    assert tuple(table.columns) == (*COLUMNS, "task.num_sequences", "seed", "task.law")
    assert table["member"].dtype == np.int32 and table["step"].dtype == np.int64
    assert table["value"].dtype == np.float64 and table["seed"].dtype == np.int64
    assert list(table["member"]) == [0, 0, 1, 1, 2] and list(table["step"]) == [0, 7, 0, 7, 0]
    assert list(table["value"]) == [0.1, 0.3, 0.2, 0.4, 0.9]
    assert list(table["predictor"]) == ["a"] * 4 + ["b"] and list(table["task.law"]) == ["x"] * 2 + ["y"] * 3
    assert list(table["task.num_sequences"][:4]) == [64, 64, math.inf, math.inf]
    assert pd.isna(table["task.num_sequences"].iloc[4])
    assert table["metric"].iloc[-1] == "gate" and table["eval_set"].iloc[-1] == "summary"


def test_the_last_line_of_a_step_replaces_the_earlier_ones_wholly():
    lines = [line((0, 1), 3, error=[0.1, 0.2], gate=[1, 1]), line((0, 1), 3, error=[0.5, 0.6])]
    assert list(tabulated(lines, MEMBERS)["value"]) == [0.5, 0.6]


def test_an_end_of_a_group_is_no_row():
    assert tabulated([line((0, 1), 3, finished=True)], MEMBERS).empty
    assert tuple(tabulated([], MEMBERS).columns)[:6] == COLUMNS


def test_a_line_tells_when_it_was_written_and_its_table_does_not():
    early, late = (dataclasses.replace(line((0, 1), 3, error=[0.1, 0.2]), time=time) for time in (1.5e9, 1.9e9 + 0.25))
    assert Line.from_json(late.to_json()).time == pytest.approx(1.9e9 + 0.25, abs=1e-3)
    assert len(early.to_json()) == len(late.to_json())  # the table notes the size of rows
    pd.testing.assert_frame_equal(tabulated([early], MEMBERS), tabulated([late], MEMBERS))


def test_a_line_of_before_there_were_times_is_read():
    text = '{"ids":[0],"step":3,"measures":[["summary","gate",[0.5]]],"crc":745228987}'
    assert Line.from_json(text).time is None and Line.from_json(text).measures[GATE] == 0.5


@pytest.mark.parametrize("finished", [False, True])
def test_an_outline_is_all_but_the_measures(finished):
    whole = dataclasses.replace(line((0, 1), 3, finished, error=[0.1, 0.2], gate=[1, 1]), time=5.0)
    outline = Line.from_json(whole.to_json(), outlined=True)
    assert outline == dataclasses.replace(whole, measures={})
    with pytest.raises(ValueError, match="checksum"):
        Line.from_json(whole.to_json().replace("0.2", "0.3"), outlined=True)
