"""Checkpoints come back bit for bit, or not at all."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from icl_sim.engine import checkpoints as checkpoints_module
from icl_sim.engine.checkpoints import CheckpointError, Checkpoints, newest
from tests.engine.toys import Corners, assert_same, group, measures, member, run

MEMBERS = group(member(seed=0), member(seed=1))


@pytest.fixture(scope="module")
def chunks():
    return run(MEMBERS, chunk_steps=20)


@pytest.fixture(scope="module")
def states(chunks):
    return {chunk.step: state for chunk, state in chunks}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, states):
    """A folder with the checkpoints of steps 20 and 60, made once and copied by tests."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step in (20, 60):
        checkpoints.save(step, states[step])
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def restored(folder, members=MEMBERS):
    return Checkpoints(folder).restore(members)


def test_the_newest_comes_back_bit_for_bit(saved, states):
    state, step = restored(saved)
    assert step == 60
    assert_same(state, states[60])


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert restored(tmp_path / "new") is None


def test_a_run_resumed_from_disk_equals_the_uninterrupted(folder, chunks):
    shutil.rmtree(folder / "60")
    state, step = restored(folder)
    rest = run(MEMBERS, state=state, step=step, chunk_steps=7)
    assert_same(measures(rest), {60: measures(chunks)[60]})
    assert_same(rest[-1][1], chunks[-1][1])


def test_two_are_kept(tmp_path, states):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 4, 15, 20):
        checkpoints.save(step, states[step])
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [15, 20]


def test_a_step_is_saved_again_where_it_is_reached_again(folder, states):
    other = {"loss_sum": np.float32([7, 8])}
    checkpoints = Checkpoints(folder)
    checkpoints.save(60, states[60].__class__(**{**vars(states[60]), **other}))
    state, step = restored(folder)
    assert step == 60 and state.loss_sum.tolist() == [7, 8]


def test_a_group_that_starts_again_is_not_outlived_by_what_was(folder, states):
    """The newest two are kept, and those of before would be the newest."""
    checkpoints = Checkpoints(folder)
    assert checkpoints.restore(MEMBERS)[1] == 60
    checkpoints.set_all_aside()
    for step in (1, 4, 15):
        checkpoints.save(step, states[step])
    state, step = restored(folder)
    assert step == 15
    assert_same(state, states[15])
    assert {path.name for path in folder.iterdir() if path.is_dir()} >= {"4", "15", "20.aside", "60.aside"}


def test_what_a_killed_save_has_left_is_cleared_away(folder):
    left = folder / "61.orbax-checkpoint-tmp-7"
    left.mkdir()
    assert restored(folder)[1] == 60 and not left.exists()


def test_checksums_that_are_none_are_damage(folder, caplog):
    for content in ("5", "[]", "null", "{}"):
        (folder / "60" / "checksums.json").write_text(content)
        assert restored(folder)[1] == 20 and "checksums.json is damaged" in caplog.text
        (folder / "60.damaged").rename(folder / "60")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, truncate, lambda path: path.unlink()], ids=["flipped", "cut", "missing"])
def test_a_damaged_file_is_noticed_and_an_older_checkpoint_used(folder, saved, states, damage, caplog):
    """Every file in turn, whatever it holds; one that is empty can only go missing."""
    paths = sorted(path for path in (folder / "60").rglob("*") if path.is_file())
    paths = [path for path in paths if path.stat().st_size or damage not in (flip, truncate)]
    assert len(paths) > 5
    for path in paths:
        damage(path)
        caplog.clear()
        state, step = restored(folder)
        assert step == 20
        assert_same(state, states[20])
        assert f"The checkpoint {folder / '60'} cannot be read" in caplog.text
        assert "its file" in caplog.text or f"it has no {path.name}" in caplog.text
        assert (folder / "60.damaged").is_dir()
        shutil.copytree(saved / "60", folder / "60")


def test_where_none_is_intact_all_are_named(folder):
    for step in (20, 60):
        flip(folder / str(step) / "_CHECKPOINT_METADATA")
    with pytest.raises(CheckpointError) as error:
        restored(folder)
    for step in (20, 60):
        assert f"{folder / str(step)} cannot be read (its file _CHECKPOINT_METADATA is damaged)" in str(error.value)


def test_after_damage_the_same_step_can_be_saved_again(folder, states):
    flip(folder / "60" / "_CHECKPOINT_METADATA")
    checkpoints = Checkpoints(folder)
    checkpoints.save(60, states[60])
    state, step = restored(folder)
    assert step == 60
    assert_same(state, states[60])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (group(member(), member(), member()), r"bias.* has shape \(2, 2\), the study needs \(3, 2\)"),
        (group(*[member(task=Corners(classes=3))] * 2), r"has shape .*, the study needs"),
    ],
)
def test_a_checkpoint_of_another_study_is_named_with_what_does_not_fit(saved, other, named):
    with pytest.raises(CheckpointError, match=named):
        restored(saved, other)


def test_what_killed_saves_left_behind_is_cleaned_up(folder, states):
    whole = {path.name for path in folder.iterdir()}
    for name in ("80.orbax-checkpoint-tmp", "20.outdated"):
        shutil.copytree(folder / "60", folder / name)
    state, step = restored(folder)
    assert step == 60 and {path.name for path in folder.iterdir()} == whole


def test_a_disk_without_room_is_told_before_anything_is_written(folder, states, monkeypatch):
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    checkpoints = Checkpoints(folder)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(61, states[60])
    assert sorted(folder.rglob("*")) == before


def test_a_reader_touches_nothing_and_sees_what_is_whole(folder, states):
    shutil.copytree(folder / "60", folder / "80.orbax-checkpoint-tmp")
    shutil.copytree(folder / "60", folder / "80", ignore=shutil.ignore_patterns("checksums.json"))  # being saved
    flip(folder / "60" / "_CHECKPOINT_METADATA")
    before = sorted(folder.rglob("*"))
    state, step = newest(folder, MEMBERS)
    assert step == 20 and sorted(folder.rglob("*")) == before
    assert_same(state, states[20])
    flip(folder / "20" / "_CHECKPOINT_METADATA")
    with pytest.raises(CheckpointError, match=r"60 cannot be read .*20 cannot be read"):
        newest(folder, MEMBERS)
    assert newest(folder / "new", MEMBERS) is None and not (folder / "new").exists()


def test_a_reader_looks_again_where_all_that_it_found_was_replaced(folder, states, monkeypatch, caplog):
    real, writer = checkpoints_module._damage, Checkpoints(folder)

    def replaced_meanwhile(path):
        monkeypatch.setattr(checkpoints_module, "_damage", real)
        for step in (70, 80):
            writer.save(step, states[60])
        return real(path)

    monkeypatch.setattr(checkpoints_module, "_damage", replaced_meanwhile)
    assert newest(folder, MEMBERS)[1] == 80
    assert not caplog.text
