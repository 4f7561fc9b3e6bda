"""Checkpoints of a group: one tree for all its members, written atomically, checked when read."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from icl_sim.engine.group import Group
from icl_sim.engine.program import state_shapes
from icl_sim.engine.step import State

KEPT = 2
CHECKSUMS = "checksums.json"  # in every checkpoint, written last: its files and their CRC-32

log = logging.getLogger("icl_sim")


class CheckpointError(ValueError):
    """No checkpoint of a folder can be read; the message names each and why."""


class Checkpoints:
    """The newest checkpoints of one group, in a folder of its own. Close it, or use it in a `with` statement.

    A checkpoint whose files are not what they were is named in a warning and set aside (`60.damaged`) before orbax sees
    it, which a damaged file would keep from starting, or make fail in ways that say little.
    """

    def __init__(self, folder: Path):
        self._folder = Path(folder).absolute()
        for unfinished in self._folder.glob("*.orbax-checkpoint-tmp*"):  # of saves that were killed
            shutil.rmtree(unfinished, ignore_errors=True)
        self._unreadable = [self._set_aside(step, why) for step in self._steps() if (why := _damage(step))]
        self._checkpointer = self._opened()

    def _opened(self) -> Any:
        from orbax.checkpoint.experimental import v1 as orbax  # heavy, and needed only by runs that are kept

        return orbax.training.Checkpointer(
            self._folder,
            # The caller decides when to save; the default would skip a save while another is in flight.
            save_decision_policy=orbax.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=orbax.training.preservation_policies.LatestN(KEPT),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def save(self, step: int, state: State) -> None:
        """Saves the state (leaves `[M, ...]`) that a group has after `step` updates.

        Raises:
          OSError: "No space left", before anything is written, where the disk has less room than the state needs: a
            disk that fills up under orbax is told by a thousand lines of its threads.
        """
        needed = 2**20 + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        if shutil.disk_usage(self._folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        self._checkpointer.save(step, _named_leaves(state), overwrite=True)
        checksums = self._folder / str(step) / CHECKSUMS
        temporary = checksums.with_suffix(".tmp")
        with open(temporary, "w") as file:
            json.dump(_checksums(checksums.parent), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, checksums)

    def restore(self, group: Group) -> tuple[State, int] | None:
        """The newest intact state and its step, or None if nothing was saved.

        Raises:
          CheckpointError: if there are checkpoints, but none is intact or fits the group.
        """
        for found in sorted(self._checkpointer.checkpoints, key=lambda c: c.step, reverse=True):
            try:
                return self._read(found.step, state_shapes(group)), found.step
            except Exception as error:  # whatever another tree than expected makes the reader raise
                self._unreadable.append(self._told(self._folder / str(found.step), str(error)))
        if self._unreadable:
            raise CheckpointError(" ".join(self._unreadable))
        return None

    def set_all_aside(self) -> None:
        """Renames all checkpoints, for a group that starts again: the newest of before would outlive those to come."""
        self.close()
        for path in self._steps():
            self._rename(path, "aside")
        self._checkpointer = self._opened()

    def close(self) -> None:
        self._checkpointer.close()

    def _read(self, step: int, shapes: State) -> State:
        wanted = _named_leaves(shapes)
        leaves = self._checkpointer.load(step, {name: np.empty(s.shape, s.dtype) for name, s in wanted.items()})
        for name, shape in wanted.items():
            if leaves[name].shape != shape.shape:
                raise ValueError(f"{name} has shape {leaves[name].shape}, the study needs {shape.shape}")
        return jax.tree.unflatten(jax.tree.structure(shapes), [leaves[name] for name in wanted])

    def _steps(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*") if path.name.isdigit())

    def _set_aside(self, path: Path, why: str) -> str:
        self._rename(path, "damaged")
        return self._told(path, why)

    def _rename(self, path: Path, ending: str) -> None:
        aside = path.with_name(f"{path.name}.{ending}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)

    def _told(self, path: Path, why: str) -> str:
        sentence = f"The checkpoint {path} cannot be read ({why.strip().splitlines()[0][:200]})."
        log.warning("%s", sentence)
        return sentence


def _named_leaves(state: State) -> dict[str, Any]:
    """The leaves by their path, in the order of the tree: a layout that outlives the classes it came from."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _checksums(checkpoint: Path) -> dict[str, int]:
    files = (path for path in checkpoint.rglob("*") if path.is_file() and path.stem != Path(CHECKSUMS).stem)
    return {str(path.relative_to(checkpoint)): zlib.crc32(path.read_bytes()) for path in sorted(files)}


def _damage(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint; empty if they are as they were saved."""
    try:
        saved = json.loads((checkpoint / CHECKSUMS).read_bytes())
    except FileNotFoundError:
        return f"it has no {CHECKSUMS}, so that saving it did not come to its end"
    except ValueError:
        return f"its file {CHECKSUMS} is damaged"
    if not isinstance(saved, dict) or not saved:
        return f"its file {CHECKSUMS} is damaged"
    found = _checksums(checkpoint)
    for name in saved:
        if name not in found:
            return f"its file {name} is missing"
        if found[name] != saved[name]:
            return f"its file {name} is damaged"
    return ""
