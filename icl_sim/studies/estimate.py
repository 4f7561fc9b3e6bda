"""What a study will cost, before anything is spent: members, programs, memory, operations, time."""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Sequence

import jax
import numpy as np

from icl_sim.engine.accelerators import Accelerator
from icl_sim.engine.checkpoints import KEPT
from icl_sim.engine.cost import bytes_of, flops_per_update
from icl_sim.engine.group import Group
from icl_sim.engine.layout import mesh_of
from icl_sim.engine.program import Program, state_shapes
from icl_sim.engine.structure import structure
from icl_sim.keys import stream
from icl_sim.studies.amounts import short, size, span
from icl_sim.studies.plan import Plan, without_steps
from icl_sim.studies.shards import MOST, numbers

# Measured for S0 on an H100 (docs/cost.md), and assumed of other chips and networks.
UTILISATION = 0.02  # of the peak, with hundreds of members
LEAST = 3e-4  # seconds of an update of all members of a chip, however few: it is some hundred kernels
TRIED = 64  # members at most that a trial trains
SHOWN = 20  # groups that a text lists


@dataclasses.dataclass(frozen=True)
class GroupCost:
    """What a group costs.

    Attributes:
      group: its members.
      label: who they are, as "24 x transformer".
      steps: updates of each; 0 where nothing trains.
      flops: floating-point operations of one update of one member.
      evaluation_flops: of all evaluations of one member: forward passes alone, taken for a third of an update.
      state, batch: bytes of a member's state, and of the sequences of one update.
    """

    group: Group
    label: str
    steps: int
    flops: float
    evaluation_flops: float
    state: int
    batch: int

    @property
    def updates(self) -> int:
        """Of all members."""
        return self.steps * len(self.group)


@dataclasses.dataclass(frozen=True)
class Trial:
    """What was measured of a group: seconds of compiling and starting, and then updates per second of all members."""

    preparing: float
    rate: float


def costs(planned: Plan) -> list[GroupCost]:
    """What every group costs. Programs are traced, and nothing is compiled or computed."""
    names = {entry.id: entry.predictor for entry in planned.entries}
    found, batches = [], {}
    for group, steps in zip(planned.groups, planned.steps, strict=True):
        counts = collections.Counter(names[number] for number in group.ids)
        label = ", ".join(f"{count:,} x {name}" for name, count in counts.items())
        state = 0 if group.members.task.calculated else bytes_of(state_shapes(group)) // len(group)
        flops = flops_per_update(group) if steps else 0.0
        of_sequence = flops / 3 / group.members.training.batch_size
        evaluated = _evaluated(group, steps) if steps else 0
        drawn = structure((group.members.task, group.members.seed)), group.members.training.batch_size
        if steps and drawn not in batches:
            batches[drawn] = _bytes_of_batch(group)
        batch = batches[drawn] if steps else 0
        found.append(GroupCost(group, label, steps, flops, evaluated * of_sequence, state, batch))
    return found


def packs(found: Sequence[GroupCost], of: int) -> np.ndarray:
    """How many members of every group go into each of n shards, `[n, groups]`. Raises ValueError if none can be."""
    if not 1 <= of <= MOST:
        raise ValueError(f"--shards is {of}; it must be from 1 to {MOST:,}.")
    number_M = numbers([cost.steps for cost in found for _ in cost.group.ids], of)
    group_M = np.repeat(np.arange(len(found)), [len(cost.group) for cost in found])
    counts = np.zeros((of, len(found)), int)
    np.add.at(counts, (number_M - 1, group_M), 1)
    return counts


def seconds_on(
    found: Sequence[GroupCost], accelerator: Accelerator, chips: int = 1, of: int = 1, utilisation: float = UTILISATION
) -> np.ndarray:
    """Seconds that every shard takes on so many chips of its own, `[n]`, compilation not counted.

    Members are spread over chips, and the one with the most is waited for. Raises ValueError for a share that is none.
    """
    if not 0 < utilisation <= 1:
        raise ValueError(f"--utilisation is {utilisation:g}; it must be above 0 and at most 1.")
    reached = accelerator.peak * utilisation
    flops_G, evaluating_G, steps_G = (
        np.asarray([getattr(cost, name) for cost in found]) for name in ("flops", "evaluation_flops", "steps")
    )
    members_NG = np.ceil(packs(found, of) / chips)
    update_NG = np.where(members_NG > 0, np.maximum(LEAST, members_NG * flops_G / reached), 0.0)
    return update_NG @ steps_G + members_NG @ evaluating_G / reached


def tried(cost: GroupCost, seconds: float) -> Trial:
    """Trains a group, or some of a large one, for at most so many seconds, and forgets it.

    Compiling and the first update come on top, and one more update is trained however long it takes.
    """
    group = cost.group.taken(np.arange(len(cost.group)) < TRIED)
    started = time.perf_counter()
    program = Program(group, mesh_of(group))
    phase, most = group.members.phase_ends()[0]
    state = jax.block_until_ready(program.start())
    state = jax.block_until_ready(program.train(state, 0, 1, phase))
    preparing, left, length = time.perf_counter() - started, seconds, 1
    while True:
        before = time.perf_counter()
        state = jax.block_until_ready(program.train(state, 0, length, phase))
        took = time.perf_counter() - before
        left -= took
        longer = min(2 * length, most, int(length * left / took))
        if longer <= length:
            return Trial(preparing, len(group) * length / took)
        length = longer


def to_text(found: Sequence[GroupCost], of: int = 1) -> str:
    """The plan and its costs, a line for every group."""
    members, updates = sum(len(cost.group) for cost in found), sum(cost.updates for cost in found)
    trained = sum(cost.updates * cost.flops for cost in found)
    evaluated = sum(len(cost.group) * cost.evaluation_flops for cost in found)
    state = sum(len(cost.group) * cost.state for cost in found)
    largest = max(found, key=lambda cost: cost.state)
    told = [
        f"{members:,} members, {updates:,} updates; groups (one training program each): {len(found):,}",
        *(_line(number, cost) for number, cost in enumerate(found[:SHOWN], 1)),
        *([f"  and {len(found) - SHOWN:,} more groups"] if len(found) > SHOWN else []),
        f"operations   {short(trained)}FLOP to train, and about {short(evaluated)}FLOP to evaluate",
        f"memory       {size(state)} of state for all members together, at most {size(largest.state)} for one; a batch "
        f"of one takes {size(max(cost.batch for cost in found))}; what is computed on the way comes on top",
        f"checkpoints  at most {size(KEPT * state)} on disk, the last {KEPT} of every group",
    ]
    if of != 1:
        counts = packs(found, of)
        sizes, programs = counts.sum(axis=1), (counts > 0).sum(axis=1)
        told.append(
            f"shards       {of:,}, of {sizes.min():,} to {sizes.max():,} members and {programs.min()} to "
            f"{programs.max()} programs each"
        )
    return "\n".join(told)


def time_on(
    found: Sequence[GroupCost], accelerator: Accelerator, chips: int, of: int, utilisation: float = UTILISATION
) -> str:
    """The time on an accelerator, in a few lines with all that it assumes."""
    each = seconds_on(found, accelerator, chips, of, utilisation)
    held = max(math.ceil(n / chips) * (cost.state + cost.batch) for n, cost in _largest(found, of))
    where = accelerator.name if chips == 1 else f"{chips:,} chips of {accelerator.name}"
    longest = f" for the longest of {of:,} shards, each on its own" if of > 1 else ""
    told = [
        f"time         {span(each.max())} on {where}{longest}; {chips * each.sum() / 3600:,.3g} chip hours in all",
        f"             assumed: {100 * utilisation:g} % of a peak of {accelerator.peak / 1e12:g} TFLOP/s "
        f"({accelerator.source}),",
        f"             at least {1e3 * LEAST:g} ms for an update of all members of a chip; compiling comes on top",
    ]
    if held > accelerator.memory:
        told.append(
            f"             Their states and batches, {size(held)}, do not fit into the {size(accelerator.memory)} of a "
            "chip: members have to come in waves."
        )
    return "\n".join(told)


def time_here(found: Sequence[GroupCost], trials: Sequence[Trial | None], of: int) -> str:
    """The time on this machine by trials of the groups, None for what trains nothing."""
    pairs = [(cost, trial) for cost, trial in zip(found, trials, strict=True) if trial]
    told = [f"trial        group {number}: {trial.rate:,.0f} updates/s, {trial.preparing:.1f} s to compile and start"
            for number, trial in enumerate(trials, 1) if trial]  # fmt: skip
    per_update = np.asarray([1 / trial.rate if trial else 0.0 for trial in trials])
    work_G = np.asarray([cost.steps + _evaluation_in_updates(cost) for cost in found]) * per_update
    counts = packs(found, of)
    preparing = (counts > 0) @ np.asarray([trial.preparing if trial else 0.0 for trial in trials])
    each = counts @ work_G + preparing
    whole = sum(len(cost.group) * cost.steps / trial.rate for cost, trial in pairs)
    told.append(
        f"time here    {span(each.sum())} with evaluations (by their operations) and compiling, of it {span(whole)} "
        "training" + (f"; the longest of {of:,} shards takes {span(each.max())}" if of > 1 else "")
    )
    return "\n".join(told)


def _largest(found: Sequence[GroupCost], of: int) -> list[tuple[int, GroupCost]]:
    return list(zip(packs(found, of).max(axis=0), found, strict=True))


def _evaluation_in_updates(cost: GroupCost) -> float:
    return cost.evaluation_flops / cost.flops if cost.flops else 0.0


def _line(number: int, cost: GroupCost) -> str:
    if not cost.steps:
        return f"  {number:>3}  {cost.label}: {without_steps(cost.group)}"
    return (
        f"  {number:>3}  {cost.label}: {cost.steps:,} updates each of {short(cost.flops)}FLOP, state {size(cost.state)}"
    )


def _evaluated(group: Group, steps: int) -> int:
    """Sequences on which one member is evaluated in all."""
    evaluation = group.members.evaluation
    sets = 1 + len(group.members.eval_task.evaluation_sets())
    return len(evaluation.steps(steps)) * sets * evaluation.sequences


def _bytes_of_batch(group: Group) -> int:
    first = group.first

    def batch(member, shared):
        return member.task.prepare(shared).sample(stream(member.seed, "train", 0), member.training.batch_size)

    return bytes_of(jax.eval_shape(batch, first, jax.eval_shape(first.task.load)))
