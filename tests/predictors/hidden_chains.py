"""Small mixtures of hidden chains, and the chance of words by going through every path of states."""

from __future__ import annotations

import itertools

import numpy as np


def random_law(concepts=2, entities=2, properties=2, vocabulary=3, seed=0) -> dict[str, np.ndarray]:
    """A law as `HiddenMarkovBayes` reads it, without the axis of one row."""
    rng = np.random.default_rng(seed)

    def rows(*shape):
        weights = rng.random(shape) ** 3
        return weights / weights.sum(axis=-1, keepdims=True)

    return {
        "prior": rows(concepts),
        "start": rows(concepts, entities * properties).reshape(concepts, entities, properties),
        "entity": rows(entities, entities),
        "property": rows(concepts, properties, properties),
        "word": rng.permutation(np.arange(entities * properties) % vocabulary).reshape(entities, properties),
    }


def chances(law, length, jump=0.0) -> dict[tuple[int, ...], np.ndarray]:
    """p(words, concept) of all words of this length, `[K]` each."""
    K, E, P = law["start"].shape
    found: dict[tuple[int, ...], np.ndarray] = {}
    states = list(itertools.product(range(E), range(P)))
    for path in itertools.product(states, repeat=length):
        chance_K = law["prior"] * law["start"][:, *path[0]]
        for (e, p), (f, q) in itertools.pairwise(path):
            chance_K = chance_K * (
                (1 - jump) * law["entity"][e, f] * law["property"][:, p, q] + jump * law["start"][:, f, q]
            )
        words = tuple(int(law["word"][state]) for state in path)
        found[words] = found.get(words, np.zeros(K)) + chance_K
    return found
