"""Symbols: every class is one point, and all classes are equally far apart; what the theory of Chan et al. 2025
assumes."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from icl_sim.types import Array, Key, Leaf, setting


@setting
class Symbols:
    """x = sqrt(distance / 2) e_class: a multiple of a unit vector, without noise.

    Attributes:
      distance: squared distance of two classes. With 4, the largest of unit-norm inputs, an in-context predictor of
        temperature 1 weighs a slot of another class by e^-4.
      held_out: has no effect here; a class has one look.
      table: the points `[C, C]`, bound by `prepare`.
    """

    distance: Leaf = 4.0
    held_out: Leaf = False
    table: Array | None = None

    def check(self, num_classes: int) -> None:
        del num_classes
        if not 0 < self.distance < math.inf:
            raise ValueError(
                f"task.inputs.distance is {self.distance}; a squared distance must be positive and finite."
            )

    def load(self, num_classes: int) -> None:
        del num_classes

    def prepare(self, key: Key, num_classes: int, shared: Any = None) -> Symbols:
        """Lays out the classes; nothing is random."""
        del key, shared
        table_CC = jnp.sqrt(jnp.asarray(self.distance) / 2) * jnp.eye(num_classes)
        return Symbols(distance=self.distance, held_out=self.held_out, table=table_CC)

    def render(self, keys_B: Key, classes_BS: Array) -> Array:
        """Inputs `[B, S, C]`."""
        del keys_B
        if self.table is None:
            raise ValueError("The symbols have not been laid out yet; call prepare first.")
        return self.table[classes_BS]
