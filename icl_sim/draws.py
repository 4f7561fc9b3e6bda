"""Random numbers of `jax.random`, an order of magnitude faster on a CPU.

Bits and uniform numbers are the same bit for bit, normal ones to rounding. jax compiles threefry for CPUs as loops over
arrays, to keep compilation short, and the inverse error function with a log1p that is not vectorised. As one expression
each becomes one vectorised pass (measured on one core: 18 ns per uniform number become 1.5, and 31 more per normal one
become 3). What samplers draw by the thousand in every step is drawn here. Each is a `jit` of its own, so that a study,
which draws in many places, is traced in a fraction of the time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.types import Array, Key, Leaf

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_ABOVE_MINUS_ONE = float(np.nextafter(np.float32(-1.0), np.float32(0.0)))
# erfinv(u) / u as polynomials in -log(1 - u^2) - 2.5, and in sqrt(-log(1 - u^2)) - 3 for |u| > .9966.
_CENTRAL = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_TAILS = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)

_traced_once = functools.partial(jax.jit, static_argnames="shape")


@_traced_once
def uniform(key: Key, shape: tuple[int, ...], low: Leaf = 0.0, high: Leaf = 1.0) -> Array:
    """`jax.random.uniform(key, shape, minval=low, maxval=high)`: float32 in [low, high)."""
    if not _is_known(key):
        return jax.random.uniform(key, shape, minval=low, maxval=high)
    return jnp.reshape(_uniform(key, math.prod(shape), low, high), shape)


@_traced_once
def normal(key: Key, shape: tuple[int, ...]) -> Array:
    """`jax.random.normal(key, shape)` to 6e-6: float32, by the inverse of its distribution, sqrt(2) erfinv(u).

    erfinv is the single-precision approximation of Giles 2010, as in XLA, but for (1 - u)(1 + u) in place of 1 - u^2,
    which loses nothing where |u| is near 1: errors are at most 3e-7 of a number, and 6e-6 there.
    """
    if not _is_known(key):
        return jax.random.normal(key, shape)
    u = _uniform(key, math.prod(shape), _ABOVE_MINUS_ONE, 1.0)
    w = -jnp.log((1 - u) * (1 + u))
    central = w < 5
    z = jnp.where(central, w - 2.5, jnp.sqrt(w) - 3)
    polynomial = jnp.zeros_like(u)
    for near, far in zip(_CENTRAL, _TAILS, strict=True):
        polynomial = polynomial * z + jnp.where(central, near, far)
    return jnp.reshape(math.sqrt(2) * polynomial * u, shape)


def noise(key: Key, shape: tuple[int, ...], scale: Leaf) -> Array:
    """`scale * normal(key, shape)`, for which nothing is drawn where the scale is 0."""
    again = rebuilt(key)

    def drawn(_: None) -> Array:
        # In a row: a loop over a last axis that is no multiple of a vector's length takes up to twice as long.
        return scale * normal(again(), (math.prod(shape),))

    none = jnp.zeros(math.prod(shape))
    return jnp.reshape(jax.lax.cond(jnp.asarray(scale) > 0, drawn, lambda _: none, None), shape)


def rebuilt(key: Key) -> Callable[[], Key]:
    """What makes the key, of any shape, again from its numbers, inside a branch of `cond`.

    Where members are mapped, `cond` becomes a choice between branches that are both taken, and a key that goes into it
    counts as used twice.
    """
    numbers, kind = jax.random.key_data(key), jax.random.key_impl(key)
    return lambda: jax.random.wrap_key_data(numbers, impl=kind)


@_traced_once
def laplace(key: Key, shape: tuple[int, ...]) -> Array:
    """`jax.random.laplace(key, shape)`: float32, of scale 1, by the inverse of its distribution."""
    if not _is_known(key):
        return jax.random.laplace(key, shape)
    u = _uniform(key, math.prod(shape), _ABOVE_MINUS_ONE, 1.0)
    return jnp.reshape(jnp.sign(u) * jnp.log1p(-jnp.abs(u)), shape)


@_traced_once
def bits(key: Key, shape: tuple[int, ...]) -> Array:
    """`jax.random.bits(key, shape)` of a threefry key, uint32: Threefry-2x32 with 20 rounds (Salmon et al. 2011).

    The counter of an element is its number in the array; its two words are xor-ed.
    """
    first, second = jnp.moveaxis(jax.random.key_data(key), -1, 0)
    schedule = (first, second, first ^ second ^ jnp.uint32(_PARITY))
    x = schedule[0] + jnp.zeros(math.prod(shape), jnp.uint32)
    y = schedule[1] + jax.lax.iota(jnp.uint32, math.prod(shape))
    for number in range(5):
        for distance in _ROTATIONS[number % 2]:
            x += y
            y = x ^ ((y << distance) | (y >> (32 - distance)))
        x += schedule[(number + 1) % 3]
        y += schedule[(number + 2) % 3] + jnp.uint32(number + 1)
    return jnp.reshape(x ^ y, shape)


def _uniform(key: Key, size: int, low: Leaf, high: Leaf) -> Array:
    """In a row: a loop over the last axis of an array would be of vectors only as far as its length is a multiple."""
    low, high = jnp.float32(low), jnp.float32(high)
    # The bits as the mantissa of a number in [1, 2).
    one_to_two = jax.lax.bitcast_convert_type((bits(key, (size,)) >> 9) | jnp.uint32(0x3F800000), jnp.float32)
    return jnp.maximum(low, (one_to_two - 1.0) * (high - low) + low)


def number_below(u: Array, count: Leaf | Array) -> Array:
    """Numbers of 0..count-1, int32, all equally likely, from uniform ones in [0, 1), any shape."""
    return jnp.clip(jnp.floor(u * count).astype(jnp.int32), 0, count - 1)


def permutation(u_L: Array) -> Array:
    """A permutation of 0..L-1, all equally likely: how many uniforms are below each, ties (one in 2^23) by number."""
    number_L = jnp.arange(len(u_L))
    tied_LL = (u_L[None, :] == u_L[:, None]) & (number_L[None, :] < number_L[:, None])
    return jnp.sum((u_L[None, :] < u_L[:, None]) | tied_LL, axis=1)


def _is_known(key: Key) -> bool:
    """Whether `bits` has the numbers of `jax.random` for this key, and they become float32."""
    config: Any = jax.config
    standard = config.jax_threefry_partitionable and not config.jax_enable_x64
    return standard and str(jax.random.key_impl(key)) == "threefry2x32" and key.ndim == 0
