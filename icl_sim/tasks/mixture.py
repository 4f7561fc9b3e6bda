"""Several tasks at once: every sequence is of one of them (Singh et al. 2023, "mixing coefficients")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import draws
from icl_sim.keys import require_seed
from icl_sim.tasks.alike import require_alike, seeded
from icl_sim.tasks.sequences.bursty import BurstySequences
from icl_sim.types import Array, Batch, Key, Leaf, Task, setting


@setting
class Mixture(Task):
    """Each sequence is, independently, of task n with probability shares[n] / (sum of shares).

    The tasks may differ in any way, but their batches must have the same shapes, and their images, if they show any, be
    the same. All are sampled and one is kept, so that sampling costs as much as that of all together; what
    `BurstySequences` mixes by itself, bursts and none, is cheaper there.

    Evaluation sets are those of the first task, with the mixture itself as "default", and every task as it trains:
    "task_0", "task_1", ...

    Attributes:
      tasks: at least one.
      shares: a share for each.
      seed: of what the data of all look like, unless they have their own; None means that of the study.
    """

    tasks: tuple[Task, ...] = (BurstySequences(p_bursty=1.0), BurstySequences(p_bursty=0.0))
    shares: tuple[Leaf, ...] = (0.9, 0.1)
    seed: Leaf | None = None

    def load(self) -> Any:
        return self.tasks[0].load()

    def prepare(self, shared: Any = None) -> Mixture:
        return self.replace(tasks=tuple(seeded(task, self.seed).prepare(shared) for task in self.tasks))

    def at(self, step: Array) -> Mixture:
        return self.replace(tasks=tuple(task.at(step) for task in self.tasks))

    def sample(self, key: Key, batch_size: int) -> Batch:
        """B sequences, each of one of the tasks."""
        key_which, *keys = jax.random.split(key, 1 + len(self.tasks))
        share_N = jnp.stack([jnp.asarray(share, jnp.float32) for share in self.shares])
        ends_N = jnp.cumsum(share_N) / jnp.sum(share_N)
        u_B = draws.uniform(key_which, (batch_size,))
        which_B = jnp.sum(u_B[:, None] >= ends_N[None, :-1], axis=1)
        batches = [task.sample(one, batch_size) for task, one in zip(self.tasks, keys, strict=True)]

        def chosen(*arrays: Array) -> Array:
            if not arrays[0].ndim:
                return arrays[0]
            row_B = which_B.reshape(-1, *[1] * (arrays[0].ndim - 1))
            return jnp.select([row_B == number for number in range(len(arrays))], arrays)

        return jax.tree.map(chosen, *batches)

    def evaluation_sets(self) -> Mapping[str, Task]:
        tasks = [seeded(task, self.seed) for task in self.tasks]
        sets = {name: seeded(task, self.seed) for name, task in tasks[0].evaluation_sets().items()}
        return {**sets, "default": self, **{f"task_{number}": task for number, task in enumerate(tasks)}}

    @property
    def measured(self) -> tuple[str, ...]:
        return self.tasks[0].measured

    def conflicts(self) -> tuple[str, ...]:
        return self.tasks[0].conflicts()

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        return self.tasks[0].summaries()

    def count(self, batch: Batch) -> Mapping[str, Array]:
        return self.tasks[0].count(batch)

    def groups(self) -> Mapping[str, tuple[int, int]]:
        return self.tasks[0].groups()

    def doubts(self, steps: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(doubt for task in self.tasks for doubt in task.doubts(steps)))

    def check(self) -> None:
        require_seed("task.seed", self.seed)
        if not self.tasks or len(self.shares) != len(self.tasks):
            raise ValueError(
                f"task.shares is {self.shares}, for {len(self.tasks)} task.tasks; it must name a share for each, and "
                "there must be at least one."
            )
        if not all(0 <= share < math.inf for share in self.shares) or not sum(self.shares):
            raise ValueError(f"task.shares is {self.shares}; they must be finite, at least 0, and not all 0.")
        for number, task in enumerate(self.tasks):
            if task.calculated:
                raise ValueError(f"task.tasks.{number} is {type(task).__name__}, which makes no sequences.")
            task.check()
        require_alike({f"task.tasks.{number}": task for number, task in enumerate(self.tasks)})
