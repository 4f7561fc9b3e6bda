"""Names that people type: the end of every sentence about a wrong one, and folders and files of theirs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


def suggestion(name: object, allowed: Iterable[str]) -> str:
    """What is allowed, and the nearest of it if any is near: "allowed: a, b. Did you mean 'a'?"."""
    allowed = list(allowed)
    near = difflib.get_close_matches(str(name), allowed, n=1)
    return f"allowed: {', '.join(allowed) or 'nothing'}." + (f" Did you mean {near[0]!r}?" if near else "")


def require(what: str, name: object, allowed: Iterable[str]) -> None:
    """Raises ValueError, "`what` is `name`; allowed: ...", unless the name is one of those allowed."""
    allowed = list(allowed)
    if name not in allowed:
        raise ValueError(f"{what} is {name!r}; {suggestion(name, allowed)}")


def expanded(name: str | os.PathLike[str]) -> Path:
    """The path of a file or folder, with ~ and ~USER written out. Raises ValueError if there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        user = Path(name).parts[0][1:]
        raise ValueError(f"{os.fspath(name)} cannot be found: there is no user {user!r} here.") from None
