"""What classes are called: the same in all sequences, or something else in each."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np

from icl_sim.draws import number_below
from icl_sim.tasks.sequences.composition import first_slots
from icl_sim.tasks.sequences.zipf import distinct_numbers
from icl_sim.types import Array, Leaf

# What labels of training are: of the class, drawn for the sequence, or of the class but for one that is shown.
FIXED, BY_SEQUENCE, ONE_SHOWN = "fixed", "per_sequence", "shown"
MODES = (FIXED, BY_SEQUENCE, ONE_SHOWN)
# Which classes have several labels where some do.
ALL, RARE = "all", "rare"
SEVERAL = (ALL, RARE)
# What an evaluation set does to the labels of a sequence; each is a number, so that all share a program.
AS_TRAINED, PER_SEQUENCE, SWAPPED, FLIPPED, SHOWN = range(5)


def pairs(num_labels: int, seed: int = 0) -> np.ndarray:
    """All unordered pairs of labels in a random order, which splits training's from those held out, `[P, 2]`."""
    every = np.array(list(itertools.combinations(range(num_labels), 2)))
    return every[np.random.default_rng(seed).permutation(len(every))]


def of_sequence(u_W: Array, num_labels: int, held_out_pairs: int, use_held_out: Leaf) -> Array:
    """Different labels of 0..num_labels-1 for the W bursts of a sequence, all choices equally likely, `[W]`.

    Where some pairs are held out there are two bursts, and their labels are a pair of training or, if asked for, one
    of the last `held_out_pairs` in the order of `pairs`; in either order (Singh et al. 2024).
    """
    if not held_out_pairs:
        return distinct_numbers(u_W, num_labels)
    pairs_P2 = jnp.asarray(pairs(num_labels))
    trained = len(pairs_P2) - held_out_pairs
    first = jnp.where(use_held_out, trained, 0)
    count = jnp.where(use_held_out, held_out_pairs, trained)
    pair_2 = pairs_P2[first + number_below(u_W[0], count)]
    return jnp.where(u_W[1] < 0.5, pair_2, pair_2[::-1])


def fixed(classes_S: Array, num_labels: int, multiplicity: int, several: int, u_S: Array) -> Array:
    """The labels of training, `[S]`.

    A class is called c mod num_labels. With multiplicity m each of the first `several` has the labels c m to c m + m-1
    and goes by one of them all through a sequence; those after it have one each, from several m on (Chan et al. 2022).
    """
    label_S = classes_S % num_labels
    if multiplicity == 1:
        return label_S
    one_of_S = label_S * multiplicity + number_below(u_S[first_slots(classes_S)], multiplicity)
    if several == num_labels:
        return one_of_S
    return jnp.where(label_S < several, one_of_S, label_S + several * (multiplicity - 1))
