"""The folder of a study's run: what was run, and its results, safe to stop at any moment.

    study.json        the full config, versions, commit, devices, and every member's place in the sweep
    rows.jsonl        the record while running: a line per group and evaluation step, only appended to
    results.parquet   the same as a table, always rewritten as a whole
    run.lock          who writes
    shards/           the same of every shard: rows.jsonl, run.lock, checkpoints

`rows.jsonl` is the truth and the table is made from it. A later line for the same members and step replaces
the earlier one, so steps that are done again after a resume do no harm. A line without its end was cut off by
a crash and is dropped.

The whole run holds its lock alone; shards share it, and each holds its own alone.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import importlib.metadata
import json
import logging
import os
import platform
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icl_sim.names import expanded
from icl_sim.studies import records
from icl_sim.studies.shards import Shard, homes
from icl_sim.studies.table import Line, tabulated

if TYPE_CHECKING:
    import pandas as pd

    from icl_sim.studies.plan import Plan
    from icl_sim.studies.study import Study

STUDY, ROWS, RESULTS, LOCK = "study.json", "rows.jsonl", "results.parquet", "run.lock"
PACKAGES = (
    "icl_sim",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "pandas",
    "pyarrow",
    "ml_collections",
)
_BYTES = b"icl_sim.bytes_of_rows"  # in the table's metadata: how much of rows.jsonl it holds
_ABOUT = {  # what the parts of study.json are
    "name": str,
    "description": str,
    "fingerprint": str,
    "command": str,
    "config": dict,
    "versions": dict,
    "devices": list,
    "claims": list,
    "figures": list,
    "members": list,
}
_CONFIG = {"name": str, "task": dict, "training": dict, "headline": list}
_TRAINING = {"steps": int}
_MEMBER = {"predictor": str, "group": int, "steps": int}
# Seconds until a lock that another holds counts as taken: who asks for the writer holds one for a moment, and the
# shard that makes the table of all holds that of the whole.
_MOMENT, _PATIENCE = 0.2, 10.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

log = logging.getLogger("icl_sim")


class StoreError(ValueError):
    """Something is wrong with a run's folder; the message is a sentence for its owner."""


class BusyError(StoreError):
    """Another process writes there."""


class Store:
    """The folder of one study's run, open for writing by this process alone, or for one shard of it. Use as a
    context manager.

    Attributes:
      folder: of the run.
      home: where rows and checkpoints are written: the same, or the shard's folder in it.
      about: what `study.json` says.
      lines: of the whole run, those of other shards as they were when it was opened.
    """

    def __init__(
        self, workdir: str | os.PathLike, study: Study, plan: Plan, command: str = "", shard: Shard | None = None
    ):
        self.folder = expanded(workdir)
        self.home = self.folder if shard is None else shard.folder(self.folder)
        self._locks: list[int] = []
        try:
            with explained(self.folder):
                self.home.mkdir(parents=True, exist_ok=True)
                self._locks.append(_locked(self.folder, shared=shard is not None))
                if shard is not None:
                    self._locks.append(_locked(self.home))
                self._open(study, plan, command)
        except BaseException:
            self._unlock()
            raise

    def _open(self, study: Study, plan: Plan, command: str) -> None:
        path = self.folder / STUDY
        if not path.exists():
            _refuse_nameless(self.folder)
            write_once(path, _json(_description(study, plan, command)))
        self.about = about(self.folder)  # perhaps of another study, which began at the same moment
        refuse_other(self.folder, self.about, study)
        # What to check and to draw needs no training: the newest counts.
        shown = {"claims": records.encode(study.claims), "figures": records.encode(study.figures)}
        if any(self.about.get(name) != value for name, value in shown.items()):
            self.about |= shown
            write_atomically(path, _json(self.about))
        self.lines: list[Line] = []
        self._steps: dict[int, set[int]] = {}
        self._ends: dict[int, int] = {}
        for home in homes(self.folder):
            for line in _read_lines(home / ROWS, repair=home == self.home):
                self._note(line)
        self._rows = os.open(self.home / ROWS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._rows)
        self._unlock()

    def has(self, ids: Sequence[int], step: int) -> bool:
        """Whether there are measures of all these members at a step."""
        return all(step in self._steps.get(number, ()) for number in ids)

    def ended_at(self, ids: Sequence[int]) -> int | None:
        """The last step at which the end of one of these members was noted, None if that of any was not."""
        ends = [self._ends.get(number) for number in ids]
        return None if None in ends else max(end for end in ends if end is not None)

    def append(self, ids: Sequence[int], step: int, measures: Mapping[tuple[str, str], np.ndarray]) -> None:
        """Adds what a group measured at a step; on disk when this returns."""
        self._append(Line(tuple(ids), step, measures, time=time.time()))

    def finish(self, ids: Sequence[int], step: int) -> None:
        """Notes that a group is done."""
        self._append(Line(tuple(ids), step, {}, finished=True, time=time.time()))

    def is_tabulated(self) -> bool:
        """Whether `results.parquet` holds all lines."""
        return is_tabulated(self.folder)

    def tabulate(self) -> pd.DataFrame:
        """Writes `results.parquet` from all lines so far, and returns the table."""
        table = tabulated(self.lines, self.about["members"])
        with explained(self.folder):
            _write_table(self.folder / RESULTS, table, _bytes_of_rows(self.folder))
        return table

    def _append(self, line: Line) -> None:
        size = os.fstat(self._rows).st_size
        try:
            with explained(self.folder):
                _write(self._rows, line.to_json().encode() + b"\n")
                os.fsync(self._rows)
        except StoreError:
            with contextlib.suppress(OSError):  # a full disk may have taken half a line
                os.ftruncate(self._rows, size)
            raise
        self._note(line)

    def _note(self, line: Line) -> None:
        self.lines.append(line)
        for number in line.ids:
            if line.finished:
                self._ends[number] = line.step
            else:
                self._steps.setdefault(number, set()).add(line.step)

    def _unlock(self) -> None:
        for lock in self._locks:
            os.close(lock)


def about(workdir: str | os.PathLike) -> dict[str, Any]:
    """What `study.json` says. Raises StoreError if there is none or if it is damaged."""
    path = expanded(workdir) / STUDY
    try:
        told = json.loads(path.read_text())
        _check_about(told)
        return told
    except FileNotFoundError:
        raise StoreError(f"{workdir} holds no {STUDY}, so it is not the folder of a study's run.") from None
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"{path} is damaged ({error}); without it {workdir} cannot be read or gone on with."
        ) from error


def _check_about(told: Any) -> None:
    """Raises ValueError, the end of a sentence, if what `study.json` says is not what readers of it rely on."""
    if not isinstance(told, dict) or not {"config", "members"} <= set(told):
        raise ValueError("it is not the description of a study")
    _check_kinds(told, _ABOUT, "its ")
    _check_kinds(told["config"], _CONFIG, "its config.")
    _check_kinds(told["config"].get("training", {}), _TRAINING, "its config.training.")
    _check_kinds(told["config"].get("task", {}), {"kind": str}, "its config.task.")
    for number, member in enumerate(told["members"]):
        if not isinstance(member, dict) or not isinstance(member.get("point"), dict) or "predictor" not in member:
            raise ValueError("a member of it has no predictor or no point")
        _check_kinds(member, _MEMBER, f"member {number}'s ")
        _check_kinds(member["point"], {"training.steps": int}, f"of member {number}'s point ")
        if member["point"].keys() != told["members"][0]["point"].keys():
            raise ValueError(f"the points of its members 0 and {number} do not name the same")


def _check_kinds(told: Mapping[str, Any], kinds: Mapping[str, type], which: str) -> None:
    words = {str: "text", int: "whole number from 0"}
    for name, kind in kinds.items():
        value = told.get(name)
        sound = value is None or (isinstance(value, kind) and (kind is not int or 0 <= value < 2**31))
        if not sound:
            raise ValueError(f"{which}{name} is no {words.get(kind, kind.__name__)}")


def is_tabulated(folder: Path) -> bool:
    """Whether the table of a run's folder holds all rows that there are."""
    path = folder / RESULTS
    return path.exists() and _bytes_held(path) == _bytes_of_rows(folder)


def load(workdir: str | os.PathLike) -> pd.DataFrame:
    """The results of a run so far, finished or not: from `results.parquet` where it is complete, else from the rows."""
    folder = expanded(workdir)
    told, path = about(folder), folder / RESULTS
    rows = [home / ROWS for home in homes(folder) if (home / ROWS).exists()]
    if path.exists() and (not rows or _bytes_held(path) == _bytes_of_rows(folder)):
        try:
            return _read_table(path)
        except Exception as error:  # what damaged tables make their readers raise is of many kinds
            if not rows:
                raise StoreError(f"{path} is damaged and cannot be read ({error}).") from error
            log.warning("%s is damaged (%s) and is left aside.", path, error)
    if not rows:
        raise StoreError(f"{workdir} holds no results yet.")
    return tabulated([line for each in rows for line in _read_lines(each, repair=False)], told["members"])


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


def _locked(folder: Path, *, shared: bool = False) -> int:
    """A descriptor that holds a folder's lock, which the system lets go when the process ends, however it ends."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    until = time.monotonic() + (_PATIENCE if shared else _MOMENT)
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            os.close(descriptor)
            raise _busy(folder, next(filter(None, map(writer, reversed(homes(folder)))), "unknown")) from None
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


def _busy(folder: Path, who: str) -> BusyError:
    advice = "wait for it or choose another --workdir"
    if not who.endswith(f" of {platform.node()}"):  # a network disk may not hear that a machine is no more
        advice += f"; if it is gone, delete {folder / LOCK}"
    return BusyError(f"Process {who} is writing to {folder}; {advice}.")


def refuse_taken(workdir: str | os.PathLike, study: Study, shard: Shard | None = None) -> None:
    """Raises StoreError for a folder that could not be opened to write a study there, or a shard of it.

    It writes nothing, and nothing is held: a `Store` asks again.
    """
    folder = expanded(workdir)
    with explained(folder), contextlib.suppress(FileNotFoundError):
        os.listdir(folder)
    if (folder / STUDY).exists():
        refuse_other(folder, about(folder), study)
    else:
        _refuse_nameless(folder)
    taken = [(home, 0.0) for home in homes(folder)]
    for home, patience in taken if shard is None else [(folder, _PATIENCE), (shard.folder(folder), 0.0)]:
        if who := writer(home, patience):
            raise _busy(home, who)


def _refuse_nameless(folder: Path) -> None:
    if left := [name for name in (ROWS, RESULTS) if (folder / name).exists()]:
        raise StoreError(
            f"{folder} holds {left[0]} of a run whose {STUDY} is gone, so that nobody knows what was run; choose "
            "another --workdir."
        )


def refuse_other(folder: Path, told: Mapping[str, Any], study: Study) -> None:
    from icl_sim.studies import codec

    if "fingerprint" not in told:
        raise StoreError(f"{folder / STUDY} is damaged: it has no fingerprint. Choose another --workdir.")
    if told["fingerprint"] == codec.fingerprint(study):
        return
    there, here = told["config"], codec.jsonable(codec.encode(study))
    names = codec.differences(there, here)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    raise StoreError(
        f"{folder} holds the study {there.get('name')!r} ({told['fingerprint']}), not this {study.name!r} "
        f"({codec.fingerprint(study)}): they differ in {shown or 'how they were written'}. Choose another "
        f"--workdir."
    )


def _description(study: Study, plan: Plan, command: str) -> dict[str, Any]:
    import jax

    from icl_sim.studies import codec

    place = {
        number: {"group": index, "steps": steps}
        for index, (group, steps) in enumerate(zip(plan.groups, plan.steps, strict=True))
        for number in group.ids
    }
    return {
        "name": study.name,
        "description": study.description,
        "fingerprint": codec.fingerprint(study),
        "command": command,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "devices": [device.device_kind for device in jax.devices()],
        "config": codec.jsonable(codec.encode(study)),
        "claims": records.encode(study.claims),
        "figures": records.encode(study.figures),
        "members": [
            {"id": entry.id, "predictor": entry.predictor, "point": codec.jsonable(entry.point), **place[entry.id]}
            for entry in plan.entries
        ],
    }


def _json(about: Mapping[str, Any]) -> bytes:
    return json.dumps(about, indent=1, allow_nan=False).encode()


def _read_lines(path: Path, *, repair: bool) -> list[Line]:
    """All whole lines of the rows. A last line that was cut off is named, and with `repair` taken away."""
    if not path.exists():
        return []
    content = path.read_bytes()
    *whole, torn = content.split(b"\n")
    lines = []
    for number, text in enumerate(whole, 1):
        try:
            lines.append(Line.from_json(text.decode()))
        except ValueError as error:
            raise StoreError(
                f"Line {number} of {path} is damaged ({error}), and is not the last one, which a crash may cut off. "
                "Delete the line to go on without it, or choose another --workdir."
            ) from error
    if torn and repair:  # others may be writing it just now
        log.warning(
            "Line %d of %s was cut off in the middle (%d bytes) and is dropped.",
            len(whole) + 1,
            path,
            len(torn),
        )
        os.truncate(path, len(content) - len(torn))
    return lines


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _write_table(path: Path, table: pd.DataFrame, bytes_of_rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _BYTES: str(bytes_of_rows).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(arrow, sink, write_page_checksum=True)
    write_atomically(path, sink.getvalue().to_pybytes())


def _read_table(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    return pq.read_table(path, page_checksum_verification=True).to_pandas()


def _bytes_of_rows(folder: Path) -> int:
    """How many bytes of rows there are, those of shards too."""
    return sum(rows.stat().st_size for home in homes(folder) if (rows := home / ROWS).exists())


def _bytes_held(path: Path) -> int:
    """How many bytes of rows the table was made from; -1 if it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int((pq.read_schema(path).metadata or {}).get(_BYTES, b"-1"))
    except (pa.ArrowException, OSError, ValueError) as error:
        log.warning("%s is damaged (%s) and is left aside.", path, error)
        return -1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this code is in, with a + if files were changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "") if commit.returncode == 0 else None
