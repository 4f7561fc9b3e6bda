"""Trained predictors of a run, for whatever a study does not measure by itself."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.engine.checkpoints import newest
from icl_sim.engine.program import is_trainable
from icl_sim.engine.step import join
from icl_sim.names import expanded
from icl_sim.studies import codec, description
from icl_sim.studies.measures import same
from icl_sim.studies.plan import Entry, Plan, plan
from icl_sim.studies.shards import checkpoint_folders
from icl_sim.studies.sweep import Value
from icl_sim.types import Answerer, Task


@dataclasses.dataclass(frozen=True)
class Trained(Answerer):
    """A predictor with the parameters of a run's last checkpoint: calling it on a batch gives its answers.

    Attributes:
      task: what it is evaluated on, with its seed; `prepare` it before sampling many batches.
      step: the updates behind it.
      point: the value of every swept name.
    """

    task: Task
    step: int
    point: Mapping[str, Any]


def trained(workdir: str | os.PathLike, predictor: str, where: Mapping[str, Value] | None = None) -> Trained:
    """The trained predictor of one member of a run.

        model = icl.trained("out/task_diversity", "transformer", {"task.function.pool": 64, "seed": 0})
        predictions_BP = model(model.task.sample(jax.random.key(0), 512))

    Args:
      workdir: the folder of the run, finished or not.
      predictor: its name in the study.
      where: values of swept names; those not given must have one value only.

    Raises:
      ValueError: if the run has no such member, or several, or nothing saved of it.
    """
    entries, planned = _members(workdir, predictor, where)
    return _read(workdir, _only(entries, where or {}), planned)


def all_trained(workdir: str | os.PathLike, predictor: str, where: Mapping[str, Value] | None = None) -> list[Trained]:
    """The trained predictors of all members there, one for each seed; `where` leaves nothing else open.

    Raises:
      ValueError: if the run has no such member, or several of a seed, or nothing saved of one.
    """
    entries, planned = _members(workdir, predictor, where)
    seeds = {entry.point["seed"]: None for entry in entries} or {None: None}
    of_seeds = ([entry for entry in entries if entry.point["seed"] == seed] for seed in seeds)
    return [_read(workdir, _only(of_seed, where or {}), planned) for of_seed in of_seeds]


def _members(workdir: str | os.PathLike, predictor: str, where: Mapping[str, Value] | None) -> tuple[list[Entry], Plan]:
    """The members of a run that are meant, and the plan of all."""
    if not isinstance(where, Mapping | None):
        raise ValueError(f"where is {where!r}; it must map swept names to values, as in {{'seed': 0}}.")
    where, folder = dict(where or {}), expanded(workdir)
    planned = plan(codec.decode(codec.from_json(description.read(folder)["config"])))
    names.require("The predictor", predictor, {entry.predictor: None for entry in planned.entries})
    entries = [entry for entry in planned.entries if entry.predictor == predictor]
    for name in where:
        names.require("A name of the sweep", name, entries[0].point)
    return [e for e in entries if all(same(e.point[name], value) for name, value in where.items())], planned


def _read(workdir: str | os.PathLike, entry: Entry, planned: Plan) -> Trained:
    """The predictor of a member from the last checkpoint of its group."""
    if not is_trainable(next(group for group in planned.groups if entry.id in group.ids)):
        raise ValueError(f"{entry.predictor!r} trains nothing, so {workdir} saved nothing of it.")
    found = None
    for folder, group in checkpoint_folders(expanded(workdir), planned, entry.id):
        saved = newest(folder, group)
        if saved is not None and (found is None or saved[1] > found[1]):
            found, ids = saved, group.ids
    if found is None:
        raise ValueError(
            f"{workdir} holds no checkpoint of {entry.predictor!r}: the run has not come so far, or lost it."
        )
    state, step = found
    params = jax.tree.map(lambda column: jnp.asarray(column[ids.index(entry.id)]), join(state.parts))
    return Trained(entry.member.predictor, params, entry.member.eval_task, step, entry.point)


def _only(entries: list[Entry], where: Mapping[str, Value]) -> Entry:
    """The one entry that is left. Raises ValueError naming what there is to choose from."""
    if len(entries) == 1:
        return entries[0]
    if not entries:
        raise ValueError(f"No member of the run is at {dict(where)}.")
    open_names = {
        name: sorted({entry.point[name] for entry in entries}, key=str)
        for name in entries[0].point
        if len({repr(entry.point[name]) for entry in entries}) > 1
    }
    told = "; ".join(f"{name} of {', '.join(map(str, values))}" for name, values in open_names.items())
    raise ValueError(f"{len(entries)} members of the run fit; choose {told}.")
