"""Tasks whose batches can take each other's place."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np

from icl_sim.types import Array, Batch, Leaf, Task


def seeded(task: Task, seed: Leaf | None) -> Task:
    """The task with the seed, where it has a field for one and none of its own."""
    known = [field.name for field in dataclasses.fields(cast(Any, task))]
    return task.replace(seed=seed) if "seed" in known and cast(Any, task).seed is None else task


def require_alike(tasks: Mapping[str, Task]) -> None:
    """Raises ValueError unless all tasks make batches of one structure and show the same images."""
    for (one, ours), (other, theirs) in itertools.pairwise(tasks.items()):
        told = [_told(task) for task in (ours, theirs)]
        for name in dict.fromkeys((*told[0], *told[1])):
            here, there = (side.get(name, "missing") for side in told)
            if here != there:
                raise ValueError(
                    f"{one} and {other} make batches of different structure: {name} is {here} in one and {there} in "
                    "the other; only their laws may differ."
                )
        if not _same(ours.load(), theirs.load()):
            raise ValueError(f"{one} and {other} show different images; they must have one and the same.")


def _told(task: Task) -> dict[str, str]:
    """What makes up the structure of a task's batches and counters, by name."""
    batch, counts = jax.eval_shape(_shown, jax.tree.map(np.asarray, task))
    arrays = jax.tree_util.tree_leaves_with_path({"": batch, "counter": counts})
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator=" ").strip(): f"{list(leaf.shape)} {leaf.dtype}"
        for path, leaf in arrays
    }
    return {**{name: str(getattr(batch, name)) for name in ("num_classes", "scale", "pool_law")}, **shapes}


def _shown(task: Task) -> tuple[Batch, dict[str, Array]]:
    """Traced once for all members of one structure."""
    batch = task.sample(jax.random.key(0), 2)
    return batch, dict(task.count(batch))


def _same(one: Any, other: Any) -> bool:
    ours, theirs = jax.tree.leaves(one), jax.tree.leaves(other)
    return len(ours) == len(theirs) and all(a is b or np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
