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

from icl_sim.engine import hosts
from icl_sim.engine.group import Group
from icl_sim.engine.program import state_shapes
from icl_sim.engine.step import State

KEPT = 2
OUTDATED = "outdated"
CHECKSUMS = "checksums.json"  # in every checkpoint, written last: its files and their CRC-32

log = logging.getLogger("icl_sim")


class CheckpointError(ValueError):
    """No checkpoint of a folder can be read; the message names each and why."""


class Checkpoints:
    """The newest checkpoints of one group, in a folder of its own.

    Where several processes run one program, all of them save and restore together, as orbax has it, in a folder that
    all can see; the writer alone cares for the rest.

    A checkpoint whose files are not what they were is named in a warning and set aside (`60.damaged`) before orbax sees
    it, which a damaged file would keep from starting, or make fail in ways that say little.
    """

    def __init__(self, folder: Path):
        self._folder = Path(folder).absolute()
        self._unreadable: list[str] = []
        if not hosts.is_writer():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for unfinished in ("*.orbax-checkpoint-tmp*", f"*.{OUTDATED}"):  # of saves that were killed
            for path in self._folder.glob(unfinished):
                shutil.rmtree(path, ignore_errors=True)
        self._unreadable += [self._set_aside(step, why) for step in _steps(self._folder) if (why := _damage(step))]

    def save(self, step: int, state: State) -> None:
        """Saves the state (leaves `[M, ...]`) that a group has after `step` updates.

        Raises:
          OSError: "No space left", before anything is written, where the disk has less room than the state needs: a
            disk that fills up under orbax is told by a thousand lines of its threads.
        """
        needed = 2**20 + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        if hosts.is_writer() and shutil.disk_usage(self._folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        _orbax().save(self._folder / str(step), _named_leaves(state), overwrite=True)
        if not hosts.is_writer():
            return
        checksums = self._folder / str(step) / CHECKSUMS
        temporary = checksums.with_suffix(".tmp")
        with open(temporary, "w") as file:
            json.dump(_checksums(checksums.parent), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, checksums)
        for outdated in _steps(self._folder)[:-KEPT]:
            shutil.rmtree(self._rename(outdated, OUTDATED), ignore_errors=True)

    def restore(self, group: Group) -> tuple[State, int] | None:
        """The newest intact state and its step, or None if nothing was saved.

        Raises:
          CheckpointError: if there are checkpoints, but none is intact or fits the group.
        """
        for name in hosts.said(" ".join(path.name for path in reversed(_steps(self._folder)))).split():
            found = self._folder / name
            try:
                return _read(found, state_shapes(group)), int(name)
            except Exception as error:  # whatever another tree than expected makes the reader raise
                self._unreadable.append(_told(found, str(error)))
        if self._unreadable:
            raise CheckpointError(" ".join(self._unreadable))
        return None

    def set_all_aside(self) -> None:
        """Renames all checkpoints, for a group that starts again: the newest of before would outlive those to come."""
        for path in _steps(self._folder) if hosts.is_writer() else ():
            self._rename(path, "aside")

    def _set_aside(self, path: Path, why: str) -> str:
        self._rename(path, "damaged")
        return _told(path, why)

    def _rename(self, path: Path, ending: str) -> Path:
        aside = path.with_name(f"{path.name}.{ending}")
        shutil.rmtree(aside, ignore_errors=True)
        return path.rename(aside)


def newest(folder: Path, group: Group) -> tuple[State, int] | None:
    """The newest intact state in a folder and its step, or None; for readers of a run that others may be at work on.

    Nothing is repaired: what has no checksums is being saved, and what is gone when it is read was replaced by newer
    ones, which are looked for then.

    Raises:
      CheckpointError: if there are checkpoints, but none is intact or fits the group.
    """
    tried: set[str] = set()
    unreadable = []
    while names := hosts.said(" ".join(path.name for path in _saved(folder) if path.name not in tried)).split():
        for found in (folder / name for name in reversed(names)):
            try:
                if why := _damage(found):
                    raise ValueError(why)
                return _read(found, state_shapes(group)), int(found.name)
            except Exception as error:  # whatever another tree than expected makes the reader raise
                if found.exists():
                    unreadable.append(_told(found, str(error)))
        tried.update(names)
    if unreadable:
        raise CheckpointError(" ".join(unreadable))
    return None


def _steps(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))


def _saved(folder: Path) -> list[Path]:
    """The steps whose saving came to its end."""
    return [path for path in _steps(folder) if (path / CHECKSUMS).exists()]


def _read(path: Path, shapes: State) -> State:
    wanted = _named_leaves(shapes)
    leaves = _orbax().load(path.absolute(), {name: np.empty(s.shape, s.dtype) for name, s in wanted.items()})
    for name, shape in wanted.items():
        if leaves[name].shape != shape.shape:
            raise ValueError(f"{name} has shape {leaves[name].shape}, the study needs {shape.shape}")
    return jax.tree.unflatten(jax.tree.structure(shapes), [leaves[name] for name in wanted])


def _told(path: Path, why: str) -> str:
    sentence = f"The checkpoint {path} cannot be read ({why.strip().splitlines()[0][:200]})."
    log.warning("%s", sentence)
    return sentence


def _orbax() -> Any:
    from orbax.checkpoint.experimental import v1 as orbax  # heavy, and needed only by runs that are kept

    return orbax


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
