"""What linear learners can be expected to err by on linear regression, in closed form.

Targets are y = w.x + sigma e with w ~ N(0, I) of dimension d and e ~ N(0, 1); inputs x ~ N(0, I) unless said. A learner
sees k pairs and is asked about an input of the same law. A *risk* here is E (prediction - w.x)^2, without the noise of
the asked target, by d: answering 0 has the risk 1. (For w ~ N(0, tau^2 I) give sigma / tau, and multiply by tau^2.)

Every function is of float64 and broadcasts over all of its arguments but covariance matrices. Where risks come from:
least squares, Breiman and Freedman 1983; one step of gradient descent, von Oswald et al. 2023, appendix A.10, and
Akyurek et al. 2023; its best matrix, Ahn et al. 2023 and Zhang et al. 2023.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from icl_sim import names
from icl_sim.theory.arguments import Result, checked, result, whole

CONVENTIONS = ("mean", "sum")


def least_squares(seen: ArrayLike, dim: ArrayLike, *, noise: ArrayLike = 0.0) -> Result:
    """Risk of the least squares fit of minimal norm, w = X^+ y: max(0, 1 - k/d) without noise.

    With noise, (1 - k/d) + (sigma^2 / d) k / (d - k - 1) for k < d - 1 and sigma^2 / (k - d - 1) for k > d + 1. It is
    infinite at k = d - 1, d and d + 1 (but 0): there singular values of X are too often near 0 for the error to have a
    mean, though every sample of it is finite.

    Args:
      seen: k.
      dim: d.
      noise: sigma.
    """
    k, d, sigma = _seen(seen), _dim(dim), _noise(noise)
    k, d, sigma = np.broadcast_arrays(k, d, sigma)
    gap = np.abs(d - k) - 1
    spread = np.where(k < d, k / d, 1.0) / np.where(gap > 0, gap, 1.0)
    noisy = np.where(sigma > 0, np.where(gap > 0, np.square(sigma) * spread, np.where(k > 0, np.inf, 0.0)), 0.0)
    return result(np.maximum(0.0, 1 - k / d) + noisy)


def averaging(seen: ArrayLike, dim: ArrayLike, *, noise: ArrayLike = 0.0) -> Result:
    """(d + 1 + sigma^2) / k: risk of w = X^T y / k, and 1 at k = 0 where it answers 0."""
    k, d, sigma = _seen(seen), _dim(dim), _noise(noise)
    return result(np.where(k > 0, (d + 1 + np.square(sigma)) / np.maximum(k, 1), 1.0))


def one_step(
    seen: ArrayLike, dim: ArrayLike, rate: ArrayLike, *, noise: ArrayLike = 0.0, convention: str = "mean"
) -> Result:
    """1 - 2 c k + c^2 k (k + d + 1 + sigma^2): risk of one step of gradient descent from 0, w = c X^T y.

    Args:
      seen: k.
      dim: d.
      rate: of the step.
      noise: sigma.
      convention: "mean" for c = rate / k, and 0 at k = 0 (von Oswald et al.); "sum" for c = 2 rate (Akyurek et al.).
    """
    k, d, sigma = _seen(seen), _dim(dim), _noise(noise)
    c = checked("rate", rate, np.isfinite, "finite numbers") / _per_rate(k, convention)
    return result(1 - 2 * c * k + np.square(c) * k * (k + d + 1 + np.square(sigma)))


def best_rate(seen: ArrayLike, dim: ArrayLike, *, noise: ArrayLike = 0.0, convention: str = "mean") -> Result:
    """The rate of least `one_step` risk: c = 1 / (k + d + 1 + sigma^2), which is k c with "mean", c / 2 with "sum"."""
    k, d, sigma = _seen(seen), _dim(dim), _noise(noise)
    return result(_per_rate(k, convention) / (k + d + 1 + np.square(sigma)))


def best_one_step(seen: ArrayLike, dim: ArrayLike, *, noise: ArrayLike = 0.0) -> Result:
    """(d + 1 + sigma^2) / (k + d + 1 + sigma^2): the risk of one step at its `best_rate`."""
    k, d, sigma = _seen(seen), _dim(dim), _noise(noise)
    rest = d + 1 + np.square(sigma)
    return result(rest / (k + rest))


def one_step_uniform(
    seen: ArrayLike, dim: ArrayLike, rate: ArrayLike, *, half_width: ArrayLike = 0.5, noise: ArrayLike = 0.0
) -> Result:
    """s (1 - 2 rate s + rate^2 T / d): the same for inputs that are uniform on [-a, a]^d, convention "mean".

    Here s = a^2 / 3 is the variance of a coordinate and T = E tr A^2 + sigma^2 d s / k, with A = X^T X / k and
    E tr A^2 = (d a^4 / 5 + d (d - 1) s^2) / k + (1 - 1/k) d s^2. Answering 0 has the risk s. Times d / 2 it is the loss
    that von Oswald et al. 2023 plot: 0.20623 for a = 1/2, d = k = 10 at the best rate, 6.0606.

    Args:
      seen: k, at least 1.
      dim: d.
      rate: eta.
      half_width: a.
      noise: sigma.
    """
    s, total, d = _uniform(seen, dim, half_width, noise)
    eta = checked("rate", rate, np.isfinite, "finite numbers")
    return result(s * (1 - 2 * eta * s + np.square(eta) * total / d))


def best_rate_uniform(
    seen: ArrayLike, dim: ArrayLike, *, half_width: ArrayLike = 0.5, noise: ArrayLike = 0.0
) -> Result:
    """d s / T: the rate of least `one_step_uniform` risk."""
    s, total, d = _uniform(seen, dim, half_width, noise)
    return result(d * s / total)


def best_one_step_uniform(
    seen: ArrayLike, dim: ArrayLike, *, half_width: ArrayLike = 0.5, noise: ArrayLike = 0.0
) -> Result:
    """s (1 - d s^2 / T): the risk of one step at its `best_rate_uniform`."""
    s, total, d = _uniform(seen, dim, half_width, noise)
    return result(s * (1 - d * np.square(s) / total))


def preconditioner(covariance: ArrayLike, seen: ArrayLike, *, noise: ArrayLike = 0.0) -> np.ndarray:
    """The best matrix B of w = B X^T y / k for x ~ N(0, Lam), `[..., d, d]`: the best 1-layer linear self-attention.

    B = Gam^{-1} with Gam = (1 + 1/k) Lam + (tr Lam + sigma^2) I / k.

    Args:
      covariance: Lam, `[d, d]`.
      seen: k, at least 1.
      noise: sigma.
    """
    lam, k, sigma = _covariance(covariance), _seen(seen, least=1), _noise(noise)
    k, sigma = (values[..., None, None] for values in np.broadcast_arrays(k, sigma))
    gam = (1 + 1 / k) * lam + (np.trace(lam) + np.square(sigma)) / k * np.eye(len(lam))
    return np.linalg.inv(gam)


def preconditioned(covariance: ArrayLike, seen: ArrayLike, *, noise: ArrayLike = 0.0) -> Result:
    """tr(Lam (I - B Lam)) / d: the risk of one step with the best matrix, B of `preconditioner`.

    Answering 0 has the risk tr Lam / d. The arguments are those of `preconditioner`.
    """
    lam = _covariance(covariance)
    best = preconditioner(lam, seen, noise=noise)
    return result(np.trace(lam @ (np.eye(len(lam)) - best @ lam), axis1=-2, axis2=-1) / len(lam))


def ridge_from_least_squares(penalty: ArrayLike, seen: ArrayLike, dim: ArrayLike) -> Result:
    """l^2 (k - 1) / ((k - d) (k - d - 1) (k - d - 3)): E (ridge - least squares)^2 by d, without noise, for small l.

    It is l^2 E tr (X^T X)^{-2} / d, the leading term, and an upper bound.

    Args:
      penalty: l.
      seen: k, above d + 3.
      dim: d.
    """
    lam = checked("penalty", penalty, lambda v: (v >= 0) & np.isfinite(v), "finite numbers of at least 0")
    k, d = np.broadcast_arrays(_seen(seen), _dim(dim))
    if (k <= d + 3).any():
        wrong = np.argmax(k <= d + 3)
        raise ValueError(
            f"seen is {k.flat[wrong]:g} where dim is {d.flat[wrong]:g}; allowed: whole numbers above dim + 3, where "
            "the mean exists."
        )
    return result(np.square(lam) * (k - 1) / ((k - d) * (k - d - 1) * (k - d - 3)))


def _per_rate(k: np.ndarray, convention: str) -> np.ndarray:
    """rate / c."""
    names.require("The convention of the rate", convention, CONVENTIONS)
    return np.maximum(k, 1) if convention == "mean" else np.full_like(k, 0.5)


def _uniform(
    seen: ArrayLike, dim: ArrayLike, half_width: ArrayLike, noise: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """s, T and d of `one_step_uniform`."""
    k, d, sigma = _seen(seen, least=1), _dim(dim), _noise(noise)
    a = checked("half_width", half_width, lambda v: (v > 0) & np.isfinite(v), "finite numbers above 0")
    s = np.square(a) / 3
    traces = (d * a**4 / 5 + d * (d - 1) * np.square(s)) / k + (1 - 1 / k) * d * np.square(s)
    return s, traces + np.square(sigma) * d * s / k, d


def _covariance(covariance: ArrayLike) -> np.ndarray:
    lam = checked("covariance", covariance, np.isfinite, "finite numbers")
    square = lam.ndim == 2 and lam.size and lam.shape[0] == lam.shape[1]
    if not square or not np.allclose(lam, lam.T) or np.linalg.eigvalsh(lam)[0] <= 0:
        raise ValueError(f"covariance is {lam.tolist()}; allowed: symmetric positive definite matrices, [d, d].")
    return lam


def _seen(value: ArrayLike, least: int = 0) -> np.ndarray:
    return checked("seen", value, lambda v: (v >= least) & whole(v), f"whole numbers of at least {least}")


def _dim(value: ArrayLike) -> np.ndarray:
    return checked("dim", value, lambda v: (v >= 1) & whole(v), "whole numbers of at least 1")


def _noise(value: ArrayLike) -> np.ndarray:
    return checked("noise", value, lambda v: (v >= 0) & np.isfinite(v), "finite numbers of at least 0")
