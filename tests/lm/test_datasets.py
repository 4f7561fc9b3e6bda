from __future__ import annotations

import collections
import sys
import types

import pytest

from icl_sim.lm import datasets
from icl_sim.lm.rows import Row

SIZES = {  # of the splits that are read, and how often each label is there
    "sst2": (67_349, {0: 29_780, 1: 37_569}, 872),
    "sst5": (8_544, None, 1_101),
    "mr": (8_530, {0: 4_265, 1: 4_265}, 1_066),
    "subj": (8_000, None, 2_000),
    "cb": (250, {0: 115, 1: 119, 2: 16}, 56),
}


@pytest.mark.parametrize("name", SIZES)
def test_real_rows(text_dir, name):
    found = datasets.data_set(name)
    train, evaluated = (datasets.load(name, split, text_dir) for split in (found.train, found.evaluated))
    size, labels, asked = SIZES[name]
    assert (len(train), len(evaluated)) == (size, asked)
    counts = collections.Counter(row.label for row in train)
    assert counts == labels if labels else set(counts) == set(range(found.num_labels))


def test_the_invented_rows_are_few_short_and_of_both_labels():
    train, asked = datasets.load("fixture", "train"), datasets.load("fixture", "validation")
    assert {row.label for row in train} == {row.label for row in asked} == {0, 1}
    assert not {row.fields["text"] for row in train} & {row.fields["text"] for row in asked}
    assert len(train) >= 40 and len(asked) >= 20


def test_a_missing_file_names_what_is_needed(tmp_path):
    with pytest.raises(ValueError, match="must hold sst2/train.jsonl and sst2/validation.jsonl"):
        datasets.load("sst2", "train", tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'sst2'"):
        datasets.load("sst_2", "train", tmp_path)


def test_without_the_extra_the_hub_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install 'icl_sim\\[hub\\]'"):
        datasets.load("sst2", "train")


def test_the_hub_is_asked_for_the_split_and_its_names_are_translated(monkeypatch):
    asked = []

    def load_dataset(*args, split):
        asked.append((*args, split))
        if split == "broken":
            raise ConnectionError("no network")
        return [{"sentence": "fine", "label": 1, "idx": 0}]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert datasets.load("sst2", "train") == (Row({"text": "fine"}, 1),)
    assert asked == [("glue", "sst2", "train")]
    with pytest.raises(ValueError, match="does not give glue:sst2, split broken: no network"):
        datasets.load("sst2", "broken")
