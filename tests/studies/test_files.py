"""Files are whole, whoever writes beside, and what the file system refuses is a sentence."""

from __future__ import annotations

import os

import pytest

from icl_sim.studies.files import StoreError, explained, write_atomically


def test_processes_of_one_number_in_two_containers_may_write_a_file_at_the_same_time(tmp_path, monkeypatch):
    real = os.fsync

    def meanwhile(descriptor):
        monkeypatch.setattr(os, "fsync", real)
        write_atomically(tmp_path / "file", b"of the other")
        assert (tmp_path / "file").read_bytes() == b"of the other"
        real(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomically(tmp_path / "file", b"of the one")
    assert (tmp_path / "file").read_bytes() == b"of the one" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_under_a_checkpoint_is_told_like_any_other(tmp_path):
    with pytest.raises(StoreError, match="is full"), explained(tmp_path):
        raise RuntimeError("RESOURCE_EXHAUSTED: Error writing: No space left on device")
