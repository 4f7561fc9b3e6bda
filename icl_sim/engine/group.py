"""Groups: members of equal structure, which one compiled program simulates together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from icl_sim.engine.settings import Member


@dataclasses.dataclass(frozen=True)
class Group:
    """Members of equal structure.

    Attributes:
      ids: the numbers by which the study knows them.
      members: their settings in one pytree, each leaf stacked along a leading axis `[M]`.
    """

    ids: tuple[int, ...]
    members: Member

    def __len__(self) -> int:
        return len(self.ids)


def by_structure(members: Iterable[tuple[int, Member]]) -> list[Group]:
    """Groups numbered members of equal structure, keeping the order of first appearance."""
    groups: dict[Any, list[tuple[int, Member]]] = {}
    for number, member in members:
        groups.setdefault(structure(member), []).append((number, member))
    return [Group(tuple(n for n, _ in group), stack([m for _, m in group])) for group in groups.values()]


def structure(tree: Any) -> Any:
    """What decides the program: the tree's static fields and its leaves' shapes, hashable."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple(np.shape(leaf) for leaf in leaves)


def stack(trees: Sequence[Any]) -> Any:
    """Stacks trees of equal structure leaf by leaf; whole numbers stay integers, others become float32."""
    return jax.tree.map(lambda *leaves: _column(leaves), *trees)


def _column(leaves: Sequence[Any]) -> np.ndarray:
    column = np.stack([np.asarray(leaf) for leaf in leaves])
    if column.dtype.kind == "f":
        return column.astype(np.float32)
    if column.dtype.kind in "iu":
        return column.astype(np.int32 if column.max() < 2**31 else np.uint32)
    return column
