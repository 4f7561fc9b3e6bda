"""What in-weight and in-context prediction can cost: bounds on the error, in nats, of one class x of queries.

Chan et al. 2025 (arXiv 2410.23042) explain by them when in-context learning gives way: a predictor that learns x in its
weights gets better with the number N_x of training queries equal to x, whereas one that copies labels from a context of
L items, k of them irrelevant to x, does not. Every function is of float64 and broadcasts over all of its arguments.

Below, H(eps) = -eps log(eps) - (1 - eps) log(1 - eps) is the entropy of the noise of the label, and the in-context
predictor weighs the label of item i by exp(-d_i / temperature), where d_i is the squared distance of item i from the
query. So the weights of two items differ at most by the factor e^(range / temperature), where the range is the largest
minus the smallest squared distance: 4 for inputs of unit norm. Where no item is relevant (k = L) the right label has
but the floor probability, and all of the in-context bounds are log(1 / floor).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from icl_sim.theory.arguments import Result, checked, result, whole


def label_noise_entropy(label_noise: ArrayLike) -> Result:
    """H(eps) = -eps log(eps) - (1 - eps) log(1 - eps), 0 at eps = 0 and 1.

    The least cross-entropy where, with probability eps, one wrong label stands in the place of the right one. (Were it
    drawn uniformly from the C - 1 wrong ones, eps log(C - 1) would come on top.)
    """
    eps = checked("label_noise", label_noise, lambda v: (v >= 0) & (v <= 1), "numbers from 0 to 1")
    noisy = (eps > 0) & (eps < 1)
    p = np.where(noisy, eps, 0.5)  # where 0 log(0) would be NaN
    return result(np.where(noisy, -p * np.log(p) - (1 - p) * np.log1p(-p), 0.0))


def in_weight_upper(
    exposures: ArrayLike,
    *,
    label_noise: ArrayLike = 0.0,
    constant: ArrayLike = 1.0,
    num_inputs: ArrayLike | None = None,
    delta: ArrayLike | None = None,
) -> Result:
    """H(eps) + constant sqrt(log(2 num_inputs / delta) / N_x): in-weight error, for all inputs at once with 1 - delta.

    Chan et al. 2025, Proposition 1; the constant is that of its big O, which the paper leaves open. Without num_inputs
    and delta it is H(eps) + constant / sqrt(N_x), which Figure 1 draws with constant = 10. Infinite at N_x = 0.

    Args:
      exposures: N_x, how many training queries were equal to x.
      label_noise: eps, how often a label is wrong.
      constant: what stands for the big O.
      num_inputs: |X|, how many inputs there are.
      delta: probability with which the bound may fail.
    """
    n = checked("exposures", exposures, lambda v: v >= 0, "numbers of at least 0")
    times, scale = _constant(constant), _scale(num_inputs, delta)
    with np.errstate(divide="ignore", over="ignore"):  # N_x = 0 bounds nothing
        return result(label_noise_entropy(label_noise) + times * np.sqrt(scale / n))


def in_context_upper(irrelevant: ArrayLike, length: ArrayLike, *, floor: ArrayLike = 0.01) -> Result:
    """log(L / (L - k)), and log(1 / floor) at k = L: the most in-context cross-entropy (Chan et al. 2025, Corollary 1).

    It is a bound where a matching item has at least the weight of any that does not match: then the right label has a
    probability of at least (L - k) / L. A predictor which prefers items that do not match can do worse.

    Args:
      irrelevant: k, how many labels of the context are not the query's.
      length: L, how many items the context has.
      floor: least probability of a class.
    """
    return _in_context(irrelevant, length, floor, np.log1p)


def in_context_best(
    irrelevant: ArrayLike,
    length: ArrayLike,
    *,
    distance_range: ArrayLike = 4.0,
    temperature: ArrayLike = 1.0,
    floor: ArrayLike = 0.01,
) -> Result:
    """log(1 + k / ((L - k) e^(range / temperature))), and log(1 / floor) at k = L: the least in-context cross-entropy.

    It is exact: attained where the matching items are all as near as can be, and the others as far.

    Args:
      irrelevant: k, how many labels of the context are not the query's.
      length: L, how many items the context has.
      distance_range: largest minus smallest squared distance between inputs; 4 for those of unit norm.
      temperature: what divides a squared distance in the exponent of its weight.
      floor: least probability of a class.
    """
    return _in_context(irrelevant, length, floor, np.log1p, distance_range, temperature)


def in_context_lower(
    irrelevant: ArrayLike,
    length: ArrayLike,
    *,
    distance_range: ArrayLike = 4.0,
    temperature: ArrayLike = 1.0,
    floor: ArrayLike = 0.01,
    factor: ArrayLike = 1.0,
) -> Result:
    """factor k / (k + (L - k) e^(range / temperature)), and log(1 / floor) at k = L (Chan et al. 2025, Corollary 1).

    With factor = 1 it is a lower bound on the cross-entropy, below `in_context_best` as log(1 + x) >= x / (1 + x).
    Figure 1 of the paper draws factor = 2. This is the least L1 distance of the prediction from the label, and NOT a
    bound on the cross-entropy: for k = 7 of L = 8 it is 0.227, where the best case is 0.121.

    Args:
      irrelevant: k, how many labels of the context are not the query's.
      length: L, how many items the context has.
      distance_range: largest minus smallest squared distance between inputs; 4 for those of unit norm.
      temperature: what divides a squared distance in the exponent of its weight.
      floor: least probability of a class.
      factor: 1 for a bound on the cross-entropy, 2 for the figure of the paper.
    """
    times = checked("factor", factor, lambda v: (v > 0) & np.isfinite(v), "finite numbers above 0")
    return _in_context(irrelevant, length, floor, lambda odds: times * (odds / (1 + odds)), distance_range, temperature)


def crossing(
    irrelevant: ArrayLike,
    length: ArrayLike,
    *,
    label_noise: ArrayLike = 0.0,
    constant: ArrayLike = 1.0,
    num_inputs: ArrayLike | None = None,
    delta: ArrayLike | None = None,
    distance_range: ArrayLike = 4.0,
    temperature: ArrayLike = 1.0,
    floor: ArrayLike = 0.01,
    factor: ArrayLike = 1.0,
) -> Result:
    """N_x above which `in_weight_upper` is below `in_context_lower`: by the bounds, learning in weights then wins.

    N_x = constant^2 scale / (lower - H(eps))^2, where scale = log(2 num_inputs / delta), or 1 without these two.
    Infinite where lower <= H(eps): there in-context learning persists, however often x is seen. With factor = 2 and
    constant = 10 it is where the curves of Figure 1 of Chan et al. 2025 cross. The arguments are those of both bounds.
    """
    lower = in_context_lower(
        irrelevant, length, distance_range=distance_range, temperature=temperature, floor=floor, factor=factor
    )
    gap = np.maximum(lower - label_noise_entropy(label_noise), 0.0)
    times, scale = _constant(constant), _scale(num_inputs, delta)
    with np.errstate(divide="ignore", over="ignore"):  # no gap, or next to none: never
        return result(np.square(times / gap) * scale)


def _in_context(
    irrelevant: ArrayLike,
    length: ArrayLike,
    floor: ArrayLike,
    of_odds: Callable[[np.ndarray], np.ndarray],
    distance_range: ArrayLike = 0.0,
    temperature: ArrayLike = 1.0,
) -> Result:
    """`of_odds` of the odds k / ((L - k) e^(range / temperature)) against the right label; log(1 / floor) at k = L."""
    items = checked("length", length, lambda v: (v >= 1) & whole(v), "whole numbers of at least 1")
    k = checked("irrelevant", irrelevant, lambda v: (v >= 0) & whole(v), "whole numbers from 0 to length")
    k, items = np.broadcast_arrays(k, items)
    if (k > items).any():
        wrong = np.argmax(k > items)
        raise ValueError(
            f"irrelevant is {k.flat[wrong]:g} where length is {items.flat[wrong]:g}; "
            "allowed: whole numbers from 0 to length."
        )
    least = checked("floor", floor, lambda v: (v > 0) & (v < 1), "numbers between 0 and 1, both excluded")
    spread = checked(
        "distance_range", distance_range, lambda v: (v >= 0) & np.isfinite(v), "finite numbers of at least 0"
    )
    heat = checked("temperature", temperature, lambda v: (v > 0) & np.isfinite(v), "finite numbers above 0")
    with np.errstate(over="ignore", under="ignore"):  # e^-inf = 0 is the limit
        odds = k / np.where(k < items, items - k, 1.0) * np.exp(-spread / heat)
        return result(np.where(k < items, of_odds(odds), -np.log(least)))


def _scale(num_inputs: ArrayLike | None, delta: ArrayLike | None) -> np.ndarray:
    """log(2 num_inputs / delta), or 1 where neither is given."""
    if num_inputs is None and delta is None:
        return np.asarray(1.0)
    if num_inputs is None or delta is None:
        raise ValueError(f"num_inputs is {num_inputs} and delta is {delta}; allowed: both of them, or neither.")
    inputs = checked("num_inputs", num_inputs, lambda v: (v >= 1) & np.isfinite(v), "finite numbers of at least 1")
    failing = checked("delta", delta, lambda v: (v > 0) & (v < 1), "numbers between 0 and 1, both excluded")
    return np.log(2.0) + np.log(inputs) - np.log(failing)  # a quotient might overflow


def _constant(constant: ArrayLike) -> np.ndarray:
    return checked("constant", constant, lambda v: (v > 0) & np.isfinite(v), "finite numbers above 0")
