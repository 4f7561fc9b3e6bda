"""Which rows are demonstrations and which are asked, by the numbers of Dai et al. 2023's code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

VALIDATION_SEED, MOST_VALIDATED = 1, 2000

_T = TypeVar("_T")


def picks(count: int, seed: int) -> np.ndarray:
    """The order in which `shuffle(seed)` of the `datasets` library puts so many rows, without that library."""
    return np.random.default_rng(seed).permutation(count)


def demonstrations(rows: Sequence[_T], shots: int, seed: int) -> list[_T]:
    """The first `shots` rows after a shuffle; labels are not balanced."""
    if not 0 <= shots <= len(rows):
        raise ValueError(f"shots is {shots}; it must be from 0 to {len(rows)}, the rows there are.")
    return [rows[number] for number in picks(len(rows), seed)[:shots]]


def validation(rows: Sequence[_T], most: int = MOST_VALIDATED) -> list[_T]:
    """The rows that are asked: all, at most `most`, after the shuffle of seed 1, whatever the seed of a run."""
    return [rows[number] for number in picks(len(rows), VALIDATION_SEED)[:most]]


def permuted(chosen: Sequence[_T], index: int) -> list[_T]:
    """The demonstrations in another order: 0 leaves them, every other index shuffles them by it as a seed."""
    return [chosen[number] for number in picks(len(chosen), index)] if index else list(chosen)


def fitting(lengths: Sequence[int], start: int, longest_query: int, budget: int) -> int:
    """How many demonstrations fit: those before the first with which context and longest query reach the budget.

    Args:
      lengths: tokens of each demonstration, its separator included.
      start: tokens that stand before them.
      longest_query: tokens of the longest prompt with its longest candidate.
      budget: tokens that the model can look at.
    """
    total = start
    for number, length in enumerate(lengths):
        if total + length + longest_query >= budget:
            return number
        total += length
    return len(lengths)
