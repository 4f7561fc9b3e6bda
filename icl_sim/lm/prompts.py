"""Rows as tokens: what stands before every query, the queries, and the candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from icl_sim.lm import selection
from icl_sim.lm.rows import Row
from icl_sim.lm.templates import END_OF_TEXT, Template

Tokens = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Prompts:
    """A task in tokens. Every part is tokenised by itself, so that a query's tokens are the same in all settings.

    Attributes:
      start: what stands first in every setting: the model's token for the beginning of a text, if it has one.
      demonstrations: each without its separator.
      separator: after each demonstration of a context.
      queries: prompts without an answer.
      candidates: a space and the word, per class.
      labels: of the queries.
    """

    start: Tokens
    demonstrations: tuple[Tokens, ...]
    separator: Tokens
    queries: tuple[Tokens, ...]
    candidates: tuple[Tokens, ...]
    labels: tuple[int, ...]

    @property
    def context(self) -> Tokens:
        """What stands before a query in ICL."""
        return self.start + sum((one + self.separator for one in self.demonstrations), ())

    @property
    def shown(self) -> np.ndarray:
        """Where in the context tokens of demonstrations stand, the first token and separators left out, `[K]`."""
        places, at = [], len(self.start)
        for one in self.demonstrations:
            places += range(at, at + len(one))
            at += len(one) + len(self.separator)
        return np.asarray(places, np.int64)


def prompts(
    tokenizer: Any,
    template: Template,
    demonstrations: Sequence[Row],
    queries: Sequence[Row],
    budget: int,
    permutation: int = 0,
) -> Prompts:
    """Writes and tokenises a task; of the demonstrations, as many as fit, which finetuning then sees too.

    Args:
      tokenizer: of `icl_sim.lm.tokenizer`, or anything with its `encode`, `eos` and `beginning`.
      budget: tokens that the model can look at.
      permutation: of the demonstrations (`selection.permuted`).

    Raises:
      ValueError: if two candidates have the same tokens, or a query alone is too long.
    """
    encode = _Encoder(tokenizer)
    start = tokenizer.beginning
    separator = encode.separator(template.separator)
    candidates = tuple(encode(text) for text in template.candidates)
    if len(set(candidates)) < len(candidates) or not all(candidates):
        raise ValueError(f"The tokenizer does not tell the candidates {', '.join(template.words)} apart.")
    asked = tuple(encode(template.prompt(row)) for row in queries)
    longest = max(map(len, asked), default=0) + max(map(len, candidates))
    if len(start) + longest > budget:
        raise ValueError(f"The longest query has {longest:,} tokens, and the model looks at {budget:,}.")
    written = [encode(template.demonstration(row)) for row in demonstrations]
    fits = selection.fitting([len(one) + len(separator) for one in written], len(start), longest, budget)
    return Prompts(
        start,
        tuple(selection.permuted(written[:fits], permutation)),
        separator,
        asked,
        candidates,
        tuple(row.label for row in queries),
    )


class _Encoder:
    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def __call__(self, text: str) -> Tokens:
        return tuple(int(token) for token in self.tokenizer.encode(text))

    def separator(self, text: str) -> Tokens:
        if text != END_OF_TEXT:
            return self(text)
        if self.tokenizer.eos is None:
            raise ValueError("The tokenizer has no token for the end of a text; choose another separator.")
        return (int(self.tokenizer.eos),)
