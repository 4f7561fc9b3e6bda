"""What a network computes on its way to an answer, by name: what can be recorded, and overwritten."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from icl_sim import names
from icl_sim.types import Array

Clamps = Mapping[str, tuple[Array, Array]]  # name -> (cache, mask)


class Intermediates:
    """Takes each intermediate of a pass as it is made, and gives what the rest of the pass goes on with.

    That is, elementwise, the cache where a clamp of its name has its mask; gradients flow through the rest. Caches and
    masks may be of any shape that broadcasts to the intermediate's.

    Attributes:
      record: all intermediates so far, as the pass went on with them.
    """

    def __init__(self, clamps: Clamps):
        self._clamps = clamps
        self.record: dict[str, Array] = {}

    def __call__(self, name: str, value: Array) -> Array:
        if name in self._clamps:
            cache, mask = (self._broadcast(name, part, value) for part in self._clamps[name])
            value = jnp.where(mask, cache.astype(value.dtype), value)
        self.record[name] = value
        return value

    def check(self) -> None:
        """Raises ValueError, at the end of a pass, for a clamp of what it has not made."""
        for name in self._clamps:
            names.require("A clamp's intermediate", name, self.record)

    def _broadcast(self, name: str, part: Array, value: Array) -> Array:
        part = jnp.asarray(part)
        try:
            return jnp.broadcast_to(part, value.shape)
        except ValueError:
            raise ValueError(
                f"A clamp of {name!r} has a cache or mask of shape {list(part.shape)}, which does not broadcast to the "
                f"{list(value.shape)} of what it clamps."
            ) from None
