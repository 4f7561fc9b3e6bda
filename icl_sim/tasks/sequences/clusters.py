"""Gaussian clusters: each class is a point, and items scatter around it (Reddy 2023, section 2)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import draws
from icl_sim.tasks.sequences.composition import first_slots
from icl_sim.types import Array, Key, Leaf, setting, static


@setting
class Clusters:
    """x = (mu_c + noise eta) / sqrt(1 + noise^2) with mu_c and eta ~ N(0, I / dim), so that |x|^2 is about 1.

    Attributes:
      noise: epsilon, the scatter of a class by its distance from others.
      dim: number of coordinates.
      exemplars: how many items each class has, always the same; 0: every occurrence is new.
      table: mu `[C, dim]`, or the items `[C, exemplars, dim]`, bound by `prepare`.
    """

    noise: Leaf = 0.1
    dim: int = static(63)
    exemplars: int = static(0)
    table: Array | None = None

    @property
    def has_new(self) -> bool:
        """Whether there are classes without end: numbers from C on are new in every sequence."""
        return True

    def check(self, num_classes: int) -> None:
        del num_classes
        if self.dim < 1:
            raise ValueError(f"task.inputs.dim is {self.dim}; the number of coordinates must be at least 1.")
        if self.exemplars < 0:
            raise ValueError(f"task.inputs.exemplars is {self.exemplars}; it must be at least 0, without end.")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"task.inputs.noise is {self.noise}; it must be at least 0 and finite.")

    def load(self, num_classes: int) -> None:
        del num_classes

    def prepare(self, key: Key, num_classes: int, shared: Any = None) -> Clusters:
        """Draws the classes, and their items where these are fixed, from the key of the data."""
        del shared
        key_mean, key_item = jax.random.split(key)
        table = jax.random.normal(key_mean, (num_classes, self.dim)) / math.sqrt(self.dim)
        if self.exemplars:
            noise_CEX = jax.random.normal(key_item, (num_classes, self.exemplars, self.dim)) / math.sqrt(self.dim)
            table = self._scattered(table[:, None, :], noise_CEX)
        return Clusters(noise=self.noise, dim=self.dim, exemplars=self.exemplars, table=table)

    def render_exemplars(self, keys_B: Key, classes_BS: Array, exemplars_BS: Array) -> Array:
        """Inputs `[B, S, dim]`; a row is a function of its key, classes and exemplars. Without fixed exemplars, slots
        of one class and exemplar number show one item."""
        if self.table is None:
            raise ValueError("The clusters have not been drawn yet; call prepare first.")
        table, known, (B, slots) = self.table, len(self.table), classes_BS.shape

        def means(_: None) -> Array:
            """What comes after the noise among a row's numbers, `[B, S, dim]`."""
            again_B = jax.random.clone(keys_B)
            return jax.vmap(lambda key: draws.normal(key, (2 * slots, self.dim))[slots:])(again_B)

        def none(_: None) -> Array:
            return jnp.zeros((B, slots, self.dim))

        # Most batches have no new class, and drawing their means would be a quarter of all sampling.
        mean_BSX = jax.lax.cond(jnp.any(classes_BS >= known), means, none, None)

        def row(key: Key, classes_S: Array, exemplars_S: Array, mean_SX: Array) -> Array:
            noise_SX = draws.normal(key, (slots, self.dim)) / math.sqrt(self.dim)
            # A new class has the mean of its first slot.
            first_S = first_slots(classes_S)
            new_SX = mean_SX[first_S] / math.sqrt(self.dim)
            old_S = jnp.minimum(classes_S, known - 1)
            is_new_S1 = (classes_S >= known)[:, None]
            if not self.exemplars:
                return self._scattered(jnp.where(is_new_S1, new_SX, table[old_S]), noise_SX[exemplars_S])
            # An exemplar of a new class: the first slot of that class and number has its noise.
            same_SS = (classes_S[:, None] == classes_S[None, :]) & (exemplars_S[:, None] == exemplars_S[None, :])
            item_SX = self._scattered(new_SX, noise_SX[jnp.argmax(same_SS, axis=1)])
            return jnp.where(is_new_S1, item_SX, table[old_S, exemplars_S])

        return jax.vmap(row)(keys_B, classes_BS, exemplars_BS, mean_BSX)

    def _scattered(self, mean: Array, noise: Array) -> Array:
        return (mean + self.noise * noise) / jnp.sqrt(1 + jnp.square(self.noise))
