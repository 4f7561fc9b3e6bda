"""A curriculum: training starts with few coordinates and short prompts (Garg et al. 2022, section 3 and appendix A)."""

from __future__ import annotations

import math

import jax.numpy as jnp

from icl_sim.tasks.regression.laws import check_at_least
from icl_sim.types import Array, Leaf, setting


@setting
class Curriculum:
    """In update number t (0-based) the first dims + dims_step * (t // every) coordinates are active, and the first
    pairs + pairs_step * (t // every) slots count; both grow until all are there.

    The defaults are those of linear functions; trees and ReLU networks start at 26 pairs and add 5.
    """

    dims: Leaf = 5
    dims_step: Leaf = 1
    pairs: Leaf = 11
    pairs_step: Leaf = 2
    every: Leaf = 2000

    def at(self, step: Array) -> tuple[Array, Array]:
        """Active coordinates and active slots in an update; beyond those that there are, all are."""
        stage = jnp.asarray(step) // jnp.asarray(self.every)
        return self.dims + self.dims_step * stage, self.pairs + self.pairs_step * stage

    def complete(self, dims: int, pairs: int) -> Leaf:
        """The update from which on so many coordinates and slots are there; inf where they never are."""
        growing = ((dims - self.dims, self.dims_step), (pairs - self.pairs, self.pairs_step))
        stages = [math.ceil(lacking / step) if step else math.inf for lacking, step in growing if lacking > 0]
        return max(stages, default=0) * self.every

    def check(self, path: str) -> None:
        for name, least in (("dims", 1), ("dims_step", 0), ("pairs", 1), ("pairs_step", 0), ("every", 1)):
            check_at_least(least, f"{path}.{name}", getattr(self, name))
