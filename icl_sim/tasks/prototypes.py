"""Gaussian prototypes: each class is a random direction, each occurrence adds isotropic noise."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import draws
from icl_sim.types import Array, Key, Leaf, setting, static


@setting
class Prototypes:
    """x = prototype[class] + noise * N(0, I), prototypes uniform on the unit sphere (Chan et al. 2025, section 5.1).

    The norm of the noise is about `noise * sqrt(dim)`: at dim 64, noise 0.2 is 1.6 times the prototype's norm.

    Attributes:
      noise: standard deviation of every coordinate, drawn independently for every occurrence.
      held_out: has no effect here; every occurrence is a fresh drawing.
      dim: number of coordinates.
      table: the prototypes `[C, dim]`, bound by `prepare`.
    """

    noise: Leaf = 0.2
    held_out: Leaf = False
    dim: int = static(64)
    table: Array | None = None

    def check(self, num_classes: int) -> None:
        del num_classes
        if self.dim < 1:
            raise ValueError(f"task.inputs.dim is {self.dim}; the number of coordinates must be at least 1.")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"task.inputs.noise is {self.noise}; a standard deviation must be at least 0 and finite.")

    def load(self, num_classes: int) -> None:
        del num_classes

    def prepare(self, key: Key, num_classes: int, shared: Any = None) -> Prototypes:
        """Draws the prototypes from the key of the data."""
        del shared
        table_CX = jax.random.normal(key, (num_classes, self.dim))
        table_CX /= jnp.linalg.norm(table_CX, axis=-1, keepdims=True)
        return Prototypes(noise=self.noise, held_out=self.held_out, dim=self.dim, table=table_CX)

    def render(self, keys_B: Key, classes_BS: Array) -> Array:
        """Inputs `[B, S, dim]`; a row's noise is a function of its own key alone."""
        if self.table is None:
            raise ValueError("The prototypes have not been drawn yet; call prepare first.")
        noise_BSX = jax.vmap(lambda key: draws.normal(key, (classes_BS.shape[1], self.dim)))(keys_B)
        return self.table[classes_BS] + self.noise * noise_BSX
