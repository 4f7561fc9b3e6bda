"""Which exemplar of its class every slot shows."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.draws import number_below
from icl_sim.tasks.sequences.composition import first_slots
from icl_sim.tasks.sequences.zipf import distinct_numbers
from icl_sim.types import Array

REPEATED, DIFFERENT, BY_PART, MATCHED = "any", "distinct", "distinct_by_part", "matched"
POLICIES = (REPEATED, DIFFERENT, BY_PART, MATCHED)
_APART = 2**24  # above all classes


def exemplars(u_SE: Array, classes_S: Array, besides_S: Array, count: int, how: str) -> Array:
    """Numbers of exemplars 0..count-1, `[S]`; where every occurrence is new (count 0), those of equal numbers are one.

    Any of the class's, with repetition ("any"); without, as far as there are enough ("distinct"); without among bursts
    and the query, and among the slots beside the bursts, but not from these to those ("distinct_by_part", as the
    released code of Chan et al. 2022 draws them); or one for all slots of a class ("matched").

    Args:
      u_SE: uniforms; E is `needed(count, how, S)`.
      besides_S: which slots stand beside bursts.
    """
    slots = len(classes_S)
    if how == BY_PART:
        classes_S = classes_S + _APART * besides_S
    first_S = first_slots(classes_S)
    if not count:
        return first_S if how == MATCHED else jnp.arange(slots)
    if how in (DIFFERENT, BY_PART):
        # Different exemplars of the class in a random order, of which each occurrence takes the next.
        order_SE = jax.vmap(lambda u_E: distinct_numbers(u_E, count))(u_SE[first_S])
        same_SS = (classes_S[:, None] == classes_S[None, :]) & jnp.tri(slots, k=-1, dtype=bool)
        return order_SE[jnp.arange(slots), jnp.sum(same_SS, axis=1) % count]
    number_S = number_below(u_SE[:, 0], count)
    return number_S[first_S] if how == MATCHED else number_S


def needed(count: int, how: str, slots: int) -> int:
    """How many uniforms each of so many slots needs."""
    return min(count, slots) if how in (DIFFERENT, BY_PART) and count else 1
