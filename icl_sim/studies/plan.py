"""From a study to what has to be simulated: numbered members, and groups of equal structure."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, cast

from icl_sim.engine.group import Group, by_structure
from icl_sim.engine.program import is_trainable
from icl_sim.engine.settings import Member
from icl_sim.studies import claims, figures, records
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import Point, Value
from icl_sim.types import Task

UNTOUCHABLE = ("sweep", "claims", "figures")  # parts of a config that hold no single values


@dataclasses.dataclass(frozen=True)
class Entry:
    """A member and what it is in the study.

    Attributes:
      id: its number in the results.
      predictor: the name of its predictor.
      point: the value of every swept name and of `seed`; None for the settings of other predictors.
    """

    id: int
    predictor: str
    point: Point
    member: Member


@dataclasses.dataclass(frozen=True)
class Plan:
    """All members of a study, numbered in a stable order: predictors by name, then points as swept."""

    entries: tuple[Entry, ...]
    groups: tuple[Group, ...]
    remarks: tuple[str, ...] = ()  # of what was found amiss with the study, and yet can run

    @functools.cached_property
    def steps(self) -> tuple[int, ...]:
        """Updates of each member of every group: none where there is nothing to train."""
        return tuple(group.members.training.steps if is_trainable(group) else 0 for group in self.groups)

    @property
    def updates(self) -> int:
        """Model updates of the whole study."""
        return self.updates_before(len(self.groups))

    def updates_before(self, number: int) -> int:
        """Model updates of all groups before this one."""
        return sum(steps * len(group) for steps, group in zip(self.steps[:number], self.groups, strict=False))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is possible and yet hardly meant, such as a warm-up longer than training; shortened runs may have it."""
        trained = {id for steps, group in zip(self.steps, self.groups, strict=True) if steps for id in group.ids}
        doubts = (doubt for entry in self.entries if entry.id in trained for doubt in entry.member.doubts())
        return tuple(dict.fromkeys(f"Note: {doubt}" for doubt in (*doubts, *self.remarks)))

    def describe(self) -> str:
        """The plan in a few lines: the size of the whole, then every group, and what is doubtful."""
        names = {entry.id: entry.predictor for entry in self.entries}
        told = [f"{len(self.entries)} members, {self.updates:,} updates; groups (one program each): {len(self.groups)}"]
        for number, group in enumerate(self.groups, 1):
            counts = collections.Counter(names[member] for member in group.ids)
            who = ", ".join(f"{count} x {name}" for name, count in counts.items())
            steps = self.steps[number - 1]
            told.append(f"  group {number}: {who}, " + (f"{steps:,} steps each" if steps else without_steps(group)))
        return "\n".join([*told, *self.notes])


def without_steps(group: Group) -> str:
    """What to say of a group that makes no updates: those of what is calculated, if there are any, are its own."""
    return "one calculation each" if group.members.task.calculated else "nothing to train"


def plan(study: Study) -> Plan:
    """Numbers, checks and groups the members of a study.

    Raises:
      ValueError: if a member is impossible; the sentence ends with its predictor and its point.
    """
    _check_shown(study)
    swept = study.sweep.names
    names = tuple(dict.fromkeys((*swept, "seed")))
    settings = [(study.at(point), _full(study, point, names)) for point in study.sweep]
    entries: list[Entry] = []
    for predictor in sorted(study.predictors):
        seen = set()
        for setting, full in settings:
            point = {name: value for name, value in full.items() if not _of_other(name, predictor)}
            if repr(point) in seen:  # points that differ in the settings of other predictors only
                continue
            seen.add(repr(point))
            member = _member(setting, predictor)
            _check(member, predictor, {name: point[name] for name in point if name in swept})
            entries.append(Entry(len(entries), predictor, {name: point.get(name) for name in names}, member))
    groups = by_structure((entry.id, entry.member) for entry in entries)
    return Plan(tuple(entries), tuple(groups))


def refuse_overridden(study: Study, names: Iterable[str]) -> None:
    """Raises ValueError if the command line overrides what the study sweeps: one of the two would be ignored."""
    for name in names:
        if name in UNTOUCHABLE:
            raise ValueError(f"{name} cannot be overridden" + ("; use --sweep." if name == "sweep" else "."))
        for swept in study.sweep.names:
            if f"{swept}.".startswith(f"{name}."):
                raise ValueError(f"{name} is overridden, but {swept} is swept by this study; use --sweep for it.")


def _check_shown(study: Study) -> None:
    """Raises ValueError for claims and figures that could not be read after all is simulated."""
    for record in (*study.claims, *study.figures):
        records.check(record)
    claims.check(study.claims)
    for figure in study.figures:
        figures.check_axes(figure, study.sweep.names)


def _member(setting: Study, predictor: str) -> Member:
    return Member(
        predictor=setting.predictors[predictor],
        task=_seeded(setting.training_task(predictor), setting.seed),
        eval_task=_seeded(setting.task, setting.seed),
        training=setting.training,
        evaluation=setting.evaluation,
        references=setting.references,
        comparisons=setting.comparisons,
        seed=setting.seed,
    )


def _seeded(task: Task, seed: int) -> Task:
    """The task with the study's seed for its data, unless it has one of its own."""
    names = [field.name for field in dataclasses.fields(cast(Any, task))]
    return task.replace(seed=seed) if "seed" in names and cast(Any, task).seed is None else task


def _full(study: Study, point: Point, names: tuple[str, ...]) -> dict[str, Value]:
    """The point with the study's own value for every name that other points set and this one does not."""
    return {name: point[name] if name in point else study.value(name) for name in names}


def _of_other(name: str, predictor: str) -> bool:
    return name.startswith("predictors.") and not name.startswith(f"predictors.{predictor}.")


def _check(member: Member, predictor: str, point: Mapping[str, Value]) -> None:
    try:
        member.check()
    except ValueError as error:
        at = "".join(f", {name}={value}" for name, value in point.items())
        raise ValueError(f"{error} (The predictor {predictor!r}{at}.)") from error
