"""The Bayes predictor of Gaussian processes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from icl_sim.decompositions import each
from icl_sim.kernels import Kernel, SquaredExponential
from icl_sim.predictors.learners.prefixes import contract, latents, prefixes
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting


@setting
class GaussianProcessPosterior(Predictor):
    """E[f(x) | X, y] = k_*^T (K + sigma^2 I)^{-1} y for f ~ GP(0, k) and noise N(0, sigma^2)  (Rasmussen and Williams
    2006, eq. 2.25). With the linear kernel tau^2 x.z it is Ridge((sigma / tau)^2).

    One Cholesky factor of all slots, K + sigma^2 I = C C^T, holds every answer: its leading blocks factor the prefixes,
    and row s left of the diagonal is k_*^T of slot s behind them, so that slot s is answered by
    sum_{j<s} C_sj z_j with C z = y.

    Attributes:
      kernel: k, the covariance of f.
      noise: sigma, at least 0; None takes the latent "noise". So that the factor exists in the precision at hand,
        sigma^2 counts at least 20 S eps k(x, x), some 1e-4 k(x, x) for 40 pairs in single precision.
    """

    kernel: Kernel = SquaredExponential()
    noise: Leaf | None = None

    def check(self) -> None:
        self.kernel.check()
        if self.noise is not None and not 0 <= self.noise < math.inf:
            raise ValueError(f"The noise is {self.noise}; it must be a number of at least 0, or None.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params, record
        asked = prefixes(batch)
        noise = self.noise
        if noise is None:
            [noise] = latents(batch, ("noise",), "GaussianProcessPosterior", "noise")
        k_BST = self.kernel(batch.inputs, batch.inputs)
        slots, rounding = k_BST.shape[1], jnp.finfo(k_BST.dtype)
        own_BS = jnp.diagonal(k_BST, axis1=1, axis2=2)
        least_BS = jnp.maximum(20 * slots * rounding.eps * own_BS, rounding.tiny)
        noise_BS = jnp.maximum(jnp.square(noise), least_BS)
        # The query's own target is not to be read, and nothing left of its diagonal needs it.
        y_BS1 = batch.targets.astype(k_BST.dtype).at[:, -1].set(0.0)[..., None]
        k_BST = k_BST + noise_BS[:, :, None] * jnp.eye(slots, dtype=k_BST.dtype)[None]
        c_BST, z_BS = each(_solved, k_BST, y_BS1, axes=1)
        values_BS = contract("BST,BT->BS", jnp.tril(c_BST, -1), z_BS)
        return Outputs(values=values_BS[:, -len(asked.count_P) :])


def _solved(k_ST: Array, y_S1: Array) -> tuple[Array, Array]:
    """The Cholesky factor C of a matrix, and C^-1 y."""
    c_ST = jnp.linalg.cholesky(k_ST)
    return c_ST, jax.lax.linalg.triangular_solve(c_ST, y_S1, left_side=True, lower=True)[:, 0]
