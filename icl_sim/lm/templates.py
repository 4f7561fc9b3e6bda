"""Prompts: how a row is written for a language model, and the words that it chooses among."""

from __future__ import annotations

import dataclasses

from icl_sim.lm.rows import Row
from icl_sim.names import require

STYLES = ("natural", "code", "paper")
END_OF_TEXT = "</s>"  # as a separator: the model's own token for the end of a text


@dataclasses.dataclass(frozen=True)
class Template:
    """How a row is written.

    Attributes:
      text: the prompt, with the fields of a row in braces.
      words: the word of each label; a candidate is a space and the word.
      separator: between demonstrations, a text or `END_OF_TEXT`.
    """

    text: str
    words: tuple[str, ...]
    separator: str

    def prompt(self, row: Row) -> str:
        """The row without its label."""
        # Not str.format: a text may hold braces. Fields are put in one pass, so that none is searched for others.
        parts, rest = [], self.text
        while rest:
            before, brace, inner = rest.partition("{")
            name, _, after = inner.partition("}")
            parts += [before, row.fields[name]] if brace else [before]
            rest = after if brace else ""
        return "".join(parts)

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(f" {word}" for word in self.words)

    def demonstration(self, row: Row) -> str:
        """The row with its label, without the separator."""
        return self.prompt(row) + self.candidates[row.label]


_SENTIMENT, _GRADES = ("Negative", "Positive"), ("terrible", "bad", "neutral", "good", "great")
_TYPES, _TOPICS = ("objective", "subjective"), ("World", "Sports", "Business", "Technology")
_ANSWERS = ("True", "False", "Neither")
_CLASSIFY = "Classify the news articles into the categories of World, Sports, Business, and Technology. "
# Data set -> words and, by style, the text. "code": the strings of the code of Dai et al. 2023, which have no newlines,
# since to its models a newline ends the text. "paper": their Table 8, where the answer stands on a line of its own.
# "natural": what a small model of today answers better; there words are in lower case and demonstrations are set off by
# an empty line.
_TEXTS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "sst2": (
        _SENTIMENT,
        {
            "code": "Sentence: {text} Label:",
            "paper": "Sentence: {text}\nLabel:",
            "natural": "Review: {text}\nSentiment:",
        },
    ),
    "sst5": (
        _GRADES,
        {
            "code": "Sentence: {text} Label:",
            "paper": "Sentence: {text}\nLabel:",
            "natural": "Review: {text}\nThe film is:",
        },
    ),
    "mr": (
        _SENTIMENT,
        {
            "code": "Review: {text} Sentiment:",
            "paper": "Review: {text}\nSentiment:",
            "natural": "Review: {text}\nSentiment:",
        },
    ),
    "subj": (
        _TYPES,
        {"code": "Input: {text} Type:", "paper": "Input: {text}\nType:", "natural": "Sentence: {text}\nType:"},
    ),
    "agnews": (
        _TOPICS,
        {
            "code": _CLASSIFY + "Article: {text} Answer:",
            "paper": _CLASSIFY + "News: {text}\nType:",
            "natural": "News: {text}\nTopic:",
        },
    ),
    "cb": (
        _ANSWERS,
        {
            "code": "{premise} Question: {hypothesis}. True, False, or Neither? Answer:",
            "paper": "{premise} Question: {hypothesis} True, False, or Neither?\nAnswer:",
            "natural": "{premise}\nQuestion: {hypothesis}. true, false, or neither?\nAnswer:",
        },
    ),
}
_TEXTS["fixture"] = _TEXTS["mr"]


def template(data: str, style: str = "natural") -> Template:
    """The template of a data set in a style. Raises ValueError, with the nearest name, if there is none."""
    require("data", data, _TEXTS)
    require("template", style, STYLES)
    words, texts = _TEXTS[data]
    if style == "natural":
        return Template(texts[style], tuple(word.lower() for word in words), "\n\n")
    return Template(texts[style], words, END_OF_TEXT)
