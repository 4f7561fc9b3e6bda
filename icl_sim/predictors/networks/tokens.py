"""Sequences of pairs as tokens."""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.types import Array

TOKENS = ("interleaved", "separate", "shared", "concatenated", "inputs")
EMBEDDINGS = ("projection", "table")


def interleave(x_BSD: Array, y_BLD: Array) -> Array:
    """Tokens x_1, y_1, ..., x_L, y_L, x_query, `[B, 2L+1, D]`."""
    B, L, D = y_BLD.shape
    pairs_BTD = jnp.reshape(jnp.stack([x_BSD[:, :-1], y_BLD], axis=2), (B, 2 * L, D))
    return jnp.concatenate([pairs_BTD, x_BSD[:, -1:]], axis=1)


def projected(x_BSE: Array, y_BL: Array, kernel_ED: Array, bias_D: Array | None, tokens: str) -> Array:
    """Tokens of real targets under one projection, without making the coordinates that are 0.

    "separate" projects x as [0, x] and y as [y, 0]; "shared" x as it is and y as [y, 0], in the first coordinate of
    x; both interleaved, `[B, 2L+1, D]`. "concatenated" projects [x, y], and the query as [x, 0], `[B, L+1, D]`.
    """
    y_BL1 = y_BL[..., None]
    if tokens == "concatenated":
        y_BS1 = jnp.pad(y_BL1, ((0, 0), (0, 1), (0, 0)))
        x_BTD = x_BSE @ kernel_ED[:-1] + y_BS1 * kernel_ED[-1][None, None]
    else:
        x_BTD = interleave(x_BSE @ kernel_ED[tokens == "separate" :], y_BL1 * kernel_ED[0][None, None])
    return x_BTD if bias_D is None else x_BTD + bias_D[None, None]
