"""Profiles: a trace of training, of a few chunks after warm-up, and which share of the time its parts take.

Evaluations are left out: they would be most of what a trace can hold.
"""

from __future__ import annotations

import collections
import dataclasses
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from icl_sim.engine.group import Group
from icl_sim.engine.layout import CHOSEN, Layout, laid_out
from icl_sim.engine.simulate import Chunk, simulate

CHUNKS, STEPS = 2, 16  # that a trace holds, and the updates of each
WARM_UP = 2  # chunks before; the first one compiles
# On a CPU, where an update of one member leaves a thousand events of the million that a file for Perfetto holds.
MEMBERS = 16
TRAIN = "jit_train"  # what the training program is called in a trace
SHOWN = 12
_CONTAINERS = ("while", "call", "conditional")  # that hold other operations, which count themselves


def traced(groups: Sequence[tuple[Group, int]], folder: Path, layout: Layout = CHOSEN) -> Path:
    """Trains the first group that trains from its start for some seconds, writes a trace of the last, and forgets it.

    Args:
      groups: with the updates of each.
      folder: gets `plugins/profile/TIME/HOST.trace.json.gz`, which Perfetto opens, and `HOST.xplane.pb`, for XProf.
      layout: as the run has it.

    Returns:
      The trace that Perfetto opens.

    Raises:
      ValueError: if nothing trains, or for too few updates.
    """
    group = next((group for group, steps in groups if steps), None)
    if group is None:
        raise ValueError("There is nothing to profile: nothing of this study trains.")
    before = set(_traces(folder))
    if jax.default_backend() == "cpu":
        group = group.taken(np.arange(len(group)) < MEMBERS)
    rarely = dataclasses.replace(group.members.evaluation, points=1)  # evaluations would be most of the events
    group = dataclasses.replace(group, members=dataclasses.replace(group.members, evaluation=rarely))
    wave, program = next(laid_out(group, layout))
    chunks = simulate(wave, program=program, chunk_steps=STEPS)
    if _pass(chunks, WARM_UP) == group.members.training.steps:
        raise ValueError(
            f"training.steps is {group.members.training.steps:,}, too few to profile: all were done before everything "
            "was compiled and warm."
        )
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python waits nearly all of the time
    jax.profiler.start_trace(folder, profiler_options=options)
    try:
        _pass(chunks, CHUNKS)
    finally:
        jax.profiler.stop_trace()
    return max(set(_traces(folder)) - before, key=lambda path: path.stat().st_mtime)


def _pass(chunks: Iterator[Chunk], number: int) -> int:
    """Goes through so many full chunks, and fetches the states that a run would save; the step after them."""
    step = 0
    for chunk in chunks:
        step = chunk.step
        if chunk.save:
            _ = chunk.state
            number -= 1
            if not number:
                break
    return step


def shares(trace: Path) -> list[tuple[str, float, int]]:
    """Kinds of operations of the training program, each with its share of the time of all and its number.

    Operations are called as the compiler names them, without their numbers: "dot.12" is one of the kind "dot".
    """
    seconds: collections.Counter[str] = collections.Counter()
    number: collections.Counter[str] = collections.Counter()
    for event in _operations(trace):
        kind = event["name"].split(".")[0]
        if kind not in _CONTAINERS:
            seconds[kind] += event["dur"]
            number[kind] += 1
    total = sum(seconds.values())
    return [(kind, spent / total, number[kind]) for kind, spent in seconds.most_common()]


def to_text(trace: Path) -> str:
    """The largest shares in lines."""
    found = shares(trace)
    told = [f"  {share:>6.1%}  {kind} ({number:,} times)" for kind, share, number in found[:SHOWN]]
    if rest := found[SHOWN:]:
        told.append(f"  {sum(share for _, share, _ in rest):>6.1%}  {len(rest)} other kinds")
    return "\n".join(["where the time of the training program's operations goes", *told])


def _operations(trace: Path) -> list[dict[str, Any]]:
    """The events of a trace that are operations of the training program."""
    with gzip.open(trace, "rt") as file:
        events = json.load(file)["traceEvents"]
    return [e for e in events if e.get("ph") == "X" and e.get("args", {}).get("hlo_module", "").startswith(TRAIN)]


def _traces(folder: Path) -> list[Path]:
    return sorted(folder.glob("plugins/profile/*/*.trace.json.gz"))
