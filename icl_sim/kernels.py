"""Covariances of Gaussian processes, by the names that configs use: what samples f ~ GP(0, k) and the Bayes predictor
that knows k compute the same matrix here."""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.types import Array, Leaf, setting


@setting
class SquaredExponential:
    """k(x, z) = variance exp(-|x - z|^2 / (2 length_scale^2))."""

    length_scale: Leaf = 1.0
    variance: Leaf = 1.0

    def __call__(self, x_NX: Array, z_MX: Array) -> Array:
        """`[..., N, X]` and `[..., M, X]` to `[..., N, M]`."""
        return self.variance * jnp.exp(-_squared_distances(x_NX, z_MX) / (2 * jnp.square(self.length_scale)))

    def check(self) -> None:
        _require_positive(self, "length_scale", "variance")


@setting
class Periodic:
    """k(x, z) = variance exp(-2 sum_c sin^2(pi (x_c - z_c) / period) / length_scale^2)  (MacKay 1998)."""

    period: Leaf = 1.0
    length_scale: Leaf = 1.0
    variance: Leaf = 1.0

    def __call__(self, x_NX: Array, z_MX: Array) -> Array:
        """`[..., N, X]` and `[..., M, X]` to `[..., N, M]`."""
        sine_NMX = jnp.sin(jnp.pi * (x_NX[..., :, None, :] - z_MX[..., None, :, :]) / self.period)
        squares_NM = jnp.sum(jnp.square(sine_NMX), axis=-1)
        return self.variance * jnp.exp(-2 * squares_NM / jnp.square(self.length_scale))

    def check(self) -> None:
        _require_positive(self, "period", "length_scale", "variance")


@setting
class LinearKernel:
    """k(x, z) = variance x.z, the law of f(x) = w.x with w ~ N(0, variance I)."""

    variance: Leaf = 1.0

    def __call__(self, x_NX: Array, z_MX: Array) -> Array:
        """`[..., N, X]` and `[..., M, X]` to `[..., N, M]`."""
        return self.variance * jnp.einsum("...NX,...MX->...NM", x_NX, z_MX)

    def check(self) -> None:
        _require_positive(self, "variance")


Kernel = SquaredExponential | Periodic | LinearKernel

KERNELS: dict[str, type[Kernel]] = {
    "squared_exponential": SquaredExponential,
    "periodic": Periodic,
    "linear": LinearKernel,
}


def _squared_distances(x_NX: Array, z_MX: Array) -> Array:
    # From differences: |x|^2 - 2 x.z + |z|^2 would lose a near point's distance to rounding, or make it negative.
    return jnp.sum(jnp.square(x_NX[..., :, None, :] - z_MX[..., None, :, :]), axis=-1)


def _require_positive(kernel: Kernel, *fields: str) -> None:
    for field in fields:
        if not (value := getattr(kernel, field)) > 0:
            raise ValueError(f"The {field} of {type(kernel).__name__} is {value}; it must be positive.")
