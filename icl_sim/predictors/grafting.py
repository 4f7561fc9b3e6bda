"""Layers of one network in another: parameters put together from two (Singh et al. 2024 and 2025).

Names are paths in a network's parameters, as "blocks/1" or "head". Layers are counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np

from icl_sim import names
from icl_sim.types import Params

_LAYERS = ("blocks", "attention")  # keys under which networks keep their layers, each with its number in its name
_AFTER = ("norm", "head", "classifier")  # of what reads the last layer; all else makes tokens


def graft(into: Params, source: Params, paths: Collection[str]) -> Params:
    """The parameters `into`, with what is at these paths, and all below, from `source`.

    Raises:
      ValueError: for a path that one of the two does not have, or parameters of other shapes.
    """
    for path in paths:
        into = _with(into, source, path.split("/"), "")
    return into


def up_to(params: Params, layer: int) -> tuple[str, ...]:
    """The paths of what makes tokens and of the layers 0 to `layer`.

    Raises:
      ValueError: if there are no layers, not so many, or all in one array.
    """
    return _where(params, layer, lambda number: number <= layer)


def from_layer(params: Params, layer: int) -> tuple[str, ...]:
    """The paths of the layers from `layer` on and of what reads the last; the rest of `up_to(params, layer - 1)`.

    Raises:
      ValueError: if there are no layers, not so many, or all in one array.
    """
    return _where(params, layer, lambda number: number >= layer)


def _with(into: Any, source: Any, path: list[str], above: str) -> Any:
    if not path:
        _require_alike(into, source, above)
        return source
    key, *below = path
    for what, params in (("The network grafted into", into), ("The source of the graft", source)):
        known = [f"{above}{k}" for k in params] if isinstance(params, Mapping) else []
        names.require(f"{what} has paths; one", f"{above}{key}", known)
    return {**into, key: _with(into[key], source[key], below, f"{above}{key}" + "/" * bool(below))}


def _require_alike(into: Params, source: Params, path: str) -> None:
    ours, theirs = (
        {jax.tree_util.keystr(p, simple=True, separator="/"): np.shape(leaf) for p, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (into, source))
    )
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name), theirs.get(name)
        if one != other:
            where = "/".join(filter(None, (path, name)))
            told = ["missing" if shape is None else f"of shape {list(shape)}" for shape in (one, other)]
            raise ValueError(
                f"{where} cannot be grafted: it is {told[0]} in the network grafted into and {told[1]} in the source."
            )


def _where(params: Params, layer: int, is_meant: Callable[[int], bool]) -> tuple[str, ...]:
    held = next((key for key in _LAYERS if isinstance(params.get(key), Mapping)), None)
    numbers = {} if held is None else {key: re.search(r"\d+$", key) for key in params[held]}
    numbers = {key: int(found.group()) for key, found in numbers.items() if found}
    count = 1 + max(numbers.values(), default=-1)
    if not count:
        raise ValueError(
            f"The network has no layers by number; its parameters are {', '.join(params)}. Layers that run as one loop "
            "(scan) are one array."
        )
    if not 0 <= layer < count:
        raise ValueError(f"layer is {layer}; the network has {count} layers, counted from 0.")
    paths = []
    for key in params:
        if key == held:
            paths += [f"{key}/{name}" for name, number in numbers.items() if is_meant(number)]
        elif is_meant(count if key in _AFTER else -1):
            paths.append(key)
    return tuple(paths)
