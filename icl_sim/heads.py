"""Where attention heads look, of sequences of items and labels: x_1, y_1, ..., x_L, y_L and the query, T = 2L + 1
tokens."""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.types import Array, Batch


def previous_token(map_BHTT: Array) -> Array:
    """Attention of label tokens to the token just before, their item, `[B, H]`."""
    from_label_BHLT = map_BHTT[:, :, 1::2]
    item_LT = jnp.eye(map_BHTT.shape[-1])[::2][: from_label_BHLT.shape[2]]
    return jnp.mean(jnp.sum(from_label_BHLT * item_LT[None, None], axis=-1), axis=-1)


def induction_strength(map_BHQT: Array, batch: Batch) -> Array:
    """The query's mean attention to a token with the right label, less that to one with a wrong label, `[B, H]`.

    From -1 to 1, 0 where attention is even, and NaN where all labels are right or none is (Singh et al. 2024). The
    last row of the map is the query's.
    """
    to_label_BHL = to_labels(map_BHQT)
    right_BHL = jnp.broadcast_to(right(batch)[:, None], to_label_BHL.shape)
    return _mean(to_label_BHL, right_BHL) - _mean(to_label_BHL, ~right_BHL)


def to_labels(map_BHQT: Array) -> Array:
    """The query's attention to label tokens, `[B, H, L]`."""
    return map_BHQT[:, :, -1, 1::2]


def right(batch: Batch) -> Array:
    """Which slots of the context have the label that is right for the query, `[B, L]`."""
    return batch.targets[:, :-1] == batch.targets[:, -1:]


def _mean(values: Array, where: Array) -> Array:
    count = jnp.sum(where, axis=-1)
    mean = jnp.sum(jnp.where(where, values, 0.0), axis=-1) / jnp.maximum(count, 1)
    return jnp.where(count > 0, mean, jnp.nan)
