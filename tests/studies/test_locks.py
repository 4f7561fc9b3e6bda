"""A lock that there cannot be is a sentence. Who is kept out by one: `test_store`, `test_shards`, `test_status`."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from icl_sim.studies.files import StoreError
from icl_sim.studies.locks import locked


def test_a_file_system_without_locks_is_a_sentence(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=rf"The file system of {tmp_path} has no locks \(No locks available\)"):
        locked(tmp_path)
