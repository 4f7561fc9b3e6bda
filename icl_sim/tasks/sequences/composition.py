"""Which classes stand in a sequence: bursts of some, and whatever fills the rest of the context."""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.draws import number_below, permutation
from icl_sim.tasks.sequences.zipf import ClassLaw, distinct_numbers
from icl_sim.types import Array

# Which classes a sequence is made of; each is a number, so that all evaluation sets share a program.
TRAIN, EVEN, RARE, COMMON, HOLDOUT = range(5)
PARTS = {"train": TRAIN, "rare": RARE, "common": COMMON}
# How frequent the classes of a part of training's are, and the order of a context.
ALIKE, BY_ZIPF = "even", "zipf"
FREQUENCIES = (ALIKE, BY_ZIPF)
ANY_ORDER, GROUPED = "any", "grouped"
ORDERS = (ANY_ORDER, GROUPED)
# Laws of the classes of bursts, of the burst that is asked, and of slots in no burst.
DISTINCT, INDEPENDENT, LABELS = "distinct", "independent", "distinct_labels"
WAYS = (DISTINCT, INDEPENDENT, LABELS)
ANY_BURST, FIRST_BURST, ANY_SLOT = "any", "first", "slot"
QUERIES = (ANY_BURST, FIRST_BURST, ANY_SLOT)
ANY, OTHER, UNIQUE = "any", "other", "unique"
FILLERS = (ANY, OTHER, UNIQUE)


def ways(u_W: Array, u_class_W: Array, law: ClassLaw, how: str, num_labels: int) -> Array:
    """The classes of the bursts, `[W]`.

    Args:
      u_W, u_class_W: uniforms in [0, 1); the second are used by "distinct_labels" alone.
      how: "distinct", one after the other, each from the law without those before; "independent", which can coincide
        (Chan et al. 2022); or "distinct_labels", labels evenly and without repetition, and then evenly one of the
        classes c from `law.first` to `law.end` with c mod num_labels that label (Reddy 2023), of which every label must
        have as many.
    """
    if how == LABELS:
        number_W = number_below(u_class_W, (law.end - law.first) // num_labels)
        return law.first + distinct_numbers(u_W, num_labels) + num_labels * number_W
    return law.draw_distinct(u_W) if how == DISTINCT else law.draw(u_W)


def asked_burst(u: Array, sizes_W: Array, how: str) -> Array:
    """The number of the burst of which the query is.

    Any burst evenly ("any", Chan et al. 2022), the first ("first", Singh et al. 2023), or that of a slot of a burst
    ("slot", Reddy 2023), which is the same as "any" where all are of one size.
    """
    if how == FIRST_BURST:
        return jnp.zeros((), jnp.int32)
    if how == ANY_BURST:
        return number_below(u, len(sizes_W))
    return jnp.clip(jnp.sum(u * jnp.sum(sizes_W) >= jnp.cumsum(sizes_W)), 0, len(sizes_W) - 1)


def fill(u_L: Array, law: ClassLaw, how: str, besides_N: Array) -> Array:
    """Classes of L slots that are in no burst, `[L]`.

    Each independently from the law ("any"), from the law without the classes `besides_N` ("other"), or one after the
    other without those and the ones before ("unique").
    """
    if how == ANY:
        return law.draw(u_L)
    return law.draw(u_L, besides_N) if how == OTHER else law.draw_distinct(u_L, besides_N)


def order(u_L: Array, within_L: Array, how: str) -> Array:
    """In which order the slots of a context stand, `[L]`.

    Any order ("any"); or block after block, each of one slot of every burst, in any order inside ("grouped", an option
    of Chan et al. 2022).

    Args:
      within_L: the number of each slot in its burst.
    """
    return jnp.argsort(u_L + within_L) if how == GROUPED else permutation(u_L)


def first_slots(classes_S: Array) -> Array:
    """The first slot that has the class of each, `[S]`."""
    return jnp.argmax(classes_S[:, None] == classes_S[None, :], axis=1)
