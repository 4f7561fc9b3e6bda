"""A study in shapes only, before anything runs: what is found wrong where predictors first meet sequences."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

import icl_sim
from icl_sim import metrics
from icl_sim.engine import devices
from icl_sim.engine.cost import bytes_of
from icl_sim.engine.evaluate import ONLINE, PARAMETERS, PRETRAINING, SUMMARY, measured, positions
from icl_sim.engine.group import Group
from icl_sim.engine.settings import Member
from icl_sim.engine.simulate import TRAINING
from icl_sim.engine.step import initial_state, join
from icl_sim.engine.structure import structure
from icl_sim.keys import stream
from icl_sim.studies import resolution
from icl_sim.studies.curves import LIMITS
from icl_sim.studies.figures import Spec
from icl_sim.studies.peeking import refuse_peeking
from icl_sim.studies.plan import Entry, Plan
from icl_sim.studies.quantities import Pair
from icl_sim.types import Outputs

PREFERENCE = ("preference", "preference_from", "preference_to")  # on sets where context and memory disagree


def rehearse(planned: Plan, specs: Iterable[Spec] = ()) -> tuple[str, ...]:
    """Loads what tasks read, and traces for one member of every group its start, its answers and its comparisons.

    Nothing is computed, but that predictors of a study's own answer two sequences.

    Args:
      specs: figures that are to be drawn of it.

    Returns:
      A sentence for each figure that would have nothing to show.

    Raises:
      ValueError: a sentence that ends with the predictor, for a predictor, reference or comparison that cannot do with
        the sequences of the study, for more numbers than this machine can hold, and for a predictor that reads answers.
    """
    entries = {entry.id: entry for entry in planned.entries}
    loaded: dict[str, Any] = {}
    known: dict[Pair, None] = {}
    unknown = {TRAINING, ONLINE, PARAMETERS}
    for group in planned.groups:
        entry = entries[group.ids[0]]
        key = repr(entry.member.task)
        if key not in loaded:
            loaded[key] = entry.member.task.load()
        if not entry.member.task.calculated:
            _note_measures(group.first, _rehearse(entry, group, loaded[key]), known, unknown)
    return _empty(specs, list(known), unknown) if known else ()  # nothing is known beforehand of what is calculated


def _rehearse(entry: Entry, group: Group, shared: Any) -> tuple[Mapping[str, Any], int]:
    """The measures of one member on a batch, in shapes, and the number of slots."""
    try:
        held, played = jax.eval_shape(_played, group.first, shared)
        _check_fits(held, min(len(group), len(jax.devices())))  # what does not fit at once goes in waves
        refuse_peeking(group.first, shared)
    except Exception as error:  # whatever a network or a learner raises on shapes that it was not made for
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if not isinstance(error, ValueError):
            told = f"It cannot answer these sequences: {type(error).__name__}: {told}"
        raise ValueError(f"{told}{_place(error)} (The predictor {entry.predictor!r}.)") from error
    return played["measures"], held["evaluation"].targets.shape[1]


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
    params = join(state.parts)
    outputs = member.predictor.apply(params, batch, record=True)
    if not isinstance(outputs, Outputs):
        raise ValueError(f"Its apply returns {outputs!r}; it must return icl_sim.types.Outputs.")
    played: dict[str, Any] = {"weights": metrics.slot_weights(outputs, batch), "loss": metrics.loss(outputs, batch)}
    for name, own in state.references.items():
        played[name] = member.references[name].apply(own, batch)
    played["measures"] = measured(member, params, state.references, evaluated, batch, outputs)
    held = {"parameters": state, "evaluation": batch}
    if member.predictor.phases and jax.tree.leaves(state.parts):
        held["training"] = member.task.prepare(shared).sample(stream(0, "train", 0), member.training.batch_size)
    return held, played


def _note_measures(
    member: Member, found: tuple[Mapping[str, Any], int], known: dict[Pair, None], unknown: set[str]
) -> None:
    """Adds what is measured of a member to `known`, and evaluation sets that were not looked at to `unknown`."""
    sets = {**member.eval_task.evaluation_sets(), PRETRAINING: member.task}
    first = next(iter(sets.values()))
    alike = [name for name, task in sets.items() if structure(task) == structure(first)]
    unknown |= set(sets) - set(alike)
    shapes, slots = found
    resampled = metrics.RESAMPLED if member.evaluation.bootstrap else ()
    names = []
    for name, shape in shapes.items():
        at = positions(first, slots, shape.shape[1] if shape.ndim > 1 else 1)
        ends = [name, *(f"{name}_{end}" for end in LIMITS if name in resampled)]
        names += [name, *(f"{end}/{k}" for end in ends for k in at)]
    known |= dict.fromkeys((name, eval_set) for eval_set in alike for name in names)
    conflicts = set(member.eval_task.conflicts()).intersection(alike)
    known |= dict.fromkeys((name, eval_set) for eval_set in conflicts for name in PREFERENCE)
    known |= dict.fromkeys((name, SUMMARY) for name in member.eval_task.summaries())


def _empty(specs: Iterable[Spec], known: list[Pair], unknown: set[str]) -> tuple[str, ...]:
    """What figures lack that would show nothing; of those that ask for what cannot be known before, nothing is said."""
    told = []
    for spec in specs:
        asked = {quantity.eval_set for quantity in spec.quantities}
        if asked & unknown or any("*" in name for name in asked) and unknown - {TRAINING, ONLINE, PARAMETERS}:
            continue
        if not resolution.shown(spec, known):
            told += resolution.unmeasured(spec, known)[:1]
    return tuple(told)


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
