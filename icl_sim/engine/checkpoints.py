"""Checkpoints of a group: one tree for all its members, written atomically, checked when read."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from icl_sim.engine.group import Group
from icl_sim.engine.program import state_shapes
from icl_sim.engine.step import State

KEPT = 2

log = logging.getLogger("icl_sim")


class CheckpointError(ValueError):
    """No checkpoint of a folder can be read; the message names each and why."""


class Checkpoints:
    """The newest checkpoints of one group, in a folder of its own. Close it, or use it in a `with` statement."""

    def __init__(self, folder: Path):
        from orbax.checkpoint.experimental import v1 as orbax  # heavy, and needed only by runs that are kept

        self._folder = Path(folder).absolute()
        self._checkpointer = orbax.training.Checkpointer(
            self._folder,
            # The caller decides when to save; the default would skip a save while another is in flight.
            save_decision_policy=orbax.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=orbax.training.preservation_policies.LatestN(KEPT),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def save(self, step: int, state: State) -> None:
        """Saves the state (leaves `[M, ...]`) that a group has after `step` updates."""
        leaves = _named_leaves(state)
        self._checkpointer.save(step, leaves, overwrite=True, custom_metadata={"crc32": _checksum(leaves)})

    def restore(self, group: Group) -> tuple[State, int] | None:
        """The newest intact state and its step, or None if nothing was saved.

        Raises:
          CheckpointError: if there are checkpoints, but none is intact or fits the group.
        """
        shapes = state_shapes(group)
        damaged = []
        for found in sorted(self._checkpointer.checkpoints, key=lambda c: c.step, reverse=True):
            try:
                state = self._read(found.step, shapes)
            except Exception as error:  # whatever a damaged file makes the reader raise
                reason = str(error).strip().split("\n")[0][:200]
                damaged.append(f"The checkpoint {self._folder / str(found.step)} cannot be read ({reason}).")
                log.warning("%s", damaged[-1])
                continue
            return state, found.step
        if damaged:
            raise CheckpointError(" ".join(damaged))
        return None

    def close(self) -> None:
        self._checkpointer.close()

    def _read(self, step: int, shapes: State) -> State:
        wanted = _named_leaves(shapes)
        leaves = self._checkpointer.load(step, {name: np.empty(s.shape, s.dtype) for name, s in wanted.items()})
        for name, shape in wanted.items():
            if leaves[name].shape != shape.shape:
                raise ValueError(f"{name} has shape {leaves[name].shape}, the study needs {shape.shape}")
        saved = (self._checkpointer.metadata(step).custom_metadata or {}).get("crc32")
        if saved != _checksum(leaves):
            raise ValueError("its checksum is wrong")
        return jax.tree.unflatten(jax.tree.structure(shapes), [leaves[name] for name in wanted])


def _named_leaves(state: State) -> dict[str, Any]:
    """The leaves by their path, in the order of the tree: a layout that outlives the classes it came from."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _checksum(leaves: dict[str, np.ndarray]) -> int:
    total = 0
    for name in sorted(leaves):
        total = zlib.crc32(np.ascontiguousarray(leaves[name]).tobytes(), zlib.crc32(name.encode(), total))
    return total
