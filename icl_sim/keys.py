"""Named random streams: every random number is a function of (seed, stream, step), never of what ran before."""

from __future__ import annotations

import jax

from icl_sim.types import Key, Leaf

# The numbers are part of the results: never renumber, only append.
STREAMS = {
    "data": 0,  # what a training set consists of: prototypes, rows
    "train": 1,  # which rows a step sees
    "init": 2,  # initial parameters
    "eval": 3,  # evaluation sets
    "references": 4,  # what reference predictors are tuned on
}


def stream(seed: Leaf, name: str, *counters: Leaf) -> Key:
    """The key of a named stream at the given counters, for instance `stream(seed, "train", step)`."""
    key = jax.random.fold_in(jax.random.key(seed), STREAMS[name])
    for counter in counters:
        key = jax.random.fold_in(key, counter)
    return key


def require_seed(what: str, seed: Leaf | None) -> None:
    """Raises ValueError unless the seed is None or a whole number from 0 to 2^32 - 1."""
    if seed is not None and (seed != int(seed) or not 0 <= seed < 2**32):
        raise ValueError(f"{what} is {seed}; it must be a whole number from 0 to 2^32 - 1.")
