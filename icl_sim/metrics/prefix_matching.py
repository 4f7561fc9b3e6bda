"""What makes an induction head where slots are single tokens (Olsson et al. 2022, "In-context learning and induction
heads", arXiv 2209.11895): attention from a token to the one after its last occurrence, and what context is worth.

Measures of outputs are per sequence, `[B]`, of integer inputs `[B, S]`, and NaN for a predictor without maps of slots
on record: `attention/0`, `attention/1`, ... `[B, H, S, S]`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from icl_sim.metrics.accuracy import log_loss_of_slots
from icl_sim.types import Array, Batch, Outputs

_MAP = "attention/"


def prefix_matching(outputs: Outputs, batch: Batch) -> Array:
    """The prefix-matching score of the best head of all layers; a sequence's best head, if they differ."""
    return _measured(outputs, batch, lambda map_BHSS: prefix_matching_of_heads(map_BHSS, batch.inputs), jnp.max)


def prefix_matching_mean(outputs: Outputs, batch: Batch) -> Array:
    """The mean over all heads and layers of the prefix-matching score."""
    return _measured(outputs, batch, lambda map_BHSS: prefix_matching_of_heads(map_BHSS, batch.inputs), jnp.mean)


def previous_slot(outputs: Outputs, batch: Batch) -> Array:
    """The previous-token score of the best head of all layers."""
    return _measured(outputs, batch, previous_slot_of_heads, jnp.max)


def prefix_matching_of_heads(map_BHSS: Array, tokens_BS: Array) -> Array:
    """Attention from tokens that occurred before to the token after their last occurrence, `[B, H]`.

    The mean over those tokens; NaN where no token occurs twice. Olsson et al. take 25 random tokens, four times.
    """
    at_BS = after_last_occurrence(tokens_BS)
    is_there_BSS = at_BS[:, :, None] == jnp.arange(at_BS.shape[1])[None, None]
    total_BH = jnp.sum(jnp.where(is_there_BSS[:, None], map_BHSS, 0.0), axis=(-2, -1))
    count_B1 = jnp.sum(at_BS >= 0, axis=1, keepdims=True)
    return jnp.where(count_B1 > 0, total_BH / jnp.maximum(count_B1, 1), jnp.nan)


def after_last_occurrence(tokens_BS: Array) -> Array:
    """The slot after the last earlier one with the same token, -1 where there is none, `[B, S]`."""
    slot_S = jnp.arange(tokens_BS.shape[1])
    same_BSS = (tokens_BS[:, :, None] == tokens_BS[:, None, :]) & (slot_S[:, None] > slot_S[None, :])[None]
    last_BS = jnp.max(jnp.where(same_BSS, slot_S[None, None], -1), axis=-1)
    return jnp.where(last_BS >= 0, last_BS + 1, -1)


def previous_slot_of_heads(map_BHSS: Array) -> Array:
    """Attention of slots to the one just before, the mean over all but the first, `[B, H]`."""
    return jnp.mean(jnp.diagonal(map_BHSS, -1, axis1=-2, axis2=-1), axis=-1)


def icl_score(outputs: Outputs, batch: Batch, early: int = 50, late: int = 500) -> Array:
    """The loss at the token number `early` less that at `late`, in nats, counted from 1: what the context between is
    worth. About 0.4 for the language models of Olsson et al. once they have induction heads. As a measure of a study:
    Difference(of("cross_entropy/48"), of("cross_entropy/498")), since the slot k asks for token k + 2.

    Raises:
      ValueError: if no slot asks for one of them.
    """
    loss_BP = log_loss_of_slots(outputs, batch)
    S, P = batch.targets.shape[1], loss_BP.shape[1]
    for number in (early, late):
        if not S - P <= number - 2 < S:
            raise ValueError(f"The ICL score asks for token {number}; slots are asked for {S - P + 2} to {S + 1}.")
    return loss_BP[:, early - 2 - (S - P)] - loss_BP[:, late - 2 - (S - P)]


def _measured(
    outputs: Outputs, batch: Batch, measure: Callable[[Array], Array], over_heads: Callable[..., Array]
) -> Array:
    B, S = batch.targets.shape
    maps = [outputs.record[name] for name in sorted(outputs.record) if name.startswith(_MAP)]
    maps = [map_ for map_ in maps if map_.ndim == 4 and map_.shape[-2:] == (S, S)]
    if not maps or not jnp.issubdtype(batch.inputs.dtype, jnp.integer) or batch.inputs.ndim != 2:
        return jnp.full(B, jnp.nan)
    return over_heads(jnp.concatenate([measure(map_BHSS) for map_BHSS in maps], axis=1), axis=1)
