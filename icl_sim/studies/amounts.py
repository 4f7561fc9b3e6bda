"""Amounts as people read them."""

from __future__ import annotations

import datetime
import math


def span(seconds: float) -> str:
    """A time, as 1:02:03, with days where there are some, and as 12 ms below a second."""
    if 0 < seconds < 0.9995:
        return f"{1e3 * seconds:.3g} ms"
    return str(datetime.timedelta(seconds=round(min(seconds, 8e13))))


def size(number: float) -> str:
    """Bytes, as 1.23 GB."""
    return f"{short(number)}B"


def short(number: float) -> str:
    """Three digits and a unit of thousands, as "47.1 M"; what a unit is of can follow."""
    power = min(8, math.floor(math.log10(number) / 3)) if number >= 1 else 0
    if number / 1000**power >= 999.5:
        power += 1
    return f"{number / 1000**power:,.3g} {' kMGTPEZYR'[power].strip()}"
