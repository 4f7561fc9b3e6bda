"""Fields of settings by dotted name, with the types that the settings declare."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import jax

from icl_sim.names import suggestion

_S = TypeVar("_S")
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
    hints = typing.get_type_hints(kind)
    admitted = {field.name: _types(hints[field.name]) for field in dataclasses.fields(kind) if field.init}
    return {name: kinds for name, kinds in admitted.items() if kinds - {type(None)}}


def normalized(setting: _S, path: str) -> _S:
    """The setting with every value as its declared type; wrong types are errors that name `path`.

    A study can so mix 1 and 0.5 on one axis: equal dtypes are what lets members share a program.
    """
    changes = {}
    for name in declared(type(setting)):
        old = getattr(setting, name)
        new = coerced(setting, name, old, path)
        changes[name] = normalized(new, f"{path}.{name}") if dataclasses.is_dataclass(new) else new
    return _replace(setting, changes)


def replaced(setting: _S, name: str, value: Any, path: str) -> _S:
    """The setting with the field at a dotted name changed. `path` is what errors call the setting."""
    head, _, rest = name.partition(".")
    if head not in declared(type(setting)):
        raise ValueError(f"{path} has no field {head!r}; {suggestion(head, declared(type(setting)))}")
    if rest:
        inner = getattr(setting, head)
        if not dataclasses.is_dataclass(inner):
            raise ValueError(f"{path}.{head} is {inner!r} and has no fields, so {path}.{name} does not exist.")
        value = replaced(inner, rest, value, f"{path}.{head}")
    return _replace(setting, {head: coerced(setting, head, value, path)})


def read(setting: Any, name: str) -> Any:
    """The value at a dotted name."""
    return functools.reduce(getattr, name.split("."), setting)


def coerced(setting: Any, name: str, value: Any, path: str) -> Any:
    """The value as the type that the field declares."""
    admitted = _narrowed(type(setting), name)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, tuple) and tuple in admitted:
        return _items_coerced(setting, name, value, path)
    if type(value) in admitted or (dataclasses.is_dataclass(value) and isinstance(value, tuple(admitted))):
        return value
    if value is None and str in admitted:  # the command line reads the word none so
        return "none"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and float in admitted:
        if abs(value) > sys.float_info.max and value not in (math.inf, -math.inf):
            raise ValueError(f"{path}.{name} is a number of {len(str(value))} digits, more than a float can hold.")
        return float(value)
    if number and int in admitted and value == value // 1:  # 1e4 steps
        return int(value)
    if number and bool in admitted and value in (0, 1):
        return bool(value)
    words = " or ".join(sorted(_WORDS[kind] if kind in _WORDS else kind.__name__ for kind in admitted))
    raise ValueError(f"{path}.{name} is {value!r}; it must be {words}.")


def _items_coerced(setting: Any, name: str, value: tuple, path: str) -> tuple:
    """A tuple whose items are of the type that the field declares for them."""
    hint = typing.get_type_hints(type(setting))[name]
    (item, *_) = (*typing.get_args(hint), Any)
    if item is int:
        if all(isinstance(i, int | float) and not isinstance(i, bool) and i == i // 1 for i in value):
            return tuple(map(int, value))
        raise ValueError(f"{path}.{name} is {value!r}; it must be a tuple of whole numbers.")
    return value


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
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return frozenset().union(*map(_types, typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Literal:
        return frozenset(map(type, typing.get_args(hint)))
    kind = typing.get_origin(hint) or hint
    return frozenset({kind} if isinstance(kind, type) and kind not in (jax.Array, object, Any) else ())


def _replace(setting: _S, changes: Mapping[str, Any]) -> _S:
    return dataclasses.replace(typing.cast(Any, setting), **changes)
