"""The verb: trains and evaluates all members of a group together, chunk by chunk."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from icl_sim.engine import hosts
from icl_sim.engine.devices import member_mesh
from icl_sim.engine.evaluate import SUMMARY
from icl_sim.engine.group import Group
from icl_sim.engine.program import Program, is_trainable
from icl_sim.engine.step import State

TRAINING = "training"  # the evaluation set of what training itself reports
Measures = Mapping[tuple[str, str], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Chunk:
    """What a stretch of training leaves behind.

    Attributes:
      step: updates that every member has behind it.
      measures: (evaluation set, metric) -> `[M]`, or None where this step is not an evaluation step.
      updates: model updates of this stretch, summed over members.
      seconds: that it took, with evaluation and, the first time, compilation.
      save: whether this is the moment to save: the last one is a full chunk away, or training ends.
    """

    step: int
    measures: Measures | None
    updates: int
    seconds: float
    save: bool
    _fetch_state: Callable[[], State]

    @property
    def state(self) -> State:
        """The state of all members on the host, leaves `[M, ...]`. Read it before the next chunk overwrites it."""
        return self._fetch_state()


def simulate(
    group: Group,
    *,
    program: Program | None = None,
    state: State | None = None,
    step: int = 0,
    chunk_steps: int | None = None,
    chunk_seconds: float = 5.0,
) -> Iterator[Chunk]:
    """Simulates a group, yielding at every evaluation step, where a phase ends and after every full chunk.

    The numbers do not depend on the chunks, nor on where a run was cut and resumed. Who saves whenever a yield says
    so never loses more than one full chunk.

    Args:
      group: M members of equal structure.
      program: of this group, as `engine.layout` lays it out; by default members are spread over all devices.
      state: where to go on, from an earlier chunk; None starts afresh.
      step: the updates that `state` has behind it.
      chunk_steps: updates in a full chunk; by default, as many as take about `chunk_seconds`.
    """
    if group.members.task.calculated:
        yield Chunk(0, _calculated(group), 0, 0.0, False, _no_state)
        return
    program = program or Program(group, member_mesh(len(group)))
    steps = group.members.training.steps if is_trainable(group) else 0
    phases = group.members.phase_ends()
    evaluated = group.members.evaluation.steps(steps)
    started = time.perf_counter()

    def chunk(updates: int, save: bool) -> Chunk:
        nonlocal state, started
        measures = None
        if step in evaluated:
            since = step - max((e for e in evaluated if e < step), default=0)
            measures = _measures(program, state, step, since)
            state = dataclasses.replace(state, loss_sum=program.place(np.zeros(len(group), np.float32)))
        now = time.perf_counter()
        seconds, started = now - started, now
        return Chunk(step, measures, updates, seconds, save, functools.partial(program.fetch, state))

    if state is None:
        state, step = program.start(), 0
        yield chunk(0, save=steps == 0)
    else:
        state = program.place(state)
    length, trained_for = chunk_steps or 1, 0.0  # since an update may take seconds
    full = step + length
    while step < steps:
        phase, end = next((phase, end) for phase, end in phases if step < end)
        stop = min(full, end, evaluated[bisect.bisect_right(evaluated, step)])
        training_started = time.perf_counter()
        state = program.train(state, step, stop, phase)
        state.loss_sum.block_until_ready()
        trained_for += time.perf_counter() - training_started
        updates, step = (stop - step) * len(group), stop
        yield chunk(updates, save=step in (full, steps))
        if step == full:
            if chunk_steps is None:  # compilation and hiccups make it seem slower than it is, by more than it is
                wanted = round(length * chunk_seconds / trained_for)
                length = int(hosts.told(min(16 * length, max(1, length // 4, wanted))))
            full, trained_for = step + length, 0.0


def _no_state() -> State:
    raise ValueError("What is calculated leaves no state behind.")


def _calculated(group: Group) -> Measures:
    """What the predictors of a group know without any sequence."""
    told = group.members.predictor.calculate(group.members.task)
    named = {name if isinstance(name, tuple) else (SUMMARY, name): column for name, column in told.items()}
    return {name: np.broadcast_to(column, len(group)) for name, column in named.items()}


def _measures(program: Program, state: State, step: int, since: int) -> Measures:
    """Evaluates the state after `step` updates; `since`: how many of them its training loss was summed over."""
    measured = program.measure(state)
    columns = {(name, metric): column for name, metrics in measured.items() for metric, column in metrics.items()}
    if since:
        columns[TRAINING, "loss"] = program.fetch(state.loss_sum) / since
    for name, counts in state.counts.items():
        counts_MC = program.fetch(counts)
        for number, column in enumerate(counts_MC.T):
            columns[TRAINING, f"{name}/{number}"] = column
        for group, (first, end) in program.groups.items():
            columns[TRAINING, f"{name}_{group}"] = counts_MC[:, first:end].mean(axis=1)
    diverged_at = program.fetch(state.diverged_at)
    # A member that the very last update has lost: the next one is the first whose loss would not be finite.
    diverged_at = np.where((diverged_at < 0) & program.is_lost(state), step, diverged_at)
    if np.any(diverged_at >= 0):
        columns[TRAINING, "diverged_at_step"] = np.where(diverged_at >= 0, diverged_at, np.nan)
    return columns
