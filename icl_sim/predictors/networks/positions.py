"""What tells a network where a token stands."""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.types import Array, Leaf

POSITIONS = ("shared_sinusoid", "token_sinusoid", "learned", "none")


def sinusoid(position_T: Array, width: int, base: Leaf) -> Array:
    """Sines, then cosines, of position * base^(-2j/width), j < width/2: `[T, width]`."""
    frequency_J = jnp.asarray(base, jnp.float32) ** (-2 * jnp.arange(width // 2) / width)
    angle_TJ = position_T[:, None] * frequency_J[None]
    return jnp.concatenate([jnp.sin(angle_TJ), jnp.cos(angle_TJ)], axis=-1)
