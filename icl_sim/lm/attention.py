"""Attention of the tokens of a pass to caches and to each other.

Axes as in `icl_sim.lm.layers`: H query heads, G key heads, S slots, K coordinates of a head.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from icl_sim.types import Array

LEAST_STRETCH, MOST_STRETCHES = 64, 8  # of queries that attend together
# Of queries and keys that a CPU computes at once: 4 MB, which its cache holds. A program with more than 32 MB to put
# things down has them mapped and cleared anew at every call, a third of the time of a batch of 20 after 650 tokens.
MOST_PRODUCTS = 1 << 20
UNSEEN = -1e30  # finite, so that a token that sees nothing has numbers too


class Past(NamedTuple):
    """Keys (rotated) and values of one layer, from a cache; B is 1 where all sequences share them."""

    key_BSGK: Array
    value_BSGK: Array


def attend(
    q_BTHK: Array,
    k_BTGK: Array,
    v_BTGK: Array,
    past: tuple[Past, ...],
    visible_BTS: Array,
    decay_BTS: Array | None,
    *,
    some: bool = False,
) -> Array:
    """The mix of values that each token sees, heads concatenated, `[B, T, A]`.

    A stretch of queries attends after the other, without the keys of the pass that are later than all of them.

    Args:
      q_BTHK: queries, scaled and rotated.
      k_BTGK, v_BTGK: keys, rotated, and values of the pass; query head h reads those of head h // (H / G).
      past: keys and values before them, whose slots come first, in this order.
      visible_BTS: which slots each token sees. B may be 1.
      decay_BTS: weights of values to be added to those of the softmax (momentum), the same for all heads.
      some: whether queries are not those of all tokens of the pass in order; they then attend together.
    """
    if some:
        return _stretch(q_BTHK, k_BTGK, v_BTGK, past, visible_BTS, decay_BTS)
    T, old = q_BTHK.shape[1], sum(each.key_BSGK.shape[1] for each in past)
    stretch = max(LEAST_STRETCH, -(-T // MOST_STRETCHES))
    mixes = []
    for start in range(0, T, stretch):
        end = min(start + stretch, T)
        visible_BQS = visible_BTS[:, start:end, : old + end]
        decay_BQS = None if decay_BTS is None else decay_BTS[:, start:end, : old + end]
        mixes.append(_stretch(q_BTHK[:, start:end], k_BTGK[:, :end], v_BTGK[:, :end], past, visible_BQS, decay_BQS))
    return jnp.concatenate(mixes, axis=1)


def _stretch(
    q_BTHK: Array,
    k_BTGK: Array,
    v_BTGK: Array,
    past: tuple[Past, ...],
    visible_BTS: Array,
    decay_BTS: Array | None,
) -> Array:
    """The same for one stretch; on a CPU, one group of sequences after the other where all have too many products."""
    (B, T, H, _), S = q_BTHK.shape, visible_BTS.shape[-1]
    size = max((n for n in range(1, B + 1) if B % n == 0 and n * T * H * S <= MOST_PRODUCTS), default=1)
    known = q_BTHK, k_BTGK, v_BTGK, past, visible_BTS, decay_BTS
    if size >= B:
        return _together(*known)

    def in_groups(*known: Any) -> Array:
        leaves, structure = jax.tree.flatten(known)
        each = {n: leaf for n, leaf in enumerate(leaves) if len(leaf) == B}  # others serve all sequences

        def group(its: dict[int, Array]) -> Array:
            return _together(*jax.tree.unflatten(structure, [its.get(n, leaf) for n, leaf in enumerate(leaves)]))

        grouped = {n: jnp.reshape(leaf, (B // size, size, *leaf.shape[1:])) for n, leaf in each.items()}
        return jnp.reshape(jax.lax.map(group, grouped), (B, T, -1))

    return jax.lax.platform_dependent(*known, cpu=in_groups, default=_together)


def _together(
    q_BTHK: Array,
    k_BTGK: Array,
    v_BTGK: Array,
    past: tuple[Past, ...],
    visible_BTS: Array,
    decay_BTS: Array | None,
) -> Array:
    """The same for one stretch and all sequences at once; the softmax is in float32.

    Slots of each cache and of the pass are summed apart, and the mix is divided, not the map: so nothing as large as
    the map is copied. M are the queries of one key head, R T.
    """
    B, T, H, K = q_BTHK.shape
    G = k_BTGK.shape[2]
    q_GBMK = _by_head(q_BTHK, G)
    parts = [*past, Past(k_BTGK, v_BTGK)]
    ends = itertools.accumulate((key_BSGK.shape[1] for key_BSGK, _ in parts), initial=0)
    cuts = [slice(start, end) for start, end in itertools.pairwise(ends)]

    def scores(key_BSGK: Array, cut: slice) -> Array:
        score_GBMS = _product(q_GBMK, jnp.transpose(key_BSGK, (2, 0, 3, 1)))
        visible_1B1TS = visible_BTS[None, :, None, :, cut]
        score_GBRTS = jnp.reshape(score_GBMS, (G, B, H // G, T, -1))
        return jnp.reshape(jnp.where(visible_1B1TS, score_GBRTS, UNSEEN), score_GBMS.shape)

    score = [scores(key_BSGK, cut) for (key_BSGK, _), cut in zip(parts, cuts, strict=True)]
    largest_GBM1 = functools.reduce(jnp.maximum, (jnp.max(part, axis=-1, keepdims=True) for part in score))
    largest_GBM1 = jax.lax.stop_gradient(largest_GBM1)
    weights = [jnp.exp(part - largest_GBM1) for part in score]
    values = [jnp.transpose(value_BSGK, (2, 0, 1, 3)) for _, value_BSGK in parts]
    pairs = list(zip(weights, values, strict=True))
    total_GBM1 = functools.reduce(jnp.add, (jnp.sum(weight, axis=-1, keepdims=True) for weight in weights))
    mixes = (_product(weight.astype(value.dtype), value) for weight, value in pairs)
    mix_GBMK = functools.reduce(jnp.add, mixes) / total_GBM1
    if decay_BTS is not None:
        for value_GBSK, cut in zip(values, cuts, strict=True):
            mix_GBMK = mix_GBMK + _momentum(decay_BTS[..., cut], value_GBSK, mix_GBMK)
    mix_GBRTK = jnp.reshape(mix_GBMK.astype(v_BTGK.dtype), (G, B, H // G, T, K))
    return jnp.reshape(jnp.transpose(mix_GBRTK, (1, 3, 0, 2, 4)), (B, T, H * K))


def logits(q_BTHK: Array, k_BTGK: Array, past: tuple[Past, ...]) -> Array:
    """Products of queries with the keys of the past, then of the pass, `[B, H, T, S]` in float32, unmasked."""
    B, T, H, _ = q_BTHK.shape
    q_GBMK = _by_head(q_BTHK, k_BTGK.shape[2])
    keys = [*(key_BSGK for key_BSGK, _ in past), k_BTGK]
    logits_GBMS = jnp.concatenate([_product(q_GBMK, jnp.transpose(key, (2, 0, 3, 1))) for key in keys], axis=-1)
    return jnp.reshape(jnp.swapaxes(logits_GBMS, 0, 1), (B, H, T, -1))


def _by_head(q_BTHK: Array, G: int) -> Array:
    """Queries by the key head that they read, `[G, B, R T, K]`."""
    B, T, H, K = q_BTHK.shape
    q_GBRTK = jnp.transpose(jnp.reshape(q_BTHK, (B, T, G, H // G, K)), (2, 0, 3, 1, 4))
    return jnp.reshape(q_GBRTK, (G, B, -1, K))


def _product(x_GBMX: Array, y_GBXN: Array) -> Array:
    """Matrix products in float32; where one y serves all sequences, one product for them together, without copies."""
    G, B, M, X = x_GBMX.shape
    multiply = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
    if y_GBXN.shape[1] == B:
        return multiply(x_GBMX, y_GBXN)
    return jnp.reshape(multiply(jnp.reshape(x_GBMX, (G, B * M, X)), y_GBXN[:, 0]), (G, B, M, -1))


def _momentum(decay_BTS: Array, value_GBSK: Array, like_GBMK: Array) -> Array:
    """The decayed sum of values, the same for all queries of a key head."""
    G, B, M, K = like_GBMK.shape
    T, S = decay_BTS.shape[1:]
    decay_BTS, value_GBSK = jnp.broadcast_to(decay_BTS, (B, T, S)), jnp.broadcast_to(value_GBSK, (G, B, S, K))
    sum_GBTK = jnp.einsum("BTS,GBSK->GBTK", decay_BTS, value_GBSK)
    return jnp.reshape(jnp.broadcast_to(sum_GBTK[:, :, None], (G, B, M // T, T, K)), like_GBMK.shape)
