"""Learners that know the covariance of the inputs and average y x, rather than solve for w."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from icl_sim.decompositions import each
from icl_sim.predictors.learners.prefixes import contract, law_of_w, prefixes
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting


@setting
class Averaging(Predictor):
    """w = Sigma^{-1} X^T y / k, least squares that knows the covariance of inputs (Garg et al. 2022, section 3).

    Attributes:
      covariance: Sigma: a number that multiplies I, its diagonal `[d]`, or, outside of a study, all of it `[d, d]`.
    """

    covariance: Leaf | tuple[Leaf, ...] = 1.0

    def check(self) -> None:
        check_covariance("averaging", self.covariance)

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        asked = prefixes(batch)
        mean_BPX = asked.moment_BPX() * asked.mean_P[None, :, None]
        inverse_XZ = jnp.linalg.inv(as_matrix(self.covariance, mean_BPX))
        return asked.answer(contract("BPX,XZ->BPZ", mean_BPX, inverse_XZ), record)


@setting
class Preconditioned(Predictor):
    """w = B X^T y / k with the best matrix B for w ~ N(0, I), one preconditioned step: the best linear self-attention.

    B is the inverse of (1 + (kurtosis - 2) / k) Lam + (tr Lam + sigma^2) I / k for inputs of covariance Lam and noise
    N(0, sigma^2): E[A] = Lam times the inverse of E[A^2] + sigma^2 Lam / k, where A = X^T X / k (Ahn et al. 2023,
    Theorem 1; Zhang et al. 2023). For Lam = s I it is one step of `GradientDescent` at its best rate.

    Attributes:
      covariance: Lam: a number that multiplies I, its diagonal `[d]`, or, outside of a study, all of it `[d, d]`.
      noise: sigma, where tau = 1 and w has mean 0; None is the best step from "w_mean" for what that latent, "noise"
        (sigma) and "w_scale" (tau) say of w, which is known where tau is 0.
      kurtosis: E[x^4] / E[x^2]^2 of a coordinate: 3 for normal, 9/5 for uniform inputs. Other than 3 it is right for
        independent coordinates, a diagonal Lam.
    """

    covariance: Leaf | tuple[Leaf, ...] = 1.0
    noise: Leaf | None = None
    kurtosis: Leaf = 3.0

    def check(self) -> None:
        check_covariance("the preconditioned step", self.covariance)
        if self.noise is not None and not self.noise >= 0:
            raise ValueError(f"The noise of the preconditioned step is {self.noise}; it must be at least 0.")
        if not self.kurtosis >= 1:
            raise ValueError(f"The kurtosis of the preconditioned step is {self.kurtosis}; none is below 1.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        noise, mean = (self.noise, 0.0) if self.noise is not None else law_of_w(batch, "Preconditioned", "noise")
        asked = prefixes(batch).around(mean)
        moment_BPX = asked.moment_BPX()
        lam_XZ = as_matrix(self.covariance, moment_BPX)
        # k Gam, which is not singular at k = 0 either: traces add up to more than Lam. In units of its last term, which
        # may be inf.
        pairs_P = jnp.maximum(asked.count_P + self.kurtosis - 2, 0)[:, None, None]
        rest = jnp.trace(lam_XZ) + jnp.square(noise)
        gam_PXZ = pairs_P * (lam_XZ / rest)[None] + jnp.eye(len(lam_XZ))[None]
        inverse_PXZ = each(jnp.linalg.inv, gam_PXZ.astype(moment_BPX.dtype), axes=1) / rest
        w_BPX = contract("BPX,PXZ->BPZ", moment_BPX, inverse_PXZ)
        return asked.answer(mean + w_BPX, record)


def as_matrix(covariance: Leaf | tuple[Leaf, ...], like_BPX: Array) -> Array:
    """A covariance given as a number, a diagonal or a matrix, as a matrix `[X, X]`."""
    given, d = jnp.asarray(covariance, like_BPX.dtype), like_BPX.shape[-1]
    if given.shape not in ((), (d,), (d, d)):
        raise ValueError(f"The covariance has shape {given.shape} for inputs of {d}; allowed: (), ({d},), ({d}, {d}).")
    return given if given.ndim == 2 else jnp.diag(jnp.broadcast_to(given, (d,)))


def check_covariance(whose: str, covariance: Any) -> None:
    given = np.asarray(covariance, np.float64)
    least = np.min(np.linalg.eigvalsh((given + given.T) / 2) if given.ndim == 2 else given)
    if not (least > 0 and np.all(np.isfinite(given))) or (given.ndim == 2 and not np.allclose(given, given.T)):
        raise ValueError(f"The covariance of {whose} is {covariance}; it must be positive, or positive definite.")
