"""The folder of a run: whole lines only, one writer, one study, and sentences when the disk refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from icl_sim.predictors import Transformer
from icl_sim.studies import description, figures
from icl_sim.studies.description import STUDY
from icl_sim.studies.figures import Lines
from icl_sim.studies.files import StoreError
from icl_sim.studies.locks import LOCK
from icl_sim.studies.plan import plan
from icl_sim.studies.shards import Shard
from icl_sim.studies.store import RESULTS, ROWS, Store, load
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import product
from icl_sim.studies.table import Line
from icl_sim.tasks import ClassMixture

ERROR = ("eval-default-none", "error")
STUDY_ = Study(
    name="mine",
    task=ClassMixture(),
    predictors={"net": Transformer()},
    sweep=product({"task.num_sequences": [64, float("inf")], "seed": [0]}),
)
IDS = (0, 1)


def opened(folder, study=STUDY_) -> Store:
    return Store(folder, study, plan(study), command="python run.py")


def written(rows) -> list[Line]:
    return [Line.from_json(text) for text in rows.read_text().splitlines()]


def filled(folder, steps=(0, 3, 7)) -> pd.DataFrame:
    with opened(folder) as store:
        for step in steps:
            store.append(IDS, step, {ERROR: np.asarray([0.5, step / 8])})
        store.finish(IDS, steps[-1])
        return store.tabulate()


def test_what_is_written_is_read(tmp_path):
    table = filled(tmp_path / "new" / "run")
    pd.testing.assert_frame_equal(load(tmp_path / "new" / "run"), table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "new" / "run" / RESULTS), table)
    assert list(table["value"]) == [0.5] * 3 + [0, 3 / 8, 7 / 8]
    with opened(tmp_path / "new" / "run") as store:
        assert store.ended_at(IDS) == 7 and store.ended_at((0,)) == 7 and store.ended_at((0, 9)) is None
        assert store.is_tabulated()
        assert store.has(IDS, 3) and not store.has(IDS, 4)


def test_study_json_says_what_was_run(tmp_path):
    filled(tmp_path)
    told = json.loads((tmp_path / STUDY).read_text(), parse_constant=pytest.fail)  # strict: no bare Infinity
    assert told["name"] == "mine" and told["command"] == "python run.py"
    assert told["config"]["task"]["p_high"] == 0.9 and told["config"]["task"]["num_sequences"] == "inf"
    assert told["versions"]["jax"] and told["devices"] and re.fullmatch(r"[0-9a-f]{40}\+?", told["commit"])
    assert told["members"][1] == {
        "id": 1,
        "predictor": "net",
        "point": {"task.num_sequences": "inf", "seed": 0},
        "group": 0,
        "steps": 10_000,
    }


def test_results_are_readable_while_the_run_goes_on_and_from_the_rows_alone(tmp_path):
    table = filled(tmp_path)
    with opened(tmp_path) as store:
        store.append(IDS, 9, {ERROR: np.asarray([0.1, 0.2])})
        assert len(load(tmp_path)) == len(table) + 2  # the table on disk is older than the rows
    (tmp_path / RESULTS).unlink()
    assert len(load(tmp_path)) == len(table) + 2


def test_a_shared_table_needs_no_rows(tmp_path):
    table = filled(tmp_path)
    (tmp_path / ROWS).unlink()
    pd.testing.assert_frame_equal(load(tmp_path), table)


def test_a_truncated_table_is_named_and_made_again_from_the_rows(tmp_path, caplog):
    table = filled(tmp_path)
    content = (tmp_path / RESULTS).read_bytes()
    (tmp_path / RESULTS).write_bytes(content[: len(content) // 2])
    pd.testing.assert_frame_equal(load(tmp_path), table)
    assert RESULTS in caplog.text and "damaged" in caplog.text


def test_a_flipped_bit_of_the_table_is_noticed_and_the_rows_read(tmp_path):
    table = filled(tmp_path)
    content = (tmp_path / RESULTS).read_bytes()
    for place in range(4, len(content), len(content) // 40):
        (tmp_path / RESULTS).write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        pd.testing.assert_frame_equal(load(tmp_path), table)


def test_a_damaged_table_without_rows_is_a_sentence(tmp_path):
    filled(tmp_path)
    content = (tmp_path / RESULTS).read_bytes()
    (tmp_path / ROWS).unlink()
    (tmp_path / RESULTS).write_bytes(content[:300] + bytes(100) + content[400:])
    with pytest.raises(StoreError, match="results.parquet is damaged"):
        load(tmp_path)


def test_a_changed_digit_of_a_row_is_noticed(tmp_path):
    filled(tmp_path)
    content = (tmp_path / ROWS).read_bytes()
    (tmp_path / ROWS).write_bytes(content.replace(b'"step":3', b'"step":5'))
    with pytest.raises(StoreError, match="Line 2 .* is damaged .it is not what was written"):
        opened(tmp_path)


def test_rows_whose_study_is_gone_are_not_taken_for_another(tmp_path):
    filled(tmp_path)
    (tmp_path / "study.json").unlink()
    with pytest.raises(StoreError, match="holds rows.jsonl of a run whose study.json is gone"):
        opened(tmp_path)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_a_crash_cut_off_is_named_and_dropped(tmp_path, caplog, cut):
    filled(tmp_path)
    rows = tmp_path / ROWS
    content = rows.read_bytes()
    rows.write_bytes(content[:-cut])
    with caplog.at_level(logging.WARNING), opened(tmp_path) as store:
        assert [line.step for line in store.lines] == [0, 3, 7]
        assert store.ended_at(IDS) is None  # the cut line was the end
        store.finish(IDS, 7)
    assert "Line 4" in caplog.text and "cut off" in caplog.text
    assert [line.ids for line in written(rows)] == [IDS] * 4 and written(rows)[3].finished
    assert rows.read_bytes().splitlines()[:3] == content.splitlines()[:3]


def test_reading_alone_repairs_nothing(tmp_path):
    filled(tmp_path)
    torn = (tmp_path / ROWS).read_bytes()[:-5]
    (tmp_path / ROWS).write_bytes(torn)
    assert len(load(tmp_path)) == 6
    assert (tmp_path / ROWS).read_bytes() == torn


def test_a_damaged_line_that_no_crash_explains_is_named_and_kept(tmp_path):
    filled(tmp_path)
    content = (tmp_path / ROWS).read_bytes().replace(b'"step":3', b'"step"x3')
    (tmp_path / ROWS).write_bytes(content)
    with pytest.raises(StoreError, match=r"Line 2 of .*rows\.jsonl is damaged"):
        opened(tmp_path)
    assert (tmp_path / ROWS).read_bytes() == content


def test_the_folder_of_another_study_is_refused_by_name(tmp_path):
    filled(tmp_path)
    before = (tmp_path / ROWS).read_bytes()
    other = dataclasses.replace(STUDY_, name="yours", task=ClassMixture(p_high=0.8))
    with pytest.raises(StoreError, match=r"'mine'.*'yours'.*differ in task\.p_high\b.*another --workdir"):
        opened(tmp_path, other)
    assert (tmp_path / ROWS).read_bytes() == before


def test_of_two_studies_that_begin_in_a_folder_at_the_same_moment_one_is_refused(tmp_path, monkeypatch):
    real, other = description.of, dataclasses.replace(STUDY_, task=ClassMixture(p_high=0.8))

    def meanwhile(*args):
        monkeypatch.setattr(description, "of", real)
        with Store(tmp_path, other, plan(other), shard=Shard(of=2, number=1)):
            return real(*args)

    monkeypatch.setattr(description, "of", meanwhile)
    with pytest.raises(StoreError, match=r"differ in task\.p_high\b"):
        Store(tmp_path, STUDY_, plan(STUDY_), shard=Shard(of=2, number=2))
    assert description.read(tmp_path)["config"]["task"]["p_high"] == 0.8 and not list(tmp_path.glob(".*tmp"))


def test_a_file_system_without_hard_links_does(tmp_path, monkeypatch):
    with failing(monkeypatch, "link", errno.EPERM):
        filled(tmp_path)
    assert description.read(tmp_path)["name"] == "mine" and not list(tmp_path.glob(".*tmp"))


def test_what_to_check_and_draw_is_taken_anew(tmp_path):
    filled(tmp_path)
    figure = Lines(name="mine", title="Mine")
    with opened(tmp_path, dataclasses.replace(STUDY_, figures=(figure,))) as store:
        assert store.ended_at(IDS) == 7
    assert figures.from_json(description.read(tmp_path)["figures"]) == (figure,)


def test_another_name_is_the_same_study(tmp_path):
    filled(tmp_path)
    with opened(tmp_path, dataclasses.replace(STUDY_, name="renamed")) as store:
        assert store.ended_at(IDS) == 7


@pytest.mark.parametrize("damage", ["", "{", '{"name": 3'])
def test_a_damaged_study_json_is_named(tmp_path, damage):
    filled(tmp_path)
    (tmp_path / STUDY).write_text(damage)
    with pytest.raises(StoreError, match=r"study\.json is damaged"):
        opened(tmp_path)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"holds no study\.json"):
        description.read(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is not a folder"):
        opened(tmp_path / "file")


def test_one_writer_at_a_time_and_the_other_is_named(tmp_path):
    hold = (
        "import fcntl, os, sys\n"
        "file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print(os.getpid(), 'of elsewhere', file=file, flush=True); print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path / LOCK], **pipes) as other:
        assert other.stdout.readline() == "held\n"
        told = rf"Process {other.pid} of elsewhere is writing to .*; if it is gone, delete {tmp_path / LOCK}\.$"
        with pytest.raises(StoreError, match=told):
            opened(tmp_path)
        other.communicate("")
    with opened(tmp_path), pytest.raises(StoreError, match=rf"Process {os.getpid()} of .*choose another --workdir\.$"):
        opened(tmp_path)
    with opened(tmp_path):  # a refused or finished writer leaves no lock behind
        pass


@contextlib.contextmanager
def failing(monkeypatch, name, number, after=0):
    """Makes an os function fail with an error number; `write` first writes a few bytes, as a full disk does."""
    real = getattr(os, name)

    def fail(*args):
        if name == "write":
            real(args[0], args[1][:after])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_a_sentence_and_earlier_rows_stay(tmp_path, monkeypatch, call):
    with opened(tmp_path) as store:
        store.append(IDS, 0, {ERROR: np.asarray([0.5, 0.5])})
        before = (tmp_path / ROWS).read_bytes()
        with (
            failing(monkeypatch, call, errno.ENOSPC, after=9),
            pytest.raises(StoreError, match="disk of .* is full"),
        ):
            store.append(IDS, 3, {ERROR: np.asarray([0.5, 0.5])})
        assert (tmp_path / ROWS).read_bytes() == before
        store.append(IDS, 3, {ERROR: np.asarray([0.5, 0.5])})  # there is room again
    assert len(load(tmp_path)) == 4


def test_a_table_that_does_not_fit_leaves_the_old_one(tmp_path, monkeypatch):
    filled(tmp_path)
    before = (tmp_path / RESULTS).read_bytes()
    with opened(tmp_path) as store:
        store.append(IDS, 9, {ERROR: np.asarray([0.5, 0.5])})
        with failing(monkeypatch, "fsync", errno.ENOSPC), pytest.raises(StoreError, match="is full"):
            store.tabulate()
    assert (tmp_path / RESULTS).read_bytes() == before
    assert not list(tmp_path.glob(".*tmp"))


def test_a_read_only_folder_is_a_sentence(tmp_path, monkeypatch):
    with failing(monkeypatch, "open", errno.EROFS), pytest.raises(StoreError, match="cannot be written to"):
        opened(tmp_path)
