"""Which classes stand in a context, given the query's class: the conditional laws, in closed form.

Chan et al. 2025 draw whole contexts again until one fits. The same laws without a loop:

- irrelevant: every slot is independent with law P( . | c != query).
- relevant, "at least one match": the slot F of the first match is geometric, truncated to L slots, with success
  probability p = P(query); the slots before F have law P( . | c != query), the slots after it law P.
- relevant, "exactly r matches": r slots drawn without replacement hold the query's class, the others
  have law P( . | c != query).
- relevant by insertion (the Omniglot code of the paper): L independent draws from P; where none matches,
  one slot, chosen uniformly, is overwritten with the query's class.
"""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim import draws
from icl_sim.tasks.prior import TwoGroupPrior
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Array, Leaf

CONDITIONAL, INSERT = "conditional", "insert"
LAWS = (CONDITIONAL, INSERT)


def first_match(u: Array, p: Array, length: int) -> Array:
    """Slot (0..length-1) of the first match given that there is one, from a uniform `u` in [0, 1).

    P(F = f) = p (1 - p)^f / (1 - (1 - p)^length); uniform over the slots in the limit p -> 0.
    """
    log_miss = jnp.log1p(-jnp.clip(p, 1e-7, 1.0))
    slot = jnp.floor(jnp.log1p(u * jnp.expm1(length * log_miss)) / log_miss).astype(jnp.int32)
    return jnp.clip(slot, 0, length - 1)


def context_classes(
    u_first: Array,
    u_rank_L: Array,
    u_class_L: Array,
    prior: TwoGroupPrior,
    query: Leaf,
    relevant: Leaf,
    num_relevant: Leaf,
    law: str,
) -> Array:
    """Classes of the L context slots of one sequence, int32 `[L]`.

    Args:
      u_first, u_rank_L, u_class_L: uniforms in [0, 1), of shapes `[]`, `[L]`, `[L]`.
      prior: law P of one slot.
      query: class of the query, `[]`.
      relevant: whether the context holds the query's class, bool `[]`.
      num_relevant: r, how many slots match; 0 means at least one.
      law: `"conditional"` or `"insert"`, what "at least one" means.
    """
    length = u_class_L.shape[0]
    slot_L = jnp.arange(length)
    rank_L = draws.permutation(u_rank_L)
    unconditional_L = prior.draw(u_class_L)
    if law == CONDITIONAL:
        first = first_match(u_first, prior.mass(jnp.asarray(query)), length)
        forced_L, free_L = slot_L == first, slot_L > first
    else:
        matched = jnp.any(unconditional_L == query)
        forced_L, free_L = (rank_L == 0) & ~matched, jnp.full(length, True)
    exactly = jnp.asarray(num_relevant) > 0
    forced_L = relevant & jnp.where(exactly, rank_L < num_relevant, forced_L)
    free_L = relevant & ~exactly & free_L
    other_L = jnp.where(free_L, unconditional_L, prior.draw_excluding(u_class_L, query))
    return jnp.where(forced_L, query, other_L)


def kinds(classes_BS: Array) -> Array:
    """What kind each slot is, int8 `[B, S]`: `SUPPORT` where a slot of the context has the class of the query."""
    matches_BS = classes_BS == classes_BS[:, -1:]
    kinds_BS = jnp.where(matches_BS, SUPPORT, CONTEXT).astype(jnp.int8)
    return kinds_BS.at[:, -1].set(QUERY)
