"""Initial parameters of a network, drawn all at once: jax compiles a dozen loops for the numbers of every single array.

They are those that a module draws itself when it is built with `nnx.Rngs(key)`, to rounding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from icl_sim.types import Array, Key

_LARGE = 2**16  # numbers of an array that is drawn alone, lest all others be drawn as long
_TRUNCATED_STD = 0.87962566103423978  # of standard normal numbers within 2


class Draw(NamedTuple):
    """An array of numbers `law(key, shape, dtype)`."""

    law: Callable[..., Array]
    shape: tuple[int, ...]
    dtype: Any


class Keys:
    """Stands in for `nnx.Rngs(key)` where a module is built: counts its keys, and has what is drawn with them.

    Attributes:
      wanted: what the module drew with each key, once it is built; None if nothing.
    """

    def __init__(self, drawn: Sequence[Array | None] | None = None):
        """Of keys whose draws are at hand, as `together` made them; or of none, to build a module of zeros."""
        self._drawn = drawn
        self.wanted: list[Draw | None] = []

    def params(self) -> Callable[[Draw], Array]:
        """The next key: what makes an array of a draw."""
        number = len(self.wanted)
        self.wanted.append(None)

        def draw(wanted: Draw) -> Array:
            self.wanted[number] = wanted
            found = None if self._drawn is None else self._drawn[number]
            return jnp.zeros(wanted.shape, wanted.dtype) if found is None else found

        return draw


def together(key: Key, wanted: Sequence[Draw | None]) -> list[Array | None]:
    """The arrays that are wanted of the keys `fold_in(key, 0), fold_in(key, 1), ...`.

    Those of a law are rows of the longest of them: a number depends on nothing but its key and its place in its array.
    """
    found: list[Array | None] = [None] * len(wanted)
    rows: dict[Any, list[int]] = {}
    for number, draw in enumerate(wanted):
        if draw is not None:
            large = math.prod(draw.shape) > _LARGE
            rows.setdefault((draw.law, draw.dtype, number if large else None), []).append(number)
    for (law, dtype, _), numbers in rows.items():
        sizes = [math.prod(wanted[number].shape) for number in numbers]  # type: ignore[union-attr]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(numbers, jnp.uint32))
        drawn = jax.vmap(functools.partial(law, shape=(max(sizes),), dtype=dtype))(keys)
        for row, size, number in zip(drawn, sizes, numbers, strict=True):
            found[number] = jnp.reshape(row[:size], wanted[number].shape)  # type: ignore[union-attr]
    return found


def normal(key: Any, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """Standard normal numbers of a key, or of one of `Keys`."""
    return _of(key, jax.random.normal, shape, dtype)


def scaled_truncated_normal(std: float) -> Callable[..., Array]:
    """flax's initialiser `truncated_normal`: `std` times standard normal numbers within 2."""
    return lambda key, shape, dtype=None: _of(key, _within_2, shape, dtype) * jnp.asarray(std, dtype)


def scaled_normal(std: float) -> Callable[..., Array]:
    """flax's initialiser `normal`: `std` times standard normal numbers."""
    return lambda key, shape, dtype=None: normal(key, shape, dtype) * jnp.asarray(std, dtype)


def lecun_normal(key: Any, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """flax's initialiser of kernels: truncated normal of variance 1 / fan-in, which is all axes but the last."""
    variance = jnp.asarray(1 / math.prod(shape[:-1]), dtype)
    return _of(key, _within_2, shape, dtype) * (jnp.sqrt(variance) / jnp.asarray(_TRUNCATED_STD, dtype))


linear = functools.partial(nnx.Linear, kernel_init=lecun_normal)


def _within_2(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    return jax.random.truncated_normal(key, -2, 2, shape, dtype)


def _of(key: Any, law: Callable[..., Array], shape: tuple[int, ...], dtype: Any) -> Array:
    draw = Draw(law, tuple(shape), dtype or float)
    return key(draw) if callable(key) else law(key, *draw[1:])
