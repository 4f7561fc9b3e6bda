"""Gaussian clusters: each class is a point, and items scatter around it (Reddy 2023, section 2)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import jax
import jax.numpy as jnp

from icl_sim import draws
from icl_sim.tasks.sequences.composition import first_slots
from icl_sim.types import Array, Key, Leaf, setting, static

MOST_STORED = 2**24  # numbers of fixed items, 64 MiB for each member of an ensemble
MOST_NEW = 2**16
_OF_BATCH = 2**31  # of the keys folded from a row's, that of what the batch shares
MOST_ITEMS = 2**31 - 1  # each has a number, of 32 bits


@setting
class Clusters:
    """x = (mu_c + noise eta) / sqrt(1 + noise^2) with mu_c and eta ~ N(0, I / dim), so that |x|^2 is about 1.

    Attributes:
      noise: epsilon, the scatter of a class by its distance from others.
      dim: number of coordinates.
      exemplars: how many items each class has, always the same; 0: every occurrence is new.
      new: how many classes are new in every batch, which its sequences share; 0: every sequence has its own.
      table: mu `[C, dim]`, or the items `[C, exemplars, dim]` if these are no more than 2^24 numbers, bound by
        `prepare`. Beyond, an item is drawn whenever it is shown, from a key of its own.
      item_key: what these are drawn from, bound by `prepare`.
    """

    noise: Leaf = 0.1
    dim: int = static(63)
    exemplars: int = static(0)
    new: int = static(0)
    table: Array | None = None
    item_key: Key | None = None

    @property
    def has_new(self) -> bool:
        """Whether there are classes without end: numbers from C on are new in every sequence, or batch."""
        return True

    def check(self, num_classes: int) -> None:
        if self.dim < 1:
            raise ValueError(f"task.inputs.dim is {self.dim}; the number of coordinates must be at least 1.")
        if self.exemplars < 0:
            raise ValueError(f"task.inputs.exemplars is {self.exemplars}; it must be at least 0, without end.")
        if not 0 <= self.new <= MOST_NEW:
            raise ValueError(f"task.inputs.new is {self.new}; it must be from 0, each sequence's own, to {MOST_NEW:,}.")
        if num_classes * self.exemplars > MOST_ITEMS:
            raise ValueError(
                f"task.inputs.exemplars is {self.exemplars}, of {num_classes:,} classes; all items must be at most "
                f"2^31 - 1, {MOST_ITEMS:,}. With 0 every occurrence is new."
            )
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"task.inputs.noise is {self.noise}; it must be at least 0 and finite.")

    def load(self, num_classes: int) -> None:
        del num_classes

    def prepare(self, key: Key, num_classes: int, shared: Any = None) -> Clusters:
        """Draws the classes, and their items where these are fixed, from the key of the data."""
        del shared
        key_mean, key_item = jax.random.split(key)
        table = jax.random.normal(key_mean, (num_classes, self.dim)) / math.sqrt(self.dim)
        if self.exemplars and num_classes * self.exemplars * self.dim <= MOST_STORED:
            noise_CEX = jax.random.normal(key_item, (num_classes, self.exemplars, self.dim)) / math.sqrt(self.dim)
            table = self._scattered(table[:, None, :], noise_CEX)
        return dataclasses.replace(self, table=table, item_key=key_item)

    def render_exemplars(self, keys_B: Key, classes_BS: Array, exemplars_BS: Array) -> Array:
        """Inputs `[B, S, dim]`; a row is a function of its key, classes and exemplars, and of the first row's key where
        the batch has new classes. Without fixed exemplars, slots of one class and exemplar number show one item."""
        if self.table is None:
            raise ValueError("The clusters have not been drawn yet; call prepare first.")
        table, known, (B, slots) = self.table, len(self.table), classes_BS.shape
        size, again_B = slots * self.dim, draws.rebuilt(keys_B)

        def drawn(key: Key, count: int) -> Array:
            """In a row, whose loop is of vectors throughout; with a last axis of 63 numbers it takes twice as long."""
            return draws.normal(key, (count,)) / math.sqrt(self.dim)

        def for_new(_: None) -> tuple[Array, Array]:
            """The scatter of every slot, and after it among a row's numbers the means of new classes."""
            if self.new:
                key = jax.random.fold_in(again_B()[0], _OF_BATCH)
                mean_NX = jnp.reshape(drawn(key, self.new * self.dim), (self.new, self.dim))
                mean_BSX = mean_NX[jnp.clip(classes_BS - known, 0, self.new - 1)]
                return jax.vmap(lambda key: drawn(key, size))(again_B()), jnp.reshape(mean_BSX, (B, size))
            return tuple(jnp.split(jax.vmap(lambda key: drawn(key, 2 * size))(again_B()), 2, axis=1))  # type: ignore

        def for_old(_: None) -> tuple[Array, Array]:
            none = jnp.zeros((B, size))
            return none if self.exemplars else jax.vmap(lambda key: drawn(key, size))(again_B()), none

        # Most batches have no new class: no means to draw, nor, where items are fixed, any scatter.
        noise_BZ, mean_BZ = jax.lax.cond(jnp.any(classes_BS >= known), for_new, for_old, None)
        noise_BSX, mean_BSX = (jnp.reshape(of_row, (B, slots, self.dim)) for of_row in (noise_BZ, mean_BZ))

        def row(classes_S: Array, exemplars_S: Array, noise_SX: Array, mean_SX: Array) -> Array:
            # A new class has the mean of its first slot.
            new_SX = mean_SX[first_slots(classes_S)]
            old_S = jnp.minimum(classes_S, known - 1)
            is_new_S1 = (classes_S >= known)[:, None]
            if not self.exemplars:
                return self._scattered(jnp.where(is_new_S1, new_SX, table[old_S]), noise_SX[exemplars_S])
            # An exemplar of a new class: the first slot of that class and number has its noise.
            same_SS = (classes_S[:, None] == classes_S[None, :]) & (exemplars_S[:, None] == exemplars_S[None, :])
            item_SX = self._scattered(new_SX, noise_SX[jnp.argmax(same_SS, axis=1)])
            return jnp.where(is_new_S1, item_SX, self._items(old_S, exemplars_S))

        return jax.vmap(row)(classes_BS, exemplars_BS, noise_BSX, mean_BSX)

    def _items(self, classes_S: Array, exemplars_S: Array) -> Array:
        """Fixed items of known classes, `[S, dim]`."""
        table, key = cast(Array, self.table), cast(Array, self.item_key)
        if table.ndim == 3:
            return table[classes_S, exemplars_S]
        numbers_S = classes_S * self.exemplars + exemplars_S
        keys_S = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers_S)
        noise_SX = jax.vmap(lambda key: draws.normal(key, (self.dim,)))(keys_S) / math.sqrt(self.dim)
        return self._scattered(table[classes_S], noise_SX)

    def _scattered(self, mean: Array, noise: Array) -> Array:
        return (mean + self.noise * noise) / jnp.sqrt(1 + jnp.square(self.noise))
