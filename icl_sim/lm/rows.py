"""Rows of labelled text: what a data set is made of, read from JSONL."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST_LINE = 1 << 20  # bytes; the longest row of the six data sets has a few thousand
_SHOWN = 60


@dataclasses.dataclass(frozen=True)
class Row:
    """A labelled text.

    Attributes:
      fields: the texts by the names that templates use: {"text": ...}, or {"premise": ..., "hypothesis": ...}.
      label: the index of its class.
    """

    fields: Mapping[str, str]
    label: int


def read_jsonl(path: str | os.PathLike, fields: tuple[str, ...], num_labels: int) -> tuple[Row, ...]:
    """All rows of a file with one JSON object a line, such as {"text": "a fine film", "label": 1}.

    Raises:
      ValueError: a sentence with the file and the line, for what is no row: not UTF-8, no JSON object, a field that is
        missing or no text, a label that is no whole number below `num_labels`, or a line longer than `LONGEST_LINE`.
    """
    path = Path(path)
    rows = []
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise ValueError(f"{path}, line {number}, is longer than {LONGEST_LINE:,} bytes, so it is no row.")
                if line.strip():
                    rows.append(_row(line, fields, num_labels, f"{path}, line {number},"))
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}.") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from error
    if not rows:
        raise ValueError(f"{path} holds no rows.")
    return tuple(rows)


def row_of(told: Mapping[str, Any], fields: tuple[str, ...], num_labels: int, where: str) -> Row:
    """The row that a record holds; `where` begins the sentence for one that holds none."""
    for name in fields:
        if name not in told:
            raise ValueError(f"{where} has no field {name!r}; it must have {', '.join((*fields, 'label'))}.")
        if not isinstance(told[name], str):
            raise ValueError(f"{where} has the {name} {_shown(told[name])}; it must be a text.")
        if any("\ud800" <= letter <= "\udfff" for letter in told[name]):
            raise ValueError(f"{where} has the {name} {_shown(told[name])}, which holds half of a surrogate pair.")
    if "label" not in told:
        raise ValueError(f"{where} has no field 'label'; it must have {', '.join((*fields, 'label'))}.")
    label = told["label"]
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < num_labels:
        raise ValueError(
            f"{where} has the label {_shown(label)}; it must be a whole number from 0 to {num_labels - 1}."
        )
    return Row({name: told[name] for name in fields}, label)


def _row(line: bytes, fields: tuple[str, ...], num_labels: int, where: str) -> Row:
    try:
        told = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not UTF-8 text.") from None
    except (ValueError, RecursionError):  # the latter for a thousand brackets
        raise ValueError(f"{where} is no JSON: {_shown(line.decode('utf-8', 'replace').strip())}.") from None
    if not isinstance(told, dict):
        raise ValueError(f"{where} is {_shown(told)}; it must be a JSON object.")
    return row_of(told, fields, num_labels, where)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...") if isinstance(value, str) else text[:_SHOWN]
