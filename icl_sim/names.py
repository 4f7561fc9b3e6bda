"""The end of every sentence about a wrong name: what is allowed, and the nearest of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
