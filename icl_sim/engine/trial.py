"""Which is faster on this machine: members one after the other, together, or some at a time. Tried, and remembered.

One after the other keeps a member's state in the cache of a CPU; together makes few large operations of many small
ones. Which wins depends on the network, the device and the number of members; numbers differ by rounding.
"""

from __future__ import annotations

import hashlib
import json
import os
import time

import jax
from jax.sharding import Mesh

from icl_sim.engine import cache, hosts
from icl_sim.engine.devices import MEMBER, memory_for_training
from icl_sim.engine.group import Group
from icl_sim.engine.program import Program, is_trainable
from icl_sim.engine.structure import structure

CANDIDATES = (1, 4, 16)  # members at once, beside all of a device
UPDATES = 100_000  # of a group, below which nothing is tried
SECONDS = 600  # that a group must be expected to take to be worth a trial
STRETCH = 0.5  # seconds of one measurement
MARGIN = 0.95  # of the time of the platform's usual way, below which another one is taken
REMEMBERED = "trials.json"


def fastest(group: Group, mesh: Mesh) -> Program:
    """The program of a group with as many members at once on a device as are the fastest.

    A group that is expected to take ten minutes or more is tried in every way for some seconds each, on states that
    are thrown away. What was found is kept for groups of the same structure and size on devices of the same kind.
    Others go the platform's usual way.
    """
    each = -(-len(group) // mesh.shape[MEMBER])
    updates = group.members.training.steps * len(group)
    if each == 1 or updates < UPDATES or not is_trainable(group):
        return Program(group, mesh)
    key = _key(group, mesh)
    if known := int(hosts.told(_known().get(key, 0) if hosts.is_writer() else 0)):
        return Program(group, mesh, known)
    usual = Program(group, mesh)
    seconds = _seconds_per_update(usual)
    if hosts.told(seconds) * updates < SECONDS:
        return usual
    found = {usual.at_once: MARGIN * seconds}
    for at_once in sorted({min(number, each) for number in (*CANDIDATES, each)} - {usual.at_once}):
        tried = Program(group, mesh, at_once)
        if tried.bytes_of_training() < memory_for_training():
            found[at_once] = _seconds_per_update(tried)
    best = int(hosts.told(min(found, key=found.__getitem__)))
    if hosts.is_writer():
        _remember(key, best)
    return usual if best == usual.at_once else Program(group, mesh, best)


def _seconds_per_update(program: Program) -> float:
    """Per update and member; the best of three stretches, after one that compiles."""
    phase = program.phases[0]
    state, done, count, best = program.start(), 0, 1, float("inf")
    for stretch in range(4):
        while True:
            started = time.perf_counter()
            state = jax.block_until_ready(program.train(state, done, done + count, phase))
            took = float(hosts.told(time.perf_counter() - started))
            done += count
            if stretch or took > STRETCH or count >= 2**20:
                break
            count *= 2
        if stretch:
            best = min(best, took / count)
    return best / program.size


def _key(group: Group, mesh: Mesh) -> str:
    """Of what decides which way is the fastest."""
    kind = mesh.devices.flat[0].device_kind
    said = repr((structure(group.members), mesh.devices.shape, kind, os.cpu_count(), jax.__version__))
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _known() -> dict[str, int]:
    """What earlier trials found. A file that cannot be read is as good as none."""
    if (folder := cache.folder()) is None:
        return {}
    try:
        known = json.loads((folder / REMEMBERED).read_text())
        return {str(key): int(number) for key, number in known.items() if int(number) > 0}
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return {}


def _remember(key: str, at_once: int) -> None:
    """Keeps what was found; where that is impossible, it will be found again."""
    if (folder := cache.folder()) is None:
        return
    temporary = folder / f"{REMEMBERED}.{os.getpid()}.tmp"
    try:
        temporary.write_text(json.dumps(_known() | {key: at_once}, indent=1))
        temporary.replace(folder / REMEMBERED)
    except OSError:
        temporary.unlink(missing_ok=True)
