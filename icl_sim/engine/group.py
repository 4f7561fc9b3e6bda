"""Groups: members of equal structure, which one compiled program simulates together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from icl_sim.engine.settings import Member
from icl_sim.engine.structure import stack, structure


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

    @property
    def first(self) -> Member:
        """The settings of the first member alone: what a structure is traced with."""
        return jax.tree.map(lambda column: column[0], self.members)

    def taken(self, mine_M: np.ndarray) -> Group:
        """The members that a mask chooses."""
        if mine_M.all():
            return self
        ids = tuple(number for number, is_mine in zip(self.ids, mine_M, strict=True) if is_mine)
        return Group(ids, jax.tree.map(lambda column: column[mine_M], self.members))


def by_structure(members: Iterable[tuple[int, Member]]) -> list[Group]:
    """Groups numbered members of equal structure, keeping the order of first appearance."""
    groups: dict[Any, list[tuple[int, Member]]] = {}
    for number, member in members:
        groups.setdefault(structure(member), []).append((number, member))
    return [Group(tuple(n for n, _ in group), stack([m for _, m in group])) for group in groups.values()]
