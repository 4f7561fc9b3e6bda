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
    """Tokens of real targets under one projection.

    "separate" projects x as [0, x] and y as [y, 0]; "shared" x as it is and y as [y, 0], in the first coordinate of
    x; both interleaved, `[B, 2L+1, D]`. "concatenated" projects [x, y], and the query as [x, 0], `[B, L+1, D]`.

    The coordinates that are 0 are multiplied too: on a CPU the gradient of one product of all rows saves a thirtieth of
    the step of a regression network over those of two.
    """
    y_BL1 = y_BL[..., None]
    if tokens == "concatenated":
        token_BTE = jnp.concatenate([x_BSE, jnp.pad(y_BL1, ((0, 0), (0, 1), (0, 0)))], axis=-1)
    else:
        x_BSE = jnp.pad(x_BSE, ((0, 0), (0, 0), (int(tokens == "separate"), 0)))
        token_BTE = interleave(x_BSE, jnp.pad(y_BL1, ((0, 0), (0, 0), (0, x_BSE.shape[-1] - 1))))
    x_RD = jnp.reshape(token_BTE, (-1, token_BTE.shape[-1])) @ kernel_ED
    x_BTD = jnp.reshape(x_RD, (*token_BTE.shape[:2], -1))
    return x_BTD if bias_D is None else x_BTD + bias_D[None, None]
