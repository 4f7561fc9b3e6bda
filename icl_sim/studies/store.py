"""The folder of a study's run: what was run, and its results, safe to stop at any moment.

    study.json        the full config, versions, commit, devices, and every member's place in the sweep
    rows.jsonl        the record while running: a line per group and evaluation step, only appended to
    results.parquet   the same as a table, always rewritten as a whole
    run.lock          who writes
    shards/           the same of every shard: rows.jsonl, run.lock, checkpoints

`rows.jsonl` is the truth and the table is made from it. A later line for the same members and step replaces
the earlier one, so steps that are done again after a resume do no harm. A line without its end was cut off by
a crash and is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icl_sim.names import expanded
from icl_sim.studies import description, locks, records
from icl_sim.studies.description import STUDY
from icl_sim.studies.files import StoreError, explained, write_atomically, write_once
from icl_sim.studies.locks import busy, locked, writer
from icl_sim.studies.shards import Shard, homes
from icl_sim.studies.table import Line, tabulated

if TYPE_CHECKING:
    import pandas as pd

    from icl_sim.studies.plan import Plan
    from icl_sim.studies.study import Study

ROWS, RESULTS = "rows.jsonl", "results.parquet"
_BYTES = b"icl_sim.bytes_of_rows"  # in the table's metadata: how much of rows.jsonl it holds

log = logging.getLogger("icl_sim")


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
                self._locks.append(locked(self.folder, shared=shard is not None))
                if shard is not None:
                    self._locks.append(locked(self.home))
                self._open(study, plan, command)
        except BaseException:
            self._unlock()
            raise

    def _open(self, study: Study, plan: Plan, command: str) -> None:
        path = self.folder / STUDY
        if not path.exists():
            _refuse_nameless(self.folder)
            write_once(path, description.to_bytes(description.of(study, plan, command)))
        self.about = description.read(self.folder)  # perhaps of another study, which began at the same moment
        description.refuse_other(self.folder, self.about, study)
        # What to check and to draw needs no training: the newest counts.
        shown = {"claims": records.encode(study.claims), "figures": records.encode(study.figures)}
        if any(self.about.get(name) != value for name, value in shown.items()):
            self.about |= shown
            write_atomically(path, description.to_bytes(self.about))
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


def is_tabulated(folder: Path) -> bool:
    """Whether the table of a run's folder holds all rows that there are."""
    path = folder / RESULTS
    return path.exists() and _bytes_held(path) == _bytes_of_rows(folder)


def load(workdir: str | os.PathLike) -> pd.DataFrame:
    """The results of a run so far, finished or not: from `results.parquet` where it is complete, else from the rows."""
    folder = expanded(workdir)
    told, path = description.read(folder), folder / RESULTS
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


def refuse_taken(workdir: str | os.PathLike, study: Study, shard: Shard | None = None) -> None:
    """Raises StoreError for a folder that could not be opened to write a study there, or a shard of it.

    It writes nothing, and nothing is held: a `Store` asks again.
    """
    folder = expanded(workdir)
    with explained(folder), contextlib.suppress(FileNotFoundError):
        os.listdir(folder)
    if (folder / STUDY).exists():
        description.refuse_other(folder, description.read(folder), study)
    else:
        _refuse_nameless(folder)
    taken = [(home, 0.0) for home in homes(folder)]
    for home, patience in taken if shard is None else [(folder, locks.PATIENCE), (shard.folder(folder), 0.0)]:
        if who := writer(home, patience):
            raise busy(home, who)


def _refuse_nameless(folder: Path) -> None:
    if left := [name for name in (ROWS, RESULTS) if (folder / name).exists()]:
        raise StoreError(
            f"{folder} holds {left[0]} of a run whose {STUDY} is gone, so that nobody knows what was run; choose "
            "another --workdir."
        )


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


