"""Files of a run's folder: written as a whole or not at all, and what the file system refuses as a sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class StoreError(ValueError):
    """Something is wrong with a run's folder; the message is a sentence for its owner."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces a file as a whole: readers, and a crash, see the old content or the new."""
    with _written_beside(path, content) as temporary:
        os.replace(temporary, path)


def write_once(path: Path, content: bytes) -> None:
    """Makes a file as a whole; of several that make it at the same moment, the first one's stays."""
    with _written_beside(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links: the last one's stays
            os.replace(temporary, path)


@contextlib.contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """A file of this content beside another, which it can replace; if not, it is deleted."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")  # containers have equal process ids
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses into a sentence about the folder."""
    full = f"The disk of {folder} is full. What was written is intact: make room and run again."
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(full) from error
        if error.errno in _READ_ONLY:
            raise StoreError(f"{folder} cannot be written to ({error.strerror}); choose another --workdir.") from error
        where = error.filename or folder
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
            raise StoreError(f"{where} is not a folder; choose another --workdir.") from error
        if error.errno == errno.EISDIR:
            raise StoreError(f"{where} is a folder, and a file belongs there; choose another --workdir.") from error
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            raise StoreError(f"{where} cannot be made ({error.strerror}); choose another --workdir.") from error
        raise
    except Exception as error:
        # Checkpoints are written by a library of its own kinds of errors.
        if "No space left" in str(error) or ("RESOURCE_EXHAUSTED" in str(error) and "writing" in str(error)):
            raise StoreError(full) from error
        raise
