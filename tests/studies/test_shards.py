"""Shards: each member once, whichever job does it, and the table of a study that was never divided."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import random
import threading

import numpy as np
import pandas as pd
import pytest

from icl_sim.studies import locks, runner
from icl_sim.studies import shards as shards_module
from icl_sim.studies.files import StoreError
from icl_sim.studies.locks import LOCK
from icl_sim.studies.plan import plan
from icl_sim.studies.runner import run
from icl_sim.studies.shards import (
    CHECKPOINTS,
    Shard,
    begun,
    checkpoint_folder,
    checkpoint_folders,
    homes,
    pack,
)
from icl_sim.studies.store import RESULTS, ROWS, Store, load
from icl_sim.studies.sweep import product
from tests.studies.fake_engine import STUDY, Killed, raise_at

MEMBERS = range(8)


def shards(of):
    return [Shard(of=of, number=number) for number in range(1, of + 1)]


@pytest.mark.parametrize("of", [1, 2, 3, 5, 8, 20])
def test_packs_hold_every_member_once_and_cut_few_groups(of):
    planned = plan(STUDY)
    packs = [pack(planned, shard) for shard in shards(of)]
    ids = [number for part in packs for group, _ in part for number in group.ids]
    assert sorted(ids) == list(MEMBERS)
    assert sum(map(len, packs)) <= len(planned.groups) + of - 1
    sizes = [sum(len(group) for group, _ in part) for part in packs]
    assert max(sizes) <= -(-8 // of) + 1 and (of > 8 or min(sizes) >= 1)
    seeds = {i: seed for part in packs for g, _ in part for i, seed in zip(g.ids, g.members.seed, strict=True)}
    assert seeds == {entry.id: entry.member.seed for entry in planned.entries}  # settings go with their members


def test_work_is_divided_by_updates_not_by_members():
    study = dataclasses.replace(STUDY, sweep=product({"training.steps": [10, 70], "seed": range(4)}))
    first, second = (pack(plan(study), shard) for shard in shards(2))
    done = [sum(steps * len(group) for group, steps in part) for part in (first, second)]
    assert done[0] + done[1] == 2 * 4 * 80 and abs(done[0] - done[1]) <= 70


@pytest.mark.parametrize("of", [1, 3, 8])
def test_shards_in_any_order_make_the_table_of_the_whole(engine, expected, tmp_path, of):
    order = shards(of)
    random.Random(0).shuffle(order)
    ended = [run(STUDY, tmp_path, shard=shard, quiet=True) for shard in order]
    assert [status.complete for status in ended] == [False] * (of - 1) + [True]
    assert all(status.finished for status in ended)
    assert (tmp_path / RESULTS).exists() and not (tmp_path / ROWS).read_bytes()
    pd.testing.assert_frame_equal(load(tmp_path), expected)
    engine.chunks.clear()
    assert run(STUDY, tmp_path, quiet=True).simulated == 0 and engine.chunks == []
    assert run(STUDY, tmp_path, shard=order[0], quiet=True).simulated == 0


def test_without_a_shard_those_that_were_begun_are_finished(engine, expected, tmp_path):
    run(STUDY, tmp_path, shard=Shard(of=3, number=2), quiet=True)
    engine.on_chunk = raise_at(0, 20, Killed())
    with pytest.raises(Killed):
        run(STUDY, tmp_path, shard=Shard(of=3, number=1), quiet=True)
    assert begun(tmp_path) == shards(3)
    engine.on_chunk = lambda *at: None
    engine.chunks.clear()
    run(STUDY, tmp_path, quiet=True)
    assert engine.chunks[0] == (0, 12)  # from the checkpoint of the shard, at step 10
    pd.testing.assert_frame_equal(load(tmp_path), expected)


def test_what_the_whole_or_another_division_has_done_is_not_done_again(engine, expected, tmp_path):
    engine.on_chunk = raise_at(4, 10, Killed())  # the first group is done, the second begun
    with pytest.raises(Killed):
        run(STUDY, tmp_path, quiet=True)
    engine.on_chunk = lambda *at: None
    run(STUDY, tmp_path, shard=Shard(of=4, number=3), quiet=True)  # members 4 and 5
    engine.chunks.clear()
    for shard in shards(3):
        run(STUDY, tmp_path, shard=shard, quiet=True)
    assert {member for member, _ in engine.chunks} == {6}
    pd.testing.assert_frame_equal(load(tmp_path), expected)


def test_a_member_in_two_lines_counts_once_and_the_last_one_counts(engine, expected, tmp_path):
    engine.on_chunk = raise_at(0, 30, Killed())
    with pytest.raises(Killed):
        run(STUDY, tmp_path, quiet=True)
    engine.on_chunk = lambda *at: None
    for shard in shards(3):
        run(STUDY, tmp_path, shard=shard, quiet=True)
    pd.testing.assert_frame_equal(load(tmp_path), expected)
    assert not load(tmp_path).duplicated(["member", "step", "eval_set", "metric"]).any()


def test_chaos_leaves_every_row_once(engine, expected, tmp_path):
    dice, kills = random.Random(1), 0

    def strike(member, step):
        nonlocal kills
        if dice.random() < 0.2:
            kills += 1
            raise Killed()

    engine.on_chunk = engine.on_save = strike
    left = list(itertools.chain(shards(3), shards(2)))
    while left:
        shard = dice.choice(left)
        try:
            if run(STUDY, tmp_path, shard=shard, quiet=True).finished:
                left.remove(shard)
        except Killed:
            pass
    assert kills > 10
    pd.testing.assert_frame_equal(load(tmp_path), expected)


def test_the_remains_of_a_group_have_checkpoints_of_their_own(tmp_path):
    planned = plan(STUDY)
    whole, _ = pack(planned, None)[0]
    (cut, _), *_ = pack(planned, Shard(of=4, number=1))
    assert checkpoint_folder(tmp_path, whole, planned) == tmp_path / CHECKPOINTS / "000000"
    assert checkpoint_folder(tmp_path, cut, planned).name.startswith("000000-")


@pytest.mark.parametrize("content", ["", "3", "{}", "[[]]", "[" * 100_000])
def test_a_damaged_note_of_whose_checkpoints_are_there_is_as_good_as_none(tmp_path, content):
    planned = plan(STUDY)
    for name in ("000000", "000004"):
        (tmp_path / CHECKPOINTS / name).mkdir(parents=True)
        (tmp_path / CHECKPOINTS / name / shards_module.MEMBERS).write_text(content)
    ((folder, group),) = checkpoint_folders(tmp_path, planned, 5)
    assert folder.name == "000004" and group.ids == planned.groups[1].ids


def test_a_disk_that_is_full_stops_every_shard_and_loses_nothing(engine, expected, tmp_path):
    def refuse(member, step):
        if step == 20:
            raise OSError(errno.ENOSPC, "No space left on device")

    engine.on_save = refuse
    for shard in shards(2):
        with pytest.raises(StoreError, match="is full"):
            run(STUDY, tmp_path, shard=shard, quiet=True)
    engine.on_save = lambda *at: None
    engine.chunks.clear()
    for shard in shards(2):
        run(STUDY, tmp_path, shard=shard, quiet=True)
    assert min(step for _, step in engine.chunks) == 12  # from the checkpoints at 10
    pd.testing.assert_frame_equal(load(tmp_path), expected)


def test_folders_that_are_no_shards_are_left_alone(tmp_path):
    for name in ("0-of-0", "5-of-3", "0-of-3", "2-of-3", "02-of-03", "1-of-999999", "x"):
        (tmp_path / "shards" / name).mkdir(parents=True)
    assert begun(tmp_path) == shards(3)
    assert homes(tmp_path) == [tmp_path, tmp_path / "shards" / "2-of-3"]


def test_one_writer_a_shard_and_none_beside_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    planned, (first, second) = plan(STUDY), shards(2)
    with Store(tmp_path, STUDY, planned, shard=first), Store(tmp_path, STUDY, planned, shard=second):
        with pytest.raises(StoreError, match=r"Process \d+ of .* is writing to .*1-of-2"):
            Store(tmp_path, STUDY, planned, shard=first)
        with pytest.raises(StoreError, match=r"Process \d+ of .* is writing to "):
            Store(tmp_path, STUDY, planned)
    with Store(tmp_path, STUDY, planned), pytest.raises(StoreError, match=r"Process \d+ of .* is writing"):
        Store(tmp_path, STUDY, planned, shard=first)
    assert (first.folder(tmp_path) / LOCK).exists()


def test_only_the_last_one_to_finish_holds_the_lock_of_the_whole(engine, expected, tmp_path, monkeypatch):
    opened = []

    class Noted(Store):
        def __init__(self, workdir, study, planned, command, shard=None):
            super().__init__(workdir, study, planned, command, shard)
            opened.append(shard)

    monkeypatch.setattr(runner, "Store", Noted)
    for shard in shards(3):
        run(STUDY, tmp_path, shard=shard, quiet=True)
    assert opened == [*shards(3), None]
    pd.testing.assert_frame_equal(load(tmp_path), expected)


def test_a_shard_begins_once_another_has_made_the_table(engine, expected, tmp_path):
    first, second = shards(2)
    run(STUDY, tmp_path, shard=first, quiet=True)
    with Store(tmp_path, STUDY, plan(STUDY)) as whole:
        threading.Timer(0.5, os.close, [whole._locks.pop()]).start()
        assert run(STUDY, tmp_path, shard=second, quiet=True).complete
    pd.testing.assert_frame_equal(load(tmp_path), expected)


def test_a_shard_of_a_different_study_is_refused(engine, tmp_path):
    run(STUDY, tmp_path, shard=Shard(of=2, number=1), quiet=True)
    with pytest.raises(StoreError, match=r"holds the study .* differ in training.batch_size"):
        run(
            dataclasses.replace(STUDY, training=dataclasses.replace(STUDY.training, batch_size=8)),
            tmp_path,
            shard=Shard(of=2, number=2),
        )
    assert json.loads((tmp_path / "study.json").read_text())["config"]["training"]["batch_size"] == 4


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1/0", "a/b", "1", "1/2/3", "-1/2", "1/1000000"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"it must be i/n with i from 1 to n"):
        Shard.parse(text)


def test_a_shard_is_read_as_it_is_written():
    assert Shard.parse(" 2 / 8 ") == Shard(of=8, number=2) and str(Shard.parse("2/8")) == "2/8"
    assert np.all([Shard.parse(str(shard)) == shard for shard in shards(12)])


def test_more_shards_than_members_are_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"The shard is 1/100000, and the study has \d+ members; at most one shard"):
        run(STUDY, tmp_path / "run", shard=Shard.parse("1/100000"), quiet=True)
    assert not (tmp_path / "run").exists()
