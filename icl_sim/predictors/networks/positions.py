"""What tells a network where a token stands."""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.types import Array, Leaf

POSITIONS = ("shared_sinusoid", "token_sinusoid", "learned", "rotary", "none")


def sinusoid(position_T: Array, width: int, base: Leaf) -> Array:
    """Sines, then cosines, of position * base^(-2j/width), j < width/2: `[T, width]`."""
    frequency_J = jnp.asarray(base, jnp.float32) ** (-2 * jnp.arange(width // 2) / width)
    angle_TJ = position_T[:, None] * frequency_J[None]
    return jnp.concatenate([jnp.sin(angle_TJ), jnp.cos(angle_TJ)], axis=-1)


def rotated(x_BTK: Array, sinusoid_TK: Array) -> Array:
    """Turns coordinate j and K/2 + j of token t together by the angle of which the sinusoid has sine and cosine.

    Products of queries and keys so turned tell how far apart their tokens are, and no more (Su et al. 2021, RoPE).
    """
    (sine_TJ, cosine_TJ), (first_BTJ, second_BTJ) = jnp.split(sinusoid_TK, 2, -1), jnp.split(x_BTK, 2, -1)
    turned = (
        first_BTJ * cosine_TJ[None] - second_BTJ * sine_TJ[None],
        second_BTJ * cosine_TJ[None] + first_BTJ * sine_TJ[None],
    )
    return jnp.concatenate(turned, axis=-1)
