"""Laws of inputs: every coordinate is drawn independently."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from icl_sim import draws
from icl_sim.types import Array, Key, Leaf, setting


class Law:
    """Draws inputs. One of your own needs `draw`. Subclasses are decorated with `setting`."""

    def draw(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Coordinates of this shape."""
        raise NotImplementedError(f"{type(self).__name__} must define draw(key, shape).")

    def check(self, path: str) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed; `path` is what it calls itself."""


@setting
class Normal(Law):
    """x = shift + scale * N(0, I)."""

    scale: Leaf = 1.0
    shift: Leaf = 0.0

    def draw(self, key: Key, shape: tuple[int, ...]) -> Array:
        return self.shift + self.scale * draws.normal(key, shape)

    def check(self, path: str) -> None:
        check_at_least(0, f"{path}.scale", self.scale)
        check_finite(f"{path}.shift", self.shift)


@setting
class Uniform(Law):
    """x uniform on [shift - half_width, shift + half_width] in every coordinate: variance half_width^2 / 3.

    The code of von Oswald et al. 2023 draws from half-width 0.5 (variance 1/12), where the paper writes U(-1, 1).
    """

    half_width: Leaf = 0.5
    shift: Leaf = 0.0

    def draw(self, key: Key, shape: tuple[int, ...]) -> Array:
        return self.shift + self.half_width * draws.uniform(key, shape, -1.0)

    def check(self, path: str) -> None:
        check_at_least(0, f"{path}.half_width", self.half_width)
        check_finite(f"{path}.shift", self.shift)


@setting
class MixedLaw(Law):
    """Every coordinate of every input from `a` with probability `share`, else from `b`; either may be mixed itself.

    The laws of Akyurek et al. 2023 that their code writes with a comma.
    """

    a: Law = Normal()
    b: Law = Uniform(half_width=1.0)
    share: Leaf = 0.5

    def draw(self, key: Key, shape: tuple[int, ...]) -> Array:
        key_a, key_b, key_choice = jax.random.split(key, 3)
        from_a = draws.uniform(key_choice, shape) < self.share
        return jnp.where(from_a, self.a.draw(key_a, shape), self.b.draw(key_b, shape))

    def check(self, path: str) -> None:
        check_share(f"{path}.share", self.share)
        self.a.check(f"{path}.a")
        self.b.check(f"{path}.b")


def check_share(what: str, value: Leaf) -> None:
    """Raises ValueError unless the value is a probability."""
    if not 0 <= value <= 1:
        raise ValueError(f"{what} is {value}; a probability must be between 0 and 1.")


def check_at_least(least: float, what: str, value: Leaf) -> None:
    """Raises ValueError unless the value is at least `least` and finite."""
    if not least <= value < math.inf:
        raise ValueError(f"{what} is {value}; it must be at least {least:g} and finite.")


def check_finite(what: str, value: Leaf) -> None:
    """Raises ValueError unless the value is a finite number."""
    if not -math.inf < value < math.inf:
        raise ValueError(f"{what} is {value}; it must be finite.")


LAWS = {"normal": Normal, "uniform": Uniform, "mixed": MixedLaw}
