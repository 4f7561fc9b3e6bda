"""When in-weight overtakes in-context learning: predictions of N_x, the exposures of a class, and of the step.

Algorithm 1 trusts whichever of g and h has lost less on an input so far. With a tabular g that counts labels
(`Counts`), the losses of g after n exposures are n H(eps) plus at most its regret r(n), those of h are n l_h; so it
turns to memory at the n* with

    r(n*) = n* (l_h - H(eps)),

if labels are equal, a little later on average where noise or irrelevant contexts make losses walk at random, and never
where l_h <= H(eps). n* does not depend on how common the class is. The step does: n* / (P(x) B) of batches of
B. Everything is float64 and broadcasts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from icl_sim.theory.bounds import label_noise_entropy

_lgamma = np.vectorize(math.lgamma, otypes=[float])
_LARGE = 1e8
NEVER = 2.0**62  # exposures past which a switch counts as none


def mixed_loss(p_relevant: ArrayLike, relevant: ArrayLike, irrelevant: ArrayLike) -> np.ndarray:
    """l_h = p_relevant l_relevant + (1 - p_relevant) l_irrelevant: the in-context loss to a gate that knows x alone.

    Args:
      p_relevant: how often the context holds the query's class.
      relevant, irrelevant: the losses of h then and otherwise; for copying with a floor, 0 and -log(floor) at L = 1.
    """
    p = np.asarray(p_relevant, float)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p_relevant is {p_relevant}; a probability must be between 0 and 1.")
    return p * np.asarray(relevant, float) + (1 - p) * np.asarray(irrelevant, float)


def counting_regret(exposures: ArrayLike, num_labels: int, add: float = 0.5) -> np.ndarray:
    """r(n): the log loss of add-beta counts beyond n H, after n equal labels, their worst case (`learners.Counts`).

    log G(n + C b) / G(C b) - log G(n + b) / G(b), about (C - 1)/2 log n for b = 1/2.
    """
    n = np.asarray(exposures, float)
    if num_labels < 2 or not 0.5 <= add < math.inf:
        raise ValueError(
            f"num_labels is {num_labels} and add is {add}; there must be at least 2 labels, and counts from 1/2 on."
        )
    if not np.all(n >= 0):
        raise ValueError(f"exposures are {exposures}; they must be at least 0.")
    a, b = num_labels * add, add
    small = np.minimum(n, _LARGE)
    grown = _lgamma(small + a) - _lgamma(small + b)
    # Beyond, where the difference of two such numbers loses its digits, by Stirling's series up to terms of 1/n^2.
    series = (a - b) * np.log(np.maximum(n, 1)) + (a - b) * (a + b - 1) / (2 * np.maximum(n, 1))
    return np.where(n > _LARGE, series, grown) - _lgamma(a) + _lgamma(b)


def switch_exposures(
    in_context_loss: ArrayLike, num_labels: int, *, label_noise: ArrayLike = 0.0, add: float = 0.5
) -> np.ndarray:
    """n*: the least whole number of exposures after which g has lost less than h, inf where it never does.

    Args:
      in_context_loss: l_h, mean loss of h on the class in nats (`mixed_loss`).
      num_labels: C.
      label_noise: eps, how often one wrong label stands in for the right one.
      add: beta of g.
    """
    gain = np.asarray(in_context_loss, float) - label_noise_entropy(label_noise)
    if np.any(np.isnan(gain)):
        raise ValueError(f"in_context_loss is {in_context_loss}; it must be a number of nats.")

    def behind(n: np.ndarray) -> np.ndarray:
        return counting_regret(n, num_labels, add) >= n * gain

    # r is concave and n l_h linear, both 0 at 0: where g starts out behind, it catches up once.
    low, high = np.zeros_like(gain), np.full_like(gain, NEVER)
    never = (gain <= 0) | behind(high)
    while np.any(high - low > np.maximum(1, 1e-15 * high)):
        middle = np.floor((low + high) / 2)
        late = (middle < 1) | behind(middle)
        low, high = np.where(late, middle, low), np.where(late, high, middle)
    return np.where(never, np.inf, high)


def switch_steps(exposures: ArrayLike, mass: ArrayLike, batch_size: int) -> np.ndarray:
    """The training step at which a class has been the query `exposures` times: n / (P(x) B); inf where P(x) = 0."""
    p = np.asarray(mass, float)
    if not np.all((p >= 0) & (p <= 1)) or batch_size < 1:
        raise ValueError(
            f"mass is {mass} and batch_size is {batch_size}; the first must be a probability, the second at least 1."
        )
    with np.errstate(divide="ignore"):
        return np.asarray(exposures, float) / (p * batch_size)
