"""Who writes in a run's folder: the whole run holds its lock alone; shards share it, and each holds its own alone."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
from pathlib import Path

from icl_sim.studies.files import StoreError
from icl_sim.studies.shards import homes

LOCK = "run.lock"
# Seconds until a lock that another holds counts as taken: who asks for the writer holds one for a moment, and the
# shard that makes the table of all holds that of the whole.
_MOMENT, PATIENCE = 0.2, 10.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class BusyError(StoreError):
    """Another process writes there."""


def locked(folder: Path, *, shared: bool = False) -> int:
    """A descriptor that holds a folder's lock, which the system lets go when the process ends, however it ends."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    until = time.monotonic() + (PATIENCE if shared else _MOMENT)
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            os.close(descriptor)
            raise busy(folder, next(filter(None, map(writer, reversed(homes(folder)))), "unknown")) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise
            raise StoreError(
                f"The file system of {folder} has no locks ({error.strerror}), which keep two runs out of one folder; "
                "choose another --workdir."
            ) from error
    if not shared:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} of {platform.node()}".encode())
    return descriptor


def writer(folder: Path, patience: float = 0.0) -> str:
    """Who holds the lock of a folder alone, as "PID of HOST", and for longer than `patience` seconds; empty if nobody
    does."""
    until = time.monotonic() + patience
    while True:
        try:
            with open(folder / LOCK) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return ""
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            return (folder / LOCK).read_text(errors="replace").strip()
        except OSError:
            return ""


def busy(folder: Path, who: str) -> BusyError:
    """The error that names who writes to a folder, and what to do about it."""
    advice = "wait for it or choose another --workdir"
    if not who.endswith(f" of {platform.node()}"):  # a network disk may not hear that a machine is no more
        advice += f"; if it is gone, delete {folder / LOCK}"
    return BusyError(f"Process {who} is writing to {folder}; {advice}.")
