"""Fields of settings by dotted name, with the types that the settings declare."""

from __future__ import annotations

import dataclasses
import functools
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from icl_sim.names import suggestion

_S = TypeVar("_S")
_LARGEST = float(np.finfo(np.float32).max)
_SPELT = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan, "none": None}  # as a command line gives them
_SPELLING = {True: "true", False: "false", None: "none"}  # and what it reads otherwise where they are words
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple: "a tuple",
    type(None): "None",
}


@functools.cache
def declared(kind: type) -> Mapping[str, frozenset[type]]:
    """The fields that a study can choose and the types that each admits.

    A field that admits nothing but arrays is bound by the code (such as the table of drawn inputs), not
    chosen.
    """
    hints = _hints(kind)
    admitted = {field.name: _types(hints[field.name]) for field in dataclasses.fields(kind) if field.init}
    return {name: kinds for name, kinds in admitted.items() if kinds - {type(None)}}


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def normalized(setting: _S, path: str) -> _S:
    """The setting with every value as its declared type; wrong types are errors that name `path`.

    A study can so mix 1 and 0.5 on one axis: equal dtypes are what lets members share a program.
    """
    changes = {}
    for name in declared(type(setting)):
        old = getattr(setting, name)
        new = coerced(setting, name, old, path)
        new = _normalized_value(new, f"{path}.{name}")
        if new is not old:
            changes[name] = new
    return _replace(setting, changes) if changes else setting


def _normalized_value(value: Any, path: str) -> Any:
    if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        items = tuple(_normalized_value(item, f"{path}.{number}") for number, item in enumerate(value))
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return normalized(value, path) if dataclasses.is_dataclass(value) else value


def replaced(setting: _S, name: str, value: Any, path: str) -> _S:
    """The setting with the field at a dotted name changed. `path` is what errors call the setting."""
    head, _, rest = name.partition(".")
    if head not in declared(type(setting)):
        raise ValueError(f"{path} has no field {head!r}; {suggestion(head, declared(type(setting)))}")
    if rest:
        inner = getattr(setting, head)
        if isinstance(inner, tuple):
            value = _item_replaced(inner, rest, value, f"{path}.{head}")
        elif not dataclasses.is_dataclass(inner):
            raise ValueError(f"{path}.{head} is {inner!r} and has no fields, so {path}.{name} does not exist.")
        else:
            value = replaced(inner, rest, value, f"{path}.{head}")
    return _replace(setting, {head: coerced(setting, head, value, path)})


def _item_replaced(items: tuple, name: str, value: Any, path: str) -> tuple:
    """The tuple of settings with a field of one changed: "0.strength" is that of the first."""
    number, _, rest = name.partition(".")
    known = [str(n) for n, item in enumerate(items) if dataclasses.is_dataclass(item)]
    if number not in known or not rest:
        allowed = suggestion(number, [f"{n}.FIELD" for n in known])
        raise ValueError(f"{path} is a tuple, so {path}.{name} does not exist; {allowed}")
    changed = replaced(items[int(number)], rest, value, f"{path}.{number}")
    return (*items[: int(number)], changed, *items[int(number) + 1 :])


def read(setting: Any, name: str) -> Any:
    """The value at a dotted name; items of a tuple go by their number."""
    return functools.reduce(
        lambda at, n: at[int(n)] if isinstance(at, tuple) else getattr(at, n), name.split("."), setting
    )


def coerced(setting: Any, name: str, value: Any, path: str) -> Any:
    """The value as the type that the field declares."""
    value = _typed(setting, name, value, path)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and not isinstance(number, bool):
            _check_held(type(setting), name, number, path)
    return value


def _typed(setting: Any, name: str, value: Any, path: str) -> Any:
    admitted = _narrowed(type(setting), name)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, list):
        value = tuple(value)
    if tuple in admitted and (isinstance(value, tuple) or (admitted <= {tuple, type(None)} and value is not None)):
        return _items_typed(setting, name, value if isinstance(value, tuple) else (value,), path)
    if isinstance(value, str) and str not in admitted:
        value = _SPELT.get(value, value)
    if type(value) in admitted or (dataclasses.is_dataclass(value) and isinstance(value, tuple(admitted))):
        return value
    if value is None and str in admitted:
        return _SPELLING[value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and float in admitted:
        return _as_float(value)
    if number and int in admitted and value == value // 1:  # 1e4 steps
        return int(value)
    if number and bool in admitted and value in (0, 1):
        return bool(value)
    words = " or ".join(sorted(_WORDS[kind] if kind in _WORDS else _named(kind) for kind in admitted))
    raise ValueError(f"{path}.{name} is {value!r}; it must be {words}.")


def _named(kind: type) -> str:
    """Its name; of what others may extend, where to have it from."""
    extended = kind.__subclasses__() and kind.__module__.startswith("icl_sim")
    return f"one that extends {kind.__module__}.{kind.__name__}" if extended else kind.__name__


def _items_typed(setting: Any, name: str, value: tuple, path: str) -> tuple:
    items = of_items(type(setting), name)
    if any(map(dataclasses.is_dataclass, value)) or not items & {int, float, str, bool}:
        for item in value:
            if not dataclasses.is_dataclass(item) or not isinstance(item, tuple(items)):
                raise ValueError(f"{path}.{name} holds {item!r}; it must hold {' or '.join(map(_named, items))}.")
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
    if items == {int}:
        if numbers and all(item == item // 1 for item in value):
            return tuple(map(int, value))
        raise ValueError(f"{path}.{name} is {value!r}; it must be a tuple of whole numbers.")
    if float in items:
        value = tuple(_SPELT.get(item, item) if isinstance(item, str) else item for item in value)
        if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
            raise ValueError(f"{path}.{name} is {value!r}; it must be a tuple of numbers.")
        return tuple(map(_as_float, value))
    if items == {str}:
        value = tuple(_SPELLING[item] if item is None or isinstance(item, bool) else item for item in value)
        if not all(isinstance(item, str) for item in value):
            raise ValueError(f"{path}.{name} is {value!r}; it must be a tuple of words.")
    return value


@functools.cache
def of_items(kind: type, name: str) -> frozenset[type]:
    """The types that the items of a tuple admit."""
    hint = _hints(kind)[name]
    (of_items,) = (h for h in (typing.get_args(hint) if _is_union(hint) else (hint,)) if typing.get_origin(h) is tuple)
    return _types(typing.get_args(of_items)[0])


def _as_float(number: Any) -> Any:
    """The number, left as it is where it is too large, for the message that will name it."""
    return float(number) if abs(number) <= _LARGEST else number


def _check_held(kind: type, name: str, number: float, path: str) -> None:
    """Raises ValueError for NaN, inf where the field does not say so, and what 32 bits cannot hold, in which leaves
    travel and sizes are counted."""
    refused = None
    if number != number and _is_unbounded(kind, name):
        refused = "a number, or inf"
    elif number != number or (abs(number) == math.inf and not _is_unbounded(kind, name)):
        refused = "finite"
    elif float in _narrowed(kind, name) and _LARGEST < abs(number) != math.inf:
        refused = f"at most {_LARGEST:.2g} in size, the most that single precision holds"
    elif isinstance(number, int) and {float, int, bool} <= declared(kind)[name] and not -(2**31) <= number < 2**32:
        refused = "from -2^31 to 2^32 - 1"
    elif isinstance(number, int) and float not in declared(kind)[name] and abs(number) >= 2**31:
        refused = "below 2^31 in size, to which jax counts"
    if refused:
        raise ValueError(f"{path}.{name} is {reprlib.repr(number)}; it must be {refused}.")


def _is_unbounded(kind: type, name: str) -> bool:
    """Whether inf is a value: where it is the default, or the field says so."""
    (field,) = (field for field in dataclasses.fields(kind) if field.name == name)
    return field.default == math.inf or field.metadata.get("unbounded", False)


@functools.cache
def _narrowed(kind: type, name: str) -> frozenset[type]:
    """The admitted types; where any number is (a leaf), the type of the default decides which."""
    admitted = declared(kind)[name]
    if {float, int, bool} <= admitted:
        default = next(field.default for field in dataclasses.fields(kind) if field.name == name)
        number = type(default) if type(default) in (bool, int) else float
        if default is None:  # a number that is not there by default keeps the type that it is given
            return admitted - {bool}
        return (admitted - {float, int, bool}) | {number}
    return admitted


def _types(hint: Any) -> frozenset[type]:
    """The types in a hint; arrays and the unknowable are left out."""
    if _is_union(hint):
        return frozenset().union(*map(_types, typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Literal:
        return frozenset(map(type, typing.get_args(hint)))
    kind = typing.get_origin(hint) or hint
    return frozenset({kind} if isinstance(kind, type) and kind not in (jax.Array, object, Any) else ())


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _replace(setting: _S, changes: Mapping[str, Any]) -> _S:
    return dataclasses.replace(typing.cast(Any, setting), **changes)
