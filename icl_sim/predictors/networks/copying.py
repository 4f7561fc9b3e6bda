"""Whether heads copy: what attending to a token does to the logits, by the weights alone (Elhage et al. 2021, "A
mathematical framework for transformer circuits"; Olsson et al. 2022)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.predictors.networks.block import EPSILON
from icl_sim.types import Array, Params


def copying_of_heads(params: Params, heads: int) -> Array:
    """The copying score of every head of a transformer of single tokens, `[layers, H]`.

    A head that attends to token t adds to the logits, by the direct path from embedding to unembedding,

        M_t = W_U norm(W_O W_V norm(W_E e_t)),

    and copies where that raises the logit of t itself. The score is the mean over t of the cosine of M_t with e_t, both
    less their means over tokens t and over logits: 1 where nothing but the token's own logit is raised, 0 for a head
    that does not tell it from others, negative where it is lowered. The last norm is its scale alone, since by how much
    it shrinks depends on the rest of the stream.

    Args:
      params: of a `Transformer` with tokens "inputs", a table of them and pre-norm blocks, also of stacked ones (scan).
      heads: H, per layer.

    Raises:
      ValueError: if there is no table of as many tokens as logits, or blocks are of another kind.
    """
    table, head = params.get("input_token", {}).get("kernel"), params["head"]["kernel"]
    if table is None or len(table) != head.shape[1] or "norm" not in params:
        shape = None if table is None else list(table.shape)
        raise ValueError(
            f"Copying scores need a table of as many tokens as there are logits, {head.shape[1]}, and blocks that are "
            f"pre_norm; here the table of inputs is {shape}."
        )
    blocks = params["blocks"]
    if "0" in blocks:
        blocks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(blocks[str(layer)] for layer in range(len(blocks))))
    x_VD = table + params["input_token"].get("bias", jnp.zeros(table.shape[1]))[None]
    x_VD = x_VD - jnp.mean(x_VD, axis=1, keepdims=True)
    x_VD = x_VD * jax.lax.rsqrt(jnp.mean(jnp.square(x_VD), axis=1, keepdims=True) + EPSILON)
    values = jnp.split(blocks["qkv"]["kernel"], 3 * heads, axis=-1)[2 * heads :]
    outs = jnp.split(blocks["out"]["kernel"], heads, axis=1)
    normed_LVD = x_VD[None] * blocks["attention_norm"]["scale"][:, None]
    # What is the same for all tokens, such as biases, goes with their mean.
    own_VV = _centred(jnp.eye(len(table)))
    scores = []
    for value_LDK, out_LKD in zip(values, outs, strict=True):
        added_LVD = jnp.einsum("LVD,LDK,LKE->LVE", normed_LVD, value_LDK, out_LKD)
        added_LVD = (added_LVD - jnp.mean(added_LVD, axis=-1, keepdims=True)) * params["norm"]["scale"][None, None]
        raised_LVV = _centred(added_LVD @ head)
        length_LV = jnp.linalg.norm(raised_LVV, axis=-1) * jnp.linalg.norm(own_VV, axis=-1)[None]
        cosine_LV = jnp.sum(raised_LVV * own_VV[None], axis=-1) / jnp.where(length_LV > 0, length_LV, 1.0)
        scores.append(jnp.mean(cosine_LV, axis=-1))
    return jnp.stack(scores, axis=1)


def _centred(matrix: Array) -> Array:
    """Less the means of rows and columns."""
    matrix = matrix - jnp.mean(matrix, axis=-1, keepdims=True)
    return matrix - jnp.mean(matrix, axis=-2, keepdims=True)
