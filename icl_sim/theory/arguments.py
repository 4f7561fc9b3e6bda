"""Arguments and results of closed forms: float64, checked with a sentence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

Result = np.ndarray | np.float64


def checked(name: str, value: ArrayLike, fits: Callable[[np.ndarray], np.ndarray], allowed: str) -> np.ndarray:
    """The values as float64; ValueError with the first which does not fit, as NaN never does."""
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is {value!r}; allowed: {allowed}.") from error
    bad = ~fits(values)
    if bad.any():
        wrong = value if values.ndim == 0 else f"{values[bad][0]:g}"  # None, not the NaN it turns into
        raise ValueError(f"{name} is {wrong}; allowed: {allowed}.")
    return values


def whole(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values) & (values == np.floor(values))


def result(values: ArrayLike) -> Result:
    return np.asarray(values, np.float64)[()]  # a number rather than an array without axes
