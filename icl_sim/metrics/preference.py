"""Which mechanism answers where the two disagree: a scalar from -1, pure in-weight, to 1, pure in-context learning.

On relabelled queries with a relevant context, copying the context gives the label that it shows and memory the label
as trained, so that an answer tells which of the two gave it. Of n such queries let c be the share of answers that are
shown by a slot of the query's class, m the share that are the label as trained and shown by no slot, and 1 - c - m all
others. The preference is

    P = (c - m) / (c + m),

1 if every answer that follows either follows the context, -1 if it follows memory, 0 at the balance. Answers of neither
do not move it, and answers that could be either, as a distractor's label that is the trained one, count for neither. It
is NaN where no answer follows either. Given c + m, the number of answers from the context is binomial, so that Wilson's
interval of w = c / (c + m) is one of P = 2 w - 1.
"""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.types import SUPPORT, Array, Batch, Outputs

_Z = 1.959964  # 95 %


def context(outputs: Outputs, batch: Batch) -> Array:
    """1 where the answer is the label of a slot of the query's class, and not that class, `[B]`."""
    answer_B = jnp.argmax(outputs.values, axis=-1)
    shown_BL = (batch.targets[:, :-1] == answer_B[:, None]) & (batch.kinds[:, :-1] == SUPPORT)
    return (jnp.any(shown_BL, axis=1) & (answer_B != batch.latents["classes"][:, -1])).astype(jnp.float32)


def memory(outputs: Outputs, batch: Batch) -> Array:
    """1 where the answer is the query's class, its label as trained, and no slot shows that label, `[B]`."""
    answer_B = jnp.argmax(outputs.values, axis=-1)
    shown_BL = batch.targets[:, :-1] == answer_B[:, None]
    return (~jnp.any(shown_BL, axis=1) & (answer_B == batch.latents["classes"][:, -1])).astype(jnp.float32)


def preference(context: Array, memory: Array, queries: Array | float) -> dict[str, Array]:
    """P and its 95 % interval from shares of answers, any shapes that broadcast.

    Args:
      context: c, the share of answers that follow the context.
      memory: m, the share of answers that follow memory.
      queries: n, how many answers the shares are of.

    Returns:
      `preference`, and its lower and upper limit `preference_from` and `preference_to`; NaN where c + m = 0.
    """
    decided = context + memory
    n = decided * queries
    w = context / jnp.where(decided > 0, decided, jnp.nan)
    centre = (w + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * jnp.sqrt(w * (1 - w) / n + _Z**2 / (4 * n**2))
    return {
        "preference": 2 * w - 1,
        "preference_from": jnp.clip(2 * (centre - half) - 1, -1, 1),
        "preference_to": jnp.clip(2 * (centre + half) - 1, -1, 1),
    }
