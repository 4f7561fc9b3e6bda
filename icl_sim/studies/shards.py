"""Shards: a study divided over jobs that share its folder and need to know nothing of one another.

Shard i of n does a pack of members of its own and writes into `shards/i-of-n` alone, as a whole run writes into the
folder itself. Whoever finishes last makes the table of all. A member is done once, wherever that was: shards of
another n, and the whole run, find it finished.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icl_sim.names import expanded

if TYPE_CHECKING:  # who only looks at a run does not wait for jax
    from icl_sim.engine.group import Group
    from icl_sim.studies.plan import Plan

FOLDER, CHECKPOINTS, MEMBERS = "shards", "checkpoints", "members.json"
MOST = 100_000
_NAME = re.compile(r"([1-9]\d{0,5})-of-([1-9]\d{0,5})")


@dataclasses.dataclass(frozen=True, order=True)
class Shard:
    """One of the jobs that a study is divided over.

    Attributes:
      of: n, how many there are.
      number: i, from 1 to n.
    """

    of: int
    number: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "i/n". Raises ValueError in a sentence."""
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
            raise ValueError(
                f"The shard is {text!r}; it must be i/n with i from 1 to n and n at most {MOST:,}, as 2/8."
            )
        return cls(of=int(found[2]), number=int(found[1]))

    def folder(self, workdir: Path) -> Path:
        """Where it keeps its rows, checkpoints and lock."""
        return workdir / FOLDER / f"{self.number}-of-{self.of}"


def begun(workdir: str | os.PathLike) -> list[Shard]:
    """All shards of every division that some shard has begun in a folder, in order."""
    numbers = {shard.of for shard in _present(expanded(workdir))}
    return [Shard(of=of, number=number) for of in sorted(numbers) for number in range(1, of + 1)]


def homes(workdir: Path) -> list[Path]:
    """The folders that may hold rows and checkpoints: that of the run, then those of shards in order."""
    return [workdir, *(shard.folder(workdir) for shard in _present(workdir))]


def _present(workdir: Path) -> list[Shard]:
    """The shards that have a folder, in order."""
    names = (_NAME.fullmatch(folder.name) for folder in workdir.glob(f"{FOLDER}/*/"))
    shards = (Shard(of=int(name[2]), number=int(name[1])) for name in names if name)
    return sorted(shard for shard in shards if shard.number <= shard.of <= MOST)


def pack(planned: Plan, shard: Shard | None) -> list[tuple[Group, int]]:
    """What a shard has to do, or the whole run without one: groups, or parts of them, and the steps of each.

    At most n - 1 groups are compiled by more than one of n shards.
    """
    whole = list(zip(planned.groups, planned.steps, strict=True))
    if shard is None:
        return whole
    mine_M = numbers([steps for group, steps in whole for _ in group.ids], shard.of) == shard.number
    parts, first = [], 0
    for group, steps in whole:
        mine = mine_M[first : first + len(group)]
        first += len(group)
        if mine.any():
            parts.append((group.taken(mine), steps))
    return parts


def numbers(steps_M: Sequence[int] | np.ndarray, of: int) -> np.ndarray:
    """The number of the shard, 1 to n, that each member goes to, `[M]`, given the updates of each.

    Members, which come in the order of groups, are cut into n stretches of equal numbers of updates. What trains
    nothing counts as one update.
    """
    weight_M = np.maximum(np.asarray(steps_M, float), 1.0)
    middle_M = (np.cumsum(weight_M) - weight_M / 2) / np.sum(weight_M)  # of the whole work, where each member lies
    return np.floor(middle_M * of).astype(int) + 1


def checkpoint_folder(home: Path, group: Group, planned: Plan) -> Path:
    """Where a group of a run, or the part of one that a shard has to do, keeps its checkpoints.

    A part is named by its members, since which are left depends on what others have finished.
    """
    whole, part = checkpoint_names(group.ids)
    return home / CHECKPOINTS / (whole if any(each.ids == group.ids for each in planned.groups) else part)


def checkpoint_names(ids: tuple[int, ...]) -> tuple[str, str]:
    """What the folder of the checkpoints of members is called if they are a group, and if they are a part of one."""
    first = f"{ids[0]:06d}"
    return first, f"{first}-{zlib.crc32(repr(ids).encode()):08x}"


def note_members(folder: Path, ids: tuple[int, ...]) -> None:
    """Keeps beside the checkpoints of a group, or of a part of one, whose they are."""
    folder.mkdir(parents=True, exist_ok=True)
    if noted_members(folder) != ids:
        (folder / MEMBERS).write_text(json.dumps(ids))


def noted_members(folder: Path) -> tuple[int, ...] | None:
    """Whose checkpoints a folder holds, as was noted beside them; None if that cannot be read."""
    try:
        ids = json.loads((folder / MEMBERS).read_text())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    is_sound = isinstance(ids, list) and all(isinstance(number, int) for number in ids)
    return tuple(ids) if is_sound else None


def checkpoint_folders(workdir: Path, planned: Plan, member: int) -> list[tuple[Path, Group]]:
    """Where checkpoints of a member are, each with the group or part of one that it is of; the whole run's first."""
    (group,) = (group for group in planned.groups if member in group.ids)
    found = []
    for folder in (path for home in homes(workdir) for path in sorted((home / CHECKPOINTS).glob("*/"))):
        ids = _members(folder, planned)
        if member in ids and set(ids) <= set(group.ids):
            found.append((folder, group.taken(np.isin(group.ids, ids))))
    return found


def _members(folder: Path, planned: Plan) -> Sequence[int]:
    """Whose checkpoints a folder holds: those noted, else the group that is named so."""
    if (noted := noted_members(folder)) is not None:
        return noted
    return next((group.ids for group in planned.groups if checkpoint_names(group.ids)[0] == folder.name), ())
