"""Image encoders: what turns an input of any shape into a vector, trained with the predictor that uses it."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from icl_sim.predictors.networks.seam import Functional, functional
from icl_sim.types import Array, Key, Params, setting, static

STEMS = ("paper", "small")


class Encoder:
    """Turns each input into a vector. One of your own needs `features`, `init` and `apply`.

    Subclasses are decorated with `setting` and are a field of the predictor that trains them.
    """

    features: int

    def init(self, key: Key, shape: tuple[int, ...]) -> Params:
        """Parameters for inputs of this shape."""
        raise NotImplementedError(f"{type(self).__name__} must define init(key, shape) -> params.")

    def apply(self, params: Params, x_BSX: Array) -> Array:
        """Encodes inputs `[B, S, ...]` as vectors `[B, S, features]`."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(params, inputs) -> vectors.")

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""
