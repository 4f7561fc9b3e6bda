"""Data that change during training: one task first, then another (Singh et al. 2025, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim.keys import require_seed
from icl_sim.tasks.alike import require_alike, seeded
from icl_sim.tasks.sequences.bursty import BurstySequences
from icl_sim.types import Array, Batch, Key, Leaf, Task, setting


@setting
class Switched(Task):
    """Training sees `first` in the first `after` updates and `then` in all others; what is asked of it is `then`.

    The two may differ in any way, but their batches must have the same shapes, and their images, if they show any, be
    the same. Where members train one by one, as on a CPU, only the one that is seen is sampled; otherwise both are.

    Evaluation sets are those of `then`, and "first", the task of before as it trains.

    Attributes:
      first, then: the tasks. A curriculum of either counts updates from the start of training.
      after: the number of updates on `first`.
      seed: of what the data of both look like, unless they have their own; None means that of the study.
    """

    first: Task = BurstySequences()
    then: Task = BurstySequences()
    after: Leaf = 1000
    seed: Leaf | None = None
    is_first: Array | None = None

    def load(self) -> Any:
        return self.then.load()

    def prepare(self, shared: Any = None) -> Switched:
        return self.replace(
            first=seeded(self.first, self.seed).prepare(shared), then=seeded(self.then, self.seed).prepare(shared)
        )

    def at(self, step: Array) -> Switched:
        return self.replace(
            first=self.first.at(step), then=self.then.at(step), is_first=jnp.asarray(step) < jnp.asarray(self.after)
        )

    def sample(self, key: Key, batch_size: int) -> Batch:
        """A batch of the task of the update, and of `then` outside of training."""
        if self.is_first is None:
            return self.then.sample(key, batch_size)
        return jax.lax.cond(
            self.is_first, lambda: self.first.sample(key, batch_size), lambda: self.then.sample(key, batch_size)
        )

    def evaluation_sets(self) -> Mapping[str, Task]:
        sets = {name: seeded(task, self.seed) for name, task in self.then.evaluation_sets().items()}
        return {**sets, "first": seeded(self.first, self.seed)}

    @property
    def measured(self) -> tuple[str, ...]:
        return self.then.measured

    def conflicts(self) -> tuple[str, ...]:
        return self.then.conflicts()

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        return self.then.summaries()

    def count(self, batch: Batch) -> Mapping[str, Array]:
        return self.then.count(batch)

    def groups(self) -> Mapping[str, tuple[int, int]]:
        return self.then.groups()

    def doubts(self, steps: int) -> tuple[str, ...]:
        told = (*self.first.doubts(steps), *self.then.doubts(steps))
        if self.after < steps:
            return tuple(dict.fromkeys(told))
        return (
            *told,
            f"task.after is {self.after:g} and training.steps {steps:,}: training never comes to the second task.",
        )

    def check(self) -> None:
        require_seed("task.seed", self.seed)
        for name, task in (("first", self.first), ("then", self.then)):
            if task.calculated or isinstance(task, Switched):
                raise ValueError(
                    f"task.{name} is {type(task).__name__}; a switch is between two tasks that make sequences and do "
                    "not switch themselves."
                )
            task.check()
        if not 0 <= self.after < math.inf or self.after != int(self.after):
            raise ValueError(f"task.after is {self.after}; it must be a whole number of updates, at least 0.")
        require_alike({"task.first": self.first, "task.then": self.then})
