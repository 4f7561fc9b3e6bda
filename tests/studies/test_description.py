"""What `study.json` may say: anything else is a sentence."""

from __future__ import annotations

import json

import pytest

from icl_sim.studies.description import STUDY, read
from icl_sim.studies.files import StoreError


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "3",
        "[" * 100_000,
        '{"config": {}, "members": 3}',
        '{"config": [], "members": []}',
        '{"config": {}, "members": [{"id": 0}]}',
        '{"config": {}, "members": [], "versions": [1]}',
        '{"config": {}, "members": [], "claims": {}}',
        '{"config": {"name": 3}, "members": []}',
        '{"config": {"training": []}, "members": []}',
        '{"config": {"training": {"steps": "x"}}, "members": []}',
        '{"config": {"headline": "x"}, "members": []}',
        '{"config": {"task": "x"}, "members": []}',
        '{"config": {}, "members": [{"predictor": [], "point": {}}]}',
        '{"config": {}, "members": [{"predictor": "a", "point": {}, "steps": "x"}]}',
        '{"config": {}, "members": [{"predictor": "a", "point": {}, "steps": 1e400}]}',
        '{"config": {}, "members": [{"predictor": "a", "point": {}, "steps": -1}]}',
        '{"config": {}, "members": [{"predictor": "a", "point": {}, "group": []}]}',
        '{"config": {}, "members": [{"predictor": "a", "point": {"training.steps": []}}]}',
        '{"config": {}, "members": [{"predictor": "a", "point": {}}, {"predictor": "a", "point": {"seed": 0}}]}',
    ],
)
def test_a_study_json_that_describes_no_study_is_damaged(tmp_path, content):
    (tmp_path / STUDY).write_text(content)
    with pytest.raises(StoreError, match="damaged"):
        read(tmp_path)


def test_what_is_damaged_in_a_study_json_is_named(tmp_path):
    member = {"predictor": "a", "point": {}, "steps": 1}
    (tmp_path / STUDY).write_text(json.dumps({"config": {}, "members": [member, member | {"steps": "x"}]}))
    with pytest.raises(StoreError, match=r"damaged \(member 1's steps is no whole number from 0\)"):
        read(tmp_path)
