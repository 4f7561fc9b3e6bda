"""Reading the small files of a checkpoint, with a sentence for each way in which they can be broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 64 * 2**20  # of a JSON file; a tokenizer of 262,144 tokens takes 33 million


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
      ValueError: if it cannot be read, is larger than any such file should be, or is not JSON.
    """
    return parsed(path, read_text(path))


def read_text(path: Path) -> str:
    """A text file, unless it cannot be read or is larger than it should be: ValueError."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"{path} has {size} bytes; a file of this kind should have at most {MOST_BYTES}.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8.") from None


def parsed(path: Path, text: str) -> Any:
    """The JSON in a text that is the content of `path`."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be what it should be.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None


def plain_name(name: object) -> bool:
    """Whether it is the name of a file in a folder, and no path that leads elsewhere."""
    return isinstance(name, str) and name not in ("", ".", "..") and not any(c in name for c in "/\\\0:")
