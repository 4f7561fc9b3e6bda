from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icl_sim.lm import rows
from icl_sim.lm.rows import Row, read_jsonl

GOOD = b'{"text": "fine", "label": 1}\n'


def test_rows_are_read_in_order_and_blank_lines_skipped(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD + b"\n" + '{"text": "schön", "label": 0}'.encode())
    assert read_jsonl(path, ("text",), 2) == (Row({"text": "fine"}, 1), Row({"text": "schön"}, 0))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{'text'", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1]", "must be a JSON object"),
        (b'{"label": 1}', "has no field 'text'"),
        (b'{"text": "a"}', "has no field 'label'"),
        (b'{"text": "a\\ud800", "label": 1}', "holds half of a surrogate pair"),
        (b'{"text": 3, "label": 1}', "has the text 3; it must be a text"),
        (b'{"text": "a", "label": 2}', "has the label 2; it must be a whole number from 0 to 1"),
        (b'{"text": "a", "label": -1}', "has the label -1"),
        (b'{"text": "a", "label": true}', "has the label True"),
        (b'{"text": "a", "label": 1.0}', "has the label 1.0"),
        (b'{"text": "a", "label": "1"}', "has the label '1'"),
        (b'{"text": "\xff", "label": 1}', "is not UTF-8"),
        (b'{"text": "' + b"a" * rows.LONGEST_LINE + b'", "label": 1}', "is longer than"),
    ],
)
def test_what_is_no_row_is_a_sentence_with_file_and_line(tmp_path, line, said):
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD + line + b"\n")
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        read_jsonl(path, ("text",), 2)
    assert f"{path}, line 2," in str(raised.value)
    assert len(str(raised.value)) < 400


def test_a_file_that_is_missing_or_empty_or_a_folder_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        read_jsonl(tmp_path / "none.jsonl", ("text",), 2)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match="holds no rows"):
        read_jsonl(tmp_path / "empty.jsonl", ("text",), 2)
    with pytest.raises(ValueError, match="cannot be read"):
        read_jsonl(tmp_path, ("text",), 2)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda t: json.dumps({"text": t}).encode())))
def test_no_bytes_make_anything_but_rows_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_bytes(content)
    try:
        assert all(isinstance(row, Row) for row in read_jsonl(path, ("text",), 2))
    except ValueError as error:
        assert str(path) in str(error)
