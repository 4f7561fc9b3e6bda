"""How far an induction head has formed: where label tokens and the query look (Reddy 2023; Singh et al. 2024).

Tokens are x_1, y_1, ..., x_L, y_L and the query, T = 2L + 1 of them. The first layer with a map on record is taken for
the one that copies items into label tokens, the last for the one that finds the label. Measures of outputs are per
sequence, `[B]`, means over heads, and NaN for a predictor without such maps on record.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from icl_sim import heads
from icl_sim.types import Array, Batch, Outputs

_MAP = "attention/"


def previous_token(outputs: Outputs, batch: Batch) -> Array:
    """Attention of label tokens to the token just before, their item, in the first layer (ILA1 of Reddy)."""
    return _measured(outputs, batch, lambda first, last: jnp.mean(heads.previous_token(first), axis=1))


def right_labels(outputs: Outputs, batch: Batch) -> Array:
    """The query's total attention to tokens of the right label in the last layer (TILA2); 0 where there are none."""
    right_BL = heads.right(batch)
    return _measured(
        outputs,
        batch,
        lambda first, last: jnp.sum(jnp.where(right_BL, jnp.mean(heads.to_labels(last), axis=1), 0.0), axis=1),
    )


def label_tokens(outputs: Outputs, batch: Batch) -> Array:
    """The query's total attention to label tokens in the last layer (TLA2)."""
    return _measured(outputs, batch, lambda first, last: jnp.sum(jnp.mean(heads.to_labels(last), axis=1), axis=1))


def induction_strength(outputs: Outputs, batch: Batch) -> Array:
    """The mean over heads of `heads.induction_strength`; NaN also where all labels are right, or none is."""
    return _measured(
        outputs, batch, lambda first, last: jnp.mean(heads.induction_strength(last, batch), axis=1)
    )


def _measured(outputs: Outputs, batch: Batch, measure: Callable[[Array, Array], Array]) -> Array:
    layers = sorted(int(name[len(_MAP) :]) for name in outputs.record if name.startswith(_MAP))
    maps = [outputs.record[f"{_MAP}{layer}"] for layer in layers]
    B, S = batch.targets.shape
    if len(maps) < 2 or any(m.ndim != 4 or m.shape[-1] != 2 * S - 1 for m in maps) or maps[0].shape[2] != 2 * S - 1:
        return jnp.full(B, jnp.nan)
    return measure(maps[0], maps[-1])
