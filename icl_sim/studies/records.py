"""Small frozen records (claims, figure specifications) to plain JSON and back."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any


def encode(value: Any) -> Any:
    """A record as plain JSON: each dataclass becomes a dict with its class name under "kind"; inf becomes "inf"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(name): encode(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def decode(value: Any, kinds: Mapping[str, type]) -> Any:
    """Undoes `encode`; sequences come back as tuples. Raises ValueError for an unknown kind or field."""
    if isinstance(value, list | tuple):
        return tuple(decode(item, kinds) for item in value)
    if value in ("inf", "-inf"):
        return float(value)
    if not isinstance(value, Mapping):
        return value
    fields = {name: decode(item, kinds) for name, item in value.items() if name != "kind"}
    if "kind" not in value:
        return fields
    if not isinstance(value["kind"], str) or value["kind"] not in kinds:
        raise ValueError(f'Unknown kind of record "{value["kind"]}": allowed are {", ".join(sorted(kinds))}.')
    try:
        record = kinds[value["kind"]](**fields)
    except TypeError as error:
        raise ValueError(f'A record of kind "{value["kind"]}" cannot be read: {error}.') from error
    check(record)
    return record


def check(record: Any) -> None:
    """Raises ValueError if a field of a record, or of one that it holds, is not of its declared type."""
    for name, hint in _hints(type(record)).items():
        value = getattr(record, name)
        if not _fits(value, hint):
            wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("icl_sim.studies.", "")
            raise ValueError(f"A {type(record).__name__} has {name} = {value!r}; it must be {wanted}.")
        for part in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(part):
                check(part)


_hints = functools.cache(typing.get_type_hints)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a field declares; a whole number is a number."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if origin is not None:
        return isinstance(value, origin)
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)
