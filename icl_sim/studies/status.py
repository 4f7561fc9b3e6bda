"""What a run is at: its packs, how much is done and how fast, and which members do worst. Read while others write.

Nothing is locked, beyond a moment's look at who holds a lock, and nothing is repaired. Rows tell what was measured;
between two evaluation steps checkpoints, which come every few seconds, tell how far a group is.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icl_sim.names import expanded
from icl_sim.studies import description, files, locks, shards, store
from icl_sim.studies.amounts import size, span
from icl_sim.studies.table import Line

STATES = ("done", "running", "waiting", "stopped")
WHOLE = "whole"  # the name of the only pack of a run that is not divided
WORST, SHOWN = 5, 8  # members, and packs, that fit on a screen beside the rest
_WINDOW = 4.0  # seconds over which a speed is taken, at least, where there is that much to go by
_TRAINING = "training"
_DIVERGED = (_TRAINING, "diverged_at_step")


@dataclasses.dataclass(frozen=True)
class Pack:
    """A job's share of the members.

    Attributes:
      name: "2/8" for a shard.
      state: "done"; "running", by a process that holds its lock; "waiting" to be begun; or "stopped": begun, not done,
        and in nobody's hands.
      members, done: how many it has, and how many of them are done, wherever that was.
      share: of its updates that are done, from 0 to 1.
      writer: who is at work, as "PID of HOST".
      rate: model updates per second of late; None where nobody is at work or too little is known.
    """

    name: str
    state: str
    members: int
    done: int
    share: float
    writer: str = ""
    rate: float | None = None


@dataclasses.dataclass(frozen=True)
class Poor:
    """A member that does worse than others.

    Attributes:
      name: its predictor and its point.
      step: of what is told of it.
      diverged_at: the step at which its loss stopped being finite, if it did.
      measures: the training loss and the headline measure, as far as there are any.
    """

    member: int
    name: str
    step: int
    diverged_at: int | None
    measures: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """What there is to say about a run.

    Attributes:
      packs: the shards of every division that was begun; of a run that is not divided, all of it.
      members, members_done: a member is done when its end was noted.
      updates, updates_done: model updates, summed over members.
      age: seconds since the last rows; None if there are none.
      is_tabulated: whether all is done and the table of all results is there.
      disk: bytes that the folder takes.
      worst: members that diverged, then those of the highest training loss; of the highest headline measure where
        nothing trains.
      notes: what is damaged, in sentences.
    """

    name: str
    folder: Path
    packs: tuple[Pack, ...]
    members: int
    members_done: int
    updates: int
    updates_done: int
    age: float | None
    is_tabulated: bool
    disk: int
    worst: tuple[Poor, ...]
    notes: tuple[str, ...]

    @property
    def rate(self) -> float | None:
        """Model updates per second of all packs that run."""
        known = [pack.rate for pack in self.packs if pack.rate is not None]
        return sum(known) if known else None

    @property
    def seconds_left(self) -> float | None:
        """Until all is done at this rate."""
        return (self.updates - self.updates_done) / self.rate if self.rate else None

    @property
    def is_done(self) -> bool:
        return self.members_done == self.members

    def count(self, state: str) -> int:
        """How many packs are in a state."""
        return sum(pack.state == state for pack in self.packs)


@dataclasses.dataclass(frozen=True)
class _Home:
    """What a folder of rows and checkpoints holds.

    Attributes:
      lines: without measures, each with its text.
      writer, since: who holds its lock, and since when.
      reached: (members, when, step) of everything on disk that tells how far they were, in the order of time.
    """

    lines: Sequence[tuple[Line, str]]
    writer: str
    since: float
    reached: Sequence[tuple[tuple[int, ...], float, int]]


def read(workdir: str | os.PathLike, now: float | None = None) -> RunStatus:
    """What a run is at.

    Args:
      now: the time in seconds since 1970, by default that of the clock.

    Raises:
      StoreError: a sentence, for a folder that holds no run.
    """
    folder = expanded(workdir)
    if not folder.is_dir():
        raise files.StoreError(f"There is no folder {folder}; --workdir names the folder that launch/run.py wrote to.")
    told, notes = description.read(folder), []
    if not (members := told["members"]):
        raise files.StoreError(f"{folder / description.STUDY} tells of no members, so that there is nothing to say.")
    steps_M = np.asarray([member.get("steps", _steps(told, member)) for member in members], int)
    homes = {path: _home(path, len(members), notes) for path in shards.homes(folder)}

    step_M, ended_M = np.zeros(len(members), int), np.zeros(len(members), bool)
    last: dict[int, tuple[Line, str]] = {}  # of every member, with measures
    for home in homes.values():
        for line, text in home.lines:
            ids = list(line.ids)
            if line.finished:
                ended_M[ids] = True
                steps_M[ids] = line.step
            else:
                last |= {i: (line, text) for i in ids if i not in last or line.step >= last[i][0].step}
        for ids, _, step in home.reached:
            step_M[list(ids)] = np.maximum(step_M[list(ids)], step)
    done_M = np.where(ended_M, steps_M, np.minimum(step_M, steps_M))
    whole = {text: Line.from_json(text) for text in {text for _, text in last.values()}}
    poor = [_poor(told, number, whole[text]) for number, (_, text) in last.items()]
    written = [line.time or 0.0 for home in homes.values() for line, _ in home.lines[-1:]]
    written += [_modified(path / store.ROWS) for path, home in homes.items() if home.lines]
    return RunStatus(
        name=str(told.get("name", "study")),
        folder=folder,
        packs=_packs(folder, homes, members, ended_M, steps_M, done_M),
        members=len(members),
        members_done=int(ended_M.sum()),
        updates=int(steps_M.sum()),
        updates_done=int(done_M.sum()),
        age=max(0.0, (time.time() if now is None else now) - max(written)) if written else None,
        is_tabulated=bool(ended_M.all()) and store.is_tabulated(folder),
        disk=_size(folder),
        worst=tuple(sorted(poor, key=_badness, reverse=True)[:WORST]),
        notes=tuple(notes),
    )


def to_text(status: RunStatus) -> str:
    """The same on one screen."""
    is_whole = [pack.name for pack in status.packs] == [WHOLE]
    counts = ", ".join(f"{status.count(state)} {state}" for state in STATES if status.count(state))
    share = math.floor(100 * status.updates_done / status.updates) if status.updates else 100 * status.is_done
    updates = f"{status.updates_done:,} of {status.updates:,} ({share} %)"
    if status.rate is not None:
        updates += f", {status.rate:,.0f}/s"
    if status.seconds_left and not status.is_done:
        updates += f", {span(status.seconds_left)} left at this rate"
    rows = "none yet" if status.age is None else f"the last {span(status.age)} ago"
    table = "; the table of all is written" if status.is_tabulated else ""
    told = [
        f"{status.name} in {status.folder}",
        f"  state     {counts.partition(' ')[2]}" if is_whole else f"  shards    {len(status.packs)}: {counts}",
        f"  members   {status.members_done:,} of {status.members:,} done",
        f"  updates   {updates}",
        f"  rows      {rows}{table}",
        f"  disk      {size(status.disk)}",
    ]
    going = [pack for state in ("running", "stopped") for pack in status.packs if pack.state == state]
    if going:
        told.append("begun, and not done")
        told += [f"  {_told(pack)}" for pack in going[:SHOWN]]
        told += [f"  and {len(going) - SHOWN} more"] if len(going) > SHOWN else []
    if status.worst:
        told.append(f"worst members: {', then '.join(_badly(status.worst))}")
        told += [f"  {_told_of(poor)}" for poor in status.worst]
    return "\n".join([*told, *(f"Note: {note}" for note in status.notes)])


def _home(path: Path, members: int, notes: list[str]) -> _Home:
    """Reads a home, and notes what of it is damaged."""
    lines = []
    try:
        *whole, _ = (path / store.ROWS).read_bytes().split(b"\n")  # behind the last line somebody may be writing one
    except FileNotFoundError:
        whole = []
    for number, content in enumerate(whole, 1):
        try:
            text = content.decode()
            line = Line.from_json(text, outlined=True)
            if max(line.ids, default=0) >= members:
                raise ValueError(f"it tells of member {max(line.ids)}, and the study has {members}")
            lines.append((line, text))
        except ValueError as error:
            notes.append(f"Line {number} of {path / store.ROWS} is damaged ({error}).")
    writer = locks.writer(path)
    reached = [(line.ids, line.time or 0.0, line.step) for line, _ in lines]
    names = {name: line.ids for line, _ in lines for name in shards.checkpoint_names(line.ids)}
    for saved in path.glob(f"{shards.CHECKPOINTS}/*/*"):
        if saved.name.isdigit() and saved.parent.name in names:
            reached.append((names[saved.parent.name], _modified(saved), int(saved.name)))
    return _Home(lines, writer, _modified(path / locks.LOCK), sorted(reached, key=lambda at: at[1]))


def _packs(
    folder: Path,
    homes: Mapping[Path, _Home],
    members: Sequence[Mapping[str, Any]],
    ended_M: np.ndarray,
    steps_M: np.ndarray,
    done_M: np.ndarray,
) -> tuple[Pack, ...]:
    """The packs of a run, given which members are done, the updates of each, and how many of these are done."""
    begun, packs = shards.begun(folder), []
    whole = homes[folder]
    if whole.writer or not begun:
        packs.append(_pack(WHOLE, whole if whole.lines or whole.writer else None, ended_M, steps_M, done_M))
    order = sorted(range(len(members)), key=lambda i: (members[i].get("group", 0), i))
    number_M = {of: np.empty(len(members), int) for of in {shard.of for shard in begun}}
    for of in number_M:
        number_M[of][order] = shards.numbers(steps_M[order], of)
    for shard in begun:
        mine_M = number_M[shard.of] == shard.number
        columns = (column[mine_M] for column in (ended_M, steps_M, done_M))
        packs.append(_pack(str(shard), homes.get(shard.folder(folder)), *columns))
    return tuple(packs)


def _pack(name: str, home: _Home | None, ended_M: np.ndarray, steps_M: np.ndarray, done_M: np.ndarray) -> Pack:
    members, done = len(ended_M), int(ended_M.sum())
    share = float(done_M.sum() / steps_M.sum()) if steps_M.any() else float(done == members)
    if home is not None and home.writer and done < members:
        return Pack(name, "running", members, done, share, home.writer, _rate(home))
    state = "done" if done == members else "stopped" if home else "waiting"
    return Pack(name, state, members, done, share)


def _rate(home: _Home) -> float | None:
    """Updates per second of the members that a home's writer is at work on."""
    here = [at for at in home.reached if at[1] >= home.since]
    ids = here[-1][0] if here else ()
    points = [(when, step) for members, when, step in here if members == ids]
    points = points[1:] if len(points) > 2 else points  # up to the first there is mostly compilation
    if len(points) < 2:
        return None
    end, last = points[-1]
    start, first = next((at for at in reversed(points) if at[0] <= end - _WINDOW), points[0])
    return len(ids) * (last - first) / (end - start) if end > start and last > first else None


def _poor(told: Mapping[str, Any], number: int, line: Line) -> Poor:
    """A member as its last line tells of it."""
    place = line.ids.index(number)
    names = [name for eval_set, name in line.measures if eval_set == "summary"]
    wished = [name for name in told["config"].get("headline") or () if name in names]
    at = {"training loss": (_TRAINING, "loss")} | {name: ("summary", name) for name in (wished or names)[:1]}
    measures = {name: float(line.measures[where][place]) for name, where in at.items() if where in line.measures}
    diverged_at = float(line.measures[_DIVERGED][place]) if _DIVERGED in line.measures else math.nan
    known = {name: value for name, value in measures.items() if not math.isnan(value)}
    step = None if math.isnan(diverged_at) else int(diverged_at)
    return Poor(number, _name(told["members"][number]), line.step, step, known)


def _badness(poor: Poor) -> tuple[bool, bool, float, int]:
    """What orders members: who diverged is worst, then who has the highest loss."""
    value = next(iter(poor.measures.values()), -math.inf)
    return poor.diverged_at is not None, "training loss" in poor.measures, value, -poor.member


def _badly(worst: Sequence[Poor]) -> list[str]:
    """What members are the worst by, in the order in which they come."""

    def badly(poor: Poor) -> str:
        first = next(iter(poor.measures), "nothing measured")
        return "those that diverged" if poor.diverged_at is not None else f"the highest {first}"

    return list(dict.fromkeys(map(badly, worst)))


def _name(member: Mapping[str, Any]) -> str:
    point = ", ".join(f"{name}={_value(value)}" for name, value in member["point"].items() if value is not None)
    return f"{member['predictor']}, {point}" if point else str(member["predictor"])


def _value(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _steps(told: Mapping[str, Any], member: Mapping[str, Any]) -> int:
    """Updates of a member of a run whose `study.json` does not say: those of training, until its end is noted."""
    here = (told["config"].get("training") or {}).get("steps", 0)
    return int(member["point"].get("training.steps") or here)


def _told(pack: Pack) -> str:
    rate = f", {pack.rate:,.0f} updates/s" if pack.rate is not None else ""
    who = f", process {pack.writer}" if pack.writer else ""
    done = f"{pack.done:,} of {pack.members:,} members done"
    return f"{pack.name:<8}  {pack.state:<8}  {math.floor(100 * pack.share):>3} %, {done}{rate}{who}"


def _told_of(poor: Poor) -> str:
    told = [f"{name} {value:.4g}" for name, value in poor.measures.items()]
    if poor.diverged_at is not None:
        told = [f"diverged at step {poor.diverged_at:,}"]
    return f"{poor.member:>6}  {', '.join(told)} after {poor.step:,} steps  ({poor.name})"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone since it was listed, as checkpoints are that newer ones replace
        return 0.0


def _size(folder: Path) -> int:
    """Bytes of all files of a folder, as the disk counts them."""
    total, left = 0, collections.deque([os.fspath(folder)])
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    else:
                        total += 512 * entry.stat(follow_symlinks=False).st_blocks
        except OSError:  # what is gone takes no space
            continue
    return total
