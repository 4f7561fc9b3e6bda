"""Sweeps: which settings a study visits, as plain points `{dotted name: value}`.

A sweep is a tuple of points and three ways to make one, which nest:

    product({"task.p_high": (0.5, 0.9), "seed": range(3)})               6 points, the last name varies
    fastest zip_({"task.context_length": (1, 4), "training.steps": (10, 40)})    2 points, in lockstep
    chain(product({"seed": range(3)}), {"task.p_high": (0.5,)})          one after the other, each point once

`Sweep()` is the point without any name: the identity of `product`. `parse` reads the same from a command
line.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping

Value = float | int | bool | str | None | tuple
Point = Mapping[str, Value]
MAX_POINTS = 1_000_000
MAX_RANGE = 100_000  # values that one range on the command line may stand for

_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*")  # items of a tuple go by their number
_WORD = re.compile(r"[A-Za-z_][\w.:/-]*")
_POWER = re.compile(r"([+-]?[\d.]+)(?:\^|\*\*)([+-]?\d+)")
_RANGE = re.compile(r"(?P<first>[^:]+?)\.\.(?P<last>[^:]+?)(?::(?P<stride>.+))?")
_CONSTANTS = {"true": True, "false": False, "none": None}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The points that a study visits, in order, each once."""

    points: tuple[Point, ...] = ({},)

    def __post_init__(self):
        points = [{name: _plain(name, value) for name, value in point.items()} for point in self.points]
        first = {repr(sorted(point.items())): point for point in reversed(points)}  # repr: 1 and 1.0 differ
        object.__setattr__(self, "points", tuple(first.values())[::-1])

    @property
    def names(self) -> tuple[str, ...]:
        """All names that some point sets, in order of appearance."""
        return tuple(dict.fromkeys(name for point in self.points for name in point))

    def without(self, names: Iterable[str]) -> Sweep:
        """The sweep that no longer sets `names`; points that then coincide count once."""
        dropped = set(names)
        return Sweep(tuple({name: point[name] for name in point if name not in dropped} for point in self.points))

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)


Part = Sweep | Mapping[str, Iterable[Value]]


def product(*parts: Part) -> Sweep:
    """Every combination; what is named first varies slowest."""
    axes = [Sweep(axis) for part in parts for axis in _axes(part)]
    _refuse_repeats(axes)
    if (size := math.prod(map(len, axes))) > MAX_POINTS:
        raise ValueError(f"The sweep has {size:,} points; at most {MAX_POINTS:,} fit into one study.")
    return Sweep(tuple(_joined(points) for points in itertools.product(*axes)))


def zip_(*parts: Part) -> Sweep:
    """First with first, second with second; all parts must be equally long. A value may come again, beside others."""
    axes = [axis for part in parts for axis in _axes(part)]
    _refuse_repeats([Sweep(axis) for axis in axes])
    lengths = {"+".join(Sweep(axis).names): len(axis) for axis in axes}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"zip_ pairs values one to one, so all names need equally many: {told}.")
    return Sweep(tuple(_joined(points) for points in zip(*axes, strict=True))) if axes else Sweep()


def chain(*parts: Part) -> Sweep:
    """One after the other; a point that was there before is not repeated."""
    return Sweep(tuple(point for part in parts for point in product(part)))


def overridden(sweep: Sweep, by: Sweep) -> Sweep:
    """`sweep` with the names of `by` taken from `by`: replaces what both set, product with the rest."""
    return product(sweep.without(by.names), by)


def parse(text: str) -> Sweep:
    """The sweep of a command line: `"task.p_high=0.5,0.9,0.99; seed=0..4"`, the product of its axes.

    A value is a number, `inf`, a power (`2^10` or `2**10`), `true`, `false`, `none` or a bare word. A range
    `a..b` stands for the whole numbers from a to b, both included; `2^6..2^20` for the powers between; `:k`
    after a range keeps every k-th, as in `2^6..2^20:2`.
    """
    axes: dict[str, tuple[Value, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not equals or not _NAME.fullmatch(name):
            raise ValueError(f"The sweep {part!r} cannot be read; write name=value,value, as in task.p_high=0.5,0.9.")
        if name in axes:
            raise ValueError(f"The sweep sets {name} twice; give all of its values at once, with commas.")
        axes[name] = tuple(value for item in values.split(",") for value in _values(name, item.strip()))
        times = collections.Counter(map(repr, axes[name]))  # 1 and 1.0 differ, as in every sweep
        if again := [value for value, count in times.items() if count > 1]:
            raise ValueError(f"The sweep gives {name} the value {again[0]} twice.")
    return product(axes)


def _values(name: str, item: str) -> Iterable[Value]:
    if span := _RANGE.fullmatch(item):
        return _range(name, item, span["first"].strip(), span["last"].strip(), span["stride"])
    value = _number(item)
    if value is not None:
        return (value,)
    if item.lower() in _CONSTANTS:
        return (_CONSTANTS[item.lower()],)
    if _WORD.fullmatch(item):
        return (item,)
    raise ValueError(
        f"The sweep gives {name} the value {item!r}; use numbers, 2^10, a..b, true, false, none or words. Tuples are "
        "swept in a study file."
    )


def _range(name: str, item: str, first: str, last: str, stride: str | None) -> Iterable[Value]:
    base, same_kind = None, True
    powers = [power.groups() for power in map(_POWER.fullmatch, (first, last)) if power]
    if powers:
        same_kind = len(powers) == 2 and powers[0][0] == powers[1][0]
        base, (first, last) = powers[0][0], (powers[0][1], powers[-1][1])
    start, stop, step = _number(first), _number(last), _number((stride or "1").strip())
    whole = isinstance(start, int) and isinstance(stop, int) and isinstance(step, int)
    if not (same_kind and whole and step > 0 and start <= stop):
        raise ValueError(
            f"The sweep gives {name} the range {item!r}; a range goes upwards between whole numbers, as in 0..4, or "
            "between powers of one base, as in 2^6..2^20, and may end in a stride, as in 2^6..2^20:2."
        )
    if (stop - start) // step >= MAX_RANGE:
        raise ValueError(
            f"The sweep gives {name} the range {item!r}; a range may stand for at most {MAX_RANGE} values."
        )
    numbers = range(start, stop + 1, step)
    values = numbers if base is None else tuple(_number(f"{base}^{number}") for number in numbers)
    if None in values:
        raise ValueError(f"The sweep gives {name} the range {item!r}, whose powers are more than a number can hold.")
    return values


def _number(text: str) -> int | float | None:
    """The number that the text spells, or None. Whole numbers are int."""
    if power := _POWER.fullmatch(text):
        base, exponent = _number(power[1]), int(power[2])
        if base is None or abs(exponent) > 1023:
            return None
        try:
            float(base**exponent)
        except ArithmeticError:  # beyond what a float holds, or 0 to a negative power
            return None
        return base**exponent
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return None


def _axes(part: Part) -> tuple[tuple[Point, ...], ...]:
    """The points along every axis, as they were given."""
    if isinstance(part, Sweep):
        return (part.points,)
    if not isinstance(part, Mapping) or not all(isinstance(name, str) for name in part):
        raise ValueError(f"A sweep is made of {{'name': values}} and of other sweeps, not of {part!r}.")
    axes = []
    for name, values in part.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ValueError(
                f"The sweep gives {name} the single value {values!r}; give a list, as in {{{name!r}: [{values!r}]}}."
            )
        axes.append(tuple({name: value} for value in values))
        if not axes[-1]:
            raise ValueError(f"The sweep gives {name} no values; give at least one.")
    return tuple(axes)


def _plain(name: str, value: object) -> Value:
    """The value as plain Python, which is what hashes, prints and travels through JSON unchanged."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, list | tuple):
        return tuple(_plain(name, element) for element in value)
    if value is None or isinstance(value, bool | int | float | str):
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"The sweep gives {name} the value nan; it must be a number that can be told from others.")
        return value
    raise ValueError(
        f"The sweep gives {name} the value {value!r}; use numbers, booleans, strings, None or tuples of them."
    )


def _joined(points: Iterable[Point]) -> Point:
    return {name: value for point in points for name, value in point.items()}


def _refuse_repeats(axes: Iterable[Sweep]) -> None:
    seen: set[str] = set()
    for axis in axes:
        if repeated := seen & set(axis.names):
            raise ValueError(
                f"The sweep sets {min(repeated)} twice in one product; each name may vary in one place only."
            )
        seen |= set(axis.names)
