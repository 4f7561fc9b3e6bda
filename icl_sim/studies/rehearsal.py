"""A study in shapes only, before anything runs: what is found wrong where predictors first meet sequences."""

from __future__ import annotations

import dataclasses
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import icl_sim
from icl_sim import metrics
from icl_sim.engine import devices
from icl_sim.engine.cost import bytes_of
from icl_sim.engine.group import Group
from icl_sim.engine.settings import Member
from icl_sim.engine.step import initial_state, join
from icl_sim.keys import stream
from icl_sim.studies.plan import Entry, Plan
from icl_sim.types import Answerer, Array, Outputs, Params, Predictor

TOLERANCE = 1e-3  # by which answers may change with targets that they do not depend on, by rounding


def rehearse(planned: Plan) -> None:
    """Loads what tasks read, and traces for one member of every group its start, its answers and its comparisons.

    Nothing is computed, but that predictors of a study's own answer two sequences.

    Raises:
      ValueError: a sentence that ends with the predictor, for a predictor, reference or comparison that cannot do with
        the sequences of the study, for more numbers than this machine can hold, and for a predictor that reads answers.
    """
    entries = {entry.id: entry for entry in planned.entries}
    loaded: dict[str, Any] = {}
    for group in planned.groups:
        entry = entries[group.ids[0]]
        key = repr(entry.member.task)
        if key not in loaded:
            loaded[key] = entry.member.task.load()
        if not entry.member.task.calculated:
            _rehearse(entry, group, loaded[key])


def _rehearse(entry: Entry, group: Group, shared: Any) -> None:
    try:
        held, _ = jax.eval_shape(_played, group.first, shared)
        _check_fits(held, min(len(group), len(jax.devices())))  # what does not fit at once goes in waves
        if any(type(one).__module__.partition(".")[0] != "icl_sim" for one in _predictors(group.first).values()):
            _refuse_peeking(group.first, shared)
    except Exception as error:  # whatever a network or a learner raises on shapes that it was not made for
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if not isinstance(error, ValueError):
            told = f"It cannot answer these sequences: {type(error).__name__}: {told}"
        raise ValueError(f"{told}{_place(error)} (The predictor {entry.predictor!r}.)") from error


def _place(error: BaseException) -> str:
    """Where the last line of a study's own code is that an error came through; empty if icl_sim itself tells it."""
    ours = str(Path(icl_sim.__file__).parent)
    others = ("<", sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), ours)
    passed = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.lineno]
    own = [frame for frame in passed if not frame.filename.startswith(others)]
    if not own or passed[-1].filename.startswith(ours):
        return ""
    return f" ({own[-1].filename}, line {own[-1].lineno})"


def _played(member: Member, shared: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What takes memory in any case, a member's state and batches; and its answers and how they compare."""
    state = initial_state(member, shared)
    evaluated = next(iter(member.eval_task.evaluation_sets().values())).prepare(shared)
    size = min(member.evaluation.batch_size, member.evaluation.sequences)
    batch = evaluated.sample(stream(0, "eval", 0), size)
    me = Answerer(member.predictor, join(state.parts))
    outputs = member.predictor.apply(me.params, batch, record=True)
    if not isinstance(outputs, Outputs):
        raise ValueError(f"Its apply returns {outputs!r}; it must return icl_sim.types.Outputs.")
    played: dict[str, Any] = {"weights": metrics.slot_weights(outputs, batch), "loss": metrics.loss(outputs, batch)}
    for name, params in state.references.items():
        other = Answerer(member.references[name], params)
        played[name] = other(batch)
        for what, comparison in member.comparisons.items():
            if name in (comparison.references or member.references):
                played[f"{what} {name}"] = comparison.compare(me, other, batch)
    held = {"parameters": state, "evaluation": batch}
    if member.predictor.phases and jax.tree.leaves(state.parts):
        held["training"] = member.task.prepare(shared).sample(stream(0, "train", 0), member.training.batch_size)
    return held, played


def _predictors(member: Member) -> dict[str, Predictor]:
    """The predictor of a member, under no name, and its references by theirs."""
    return {"": member.predictor, **member.references}


def _refuse_peeking(member: Member, shared: Any) -> None:
    """Raises ValueError if an answer changes with targets that are not to be seen: its own and those after it."""
    for name, change in jax.jit(_changes)(member, shared).items():
        if change > TOLERANCE:
            whose = f"the reference {name!r}" if name else "it"
            raise ValueError(
                f"What {whose} answers at a slot s changes with targets[:, s:], the answer itself among them, which it "
                "must not read."
            )


def _changes(member: Member, shared: Any) -> dict[str, Array]:
    """By how much answers change, by their size, when targets are changed from the last slot asked on."""
    state = initial_state(member, shared)
    evaluated = next(iter(member.eval_task.evaluation_sets().values())).prepare(shared)
    batch = evaluated.sample(stream(0, "eval", 0), 2)
    slots = batch.targets.shape[1]
    last = slots - 1 if batch.weights is None else slots // 2
    other = (batch.targets + 1) % batch.num_classes if batch.num_classes else batch.targets + 1
    altered = dataclasses.replace(batch, targets=jnp.where(jnp.arange(slots)[None] < last, batch.targets, other))

    def change(predictor: Predictor, params: Params) -> Array:
        before, after = (predictor.apply(params, one).values for one in (batch, altered))
        if batch.weights is not None:
            before, after = before[:, : last + 1], after[:, : last + 1]
        finite = jnp.isfinite(before) & jnp.isfinite(after)
        changed = jnp.max(jnp.abs(before - after), initial=0.0, where=finite)
        return changed / (1 + jnp.max(jnp.abs(before), initial=0.0, where=finite))

    params = {"": join(state.parts), **state.references}
    return {name: change(predictor, params[name]) for name, predictor in _predictors(member).items()}


def _check_fits(held: Mapping[str, Any], members: int) -> None:
    """Raises ValueError if the states of so many members and a batch are more than this machine can hold."""

    batch = max(bytes_of(held.get("training")), bytes_of(held["evaluation"]))
    needed = members * bytes_of(held["parameters"]) + batch
    if needed <= (memory := devices.memory()):
        return
    path, leaf = max(jax.tree_util.tree_leaves_with_path(held), key=lambda found: bytes_of(found[1]))
    raise ValueError(
        f"The study does not fit into this machine's memory, {memory / 2**30:,.0f} GiB: a batch and the parameters of "
        f"{'one member' if members == 1 else f'{members:,} members'} take {needed / 2**30:,.0f}. The largest array is "
        f"{jax.tree_util.keystr(path, simple=True, separator='.')} of shape {list(leaf.shape)}."
    )
