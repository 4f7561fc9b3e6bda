"""Small class mixtures, exactly: every possible sequence of classes and labels with its probability.

Written from the definition of the task (Chan, Chen, György, Schuurmans 2025, section 5.1: draw a context again until
it fits) by listing all contexts and striking out those that do not fit, not from the closed forms that
`icl_sim.tasks.contexts` samples with, so that each is a check of the other. NumPy, float64.

Axes: R possible sequences, K contexts; the others as in `icl_sim.types`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np

from icl_sim.tasks.class_mixture import ANY, FRESH, HIGH, LOW, ClassMixture
from icl_sim.tasks.contexts import INSERT
from icl_sim.tasks.prototypes import Prototypes

# The most sequences that are listed, before equal ones are merged: a few gigabytes.
MAX_LISTED = 10_000_000


@dataclasses.dataclass(frozen=True)
class Sequences:
    """All sequences of positive probability, each once.

    Attributes:
      classes: `[R, L+1]` int, the last is the query's.
      labels: `[R, L+1]` int, after relabelling and label noise.
      probability: `[R]` float64, sums to 1.
      relevant: `[R]` bool, whether the context holds the query's class.
    """

    classes: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    relevant: np.ndarray


def sequences(task: ClassMixture) -> Sequences:
    """The exact law of the classes and labels that `task.sample` draws for N = inf, whatever the inputs look like.

    P(classes, labels) = P(query) P(relevance) P(context | query, relevance) P(shift) prod_s P(noise of slot s).
    A context given (query, relevance) is L independent draws from P, all drawn again until it fits; or, by insertion,
    drawn once, where a slot chosen uniformly is overwritten if none matches.

    Raises:
      ValueError: for a finite data set, whose law depends on its seed, and where more than `MAX_LISTED` sequences would
        have to be listed.
    """
    _refuse(task)
    num_classes, slots, noise = task.num_classes, task.context_length + 1, float(task.label_noise)
    relabellings = _relabellings(task)
    listed = num_classes**slots * len(relabellings) * (2 if 0 < noise < 1 else 1) ** slots
    if listed > MAX_LISTED:
        raise ValueError(
            f"The task has {Decimal(listed):.6g} sequences (task.num_high + task.num_low is {num_classes}, "
            f"task.context_length is {task.context_length}); at most {MAX_LISTED} can be listed."
        )
    classes_RS, probability_R = _classes(task)
    rows, chances = [], []
    for label_C, chance_of_shift in relabellings:
        for moved_S, chance_of_noise in _noise_patterns(noise, slots):
            labels_RS = (label_C[classes_RS] + moved_S) % num_classes
            rows.append(np.concatenate([classes_RS, labels_RS], axis=1))
            chances.append(probability_R * chance_of_shift * chance_of_noise)
    all_rows = np.concatenate(rows)
    # A row's digits in base C are its number, below C^(2 slots) <= MAX_LISTED^2, which int64 holds.
    number = all_rows @ num_classes ** np.arange(2 * slots)
    _, first, same = np.unique(number, return_index=True, return_inverse=True)
    probability = np.bincount(same, weights=np.concatenate(chances))
    classes, labels = all_rows[first, :slots], all_rows[first, slots:]
    relevant = np.any(classes[:, :-1] == classes[:, -1:], axis=1)
    return Sequences(classes=classes, labels=labels, probability=probability, relevant=relevant)


def expected(sequences: Sequences, values_R: np.ndarray) -> float:
    """E[value] = sum_R probability * value, from the value of each sequence, `[R]`."""
    if np.shape(values_R) != sequences.probability.shape:
        raise ValueError(
            f"The values have shape {np.shape(values_R)}; they must have one value for each of the "
            f"{len(sequences.probability)} sequences."
        )
    return float(np.sum(sequences.probability * values_R))


def copy_probabilities(
    sequences: Sequences, num_classes: int, temperature: float = 1.0, squared_distance: float = 4.0
) -> np.ndarray:
    """What the in-context predictor h answers where all different classes are equally far apart, `[R, C]`.

    p(y) = sum_l softmax_l(-d_l^2 / temperature) [y_l = y]  (Chan et al. 2025, section 3; `KernelCopy` before its floor)
    with d_l^2 = 0 where slot l holds the query's class, else `squared_distance`: at most 4 between unit vectors, 2
    between orthogonal ones.
    """
    if not temperature > 0:
        raise ValueError(f"The temperature of h is {temperature}; it must be positive.")
    if not 0 <= squared_distance < math.inf:
        raise ValueError(f"The squared distance is {squared_distance}; it must be at least 0 and finite.")
    if num_classes <= (largest := sequences.labels.max()):
        raise ValueError(f"The number of classes is {num_classes}; it must exceed the largest label, {largest}.")
    matches_RL = sequences.classes[:, :-1] == sequences.classes[:, -1:]
    distance_RL = np.where(matches_RL, 0.0, squared_distance)
    # Relative to the nearest, so that the largest weight is exp(0) at any temperature.
    weight_RL = np.exp((distance_RL.min(axis=1, keepdims=True) - distance_RL) / temperature)
    weight_RL /= weight_RL.sum(axis=1, keepdims=True)
    p_RC = np.zeros((len(weight_RL), num_classes))
    for slot in range(weight_RL.shape[1]):
        p_RC[np.arange(len(p_RC)), sequences.labels[:, slot]] += weight_RL[:, slot]
    return p_RC


def _refuse(task: ClassMixture) -> None:
    if math.isfinite(task.num_sequences):
        raise ValueError(
            f"task.num_sequences is {task.num_sequences:g}; it must be inf, since the law of a finite data set depends "
            "on its seed."
        )
    if task.query_group not in (ANY, HIGH, LOW):
        raise ValueError(f"task.query_group is {task.query_group}; it must be 0 (any), 1 (common) or 2 (rare).")
    if task.relabel < FRESH or task.relabel != int(task.relabel):
        raise ValueError(
            f"task.relabel is {task.relabel}; it must be 0 (off), -1 (a fresh shift per sequence) or a whole shift of "
            "at least 1."
        )
    # The rest is what a study checks; what only evaluation sets vary, it would refuse. Inputs do not matter here.
    task.replace(relabel=0, query_group=ANY, unseen=False, inputs=Prototypes()).check()


def _prior(task: ClassMixture) -> np.ndarray:
    """P of one draw, `[C]`: p_high spread evenly over the common classes, the rest over the rare ones."""
    p_high = float(task.p_high)
    each = [p_high / task.num_high, (1 - p_high) / task.num_low]
    return np.repeat(each, [task.num_high, task.num_low])


def _query_law(task: ClassMixture) -> np.ndarray:
    """Law of the query's class, `[C]`: P, or uniform over one of the two groups."""
    if task.query_group == ANY:
        return _prior(task)
    common_C = np.arange(task.num_classes) < task.num_high
    chosen_C = common_C if task.query_group == HIGH else ~common_C
    return chosen_C / chosen_C.sum()


def _classes(task: ClassMixture) -> tuple[np.ndarray, np.ndarray]:
    """Classes of sequences `[R, L+1]` and their probabilities `[R]`, all positive; rows may repeat."""
    length, p_relevant = task.context_length, float(task.p_relevant)
    contexts_KL = np.indices((task.num_classes,) * length).reshape(length, -1).T
    rows, chances = [], []
    for query, chance_of_query in enumerate(_query_law(task)):
        for relevant, chance_of_relevance in ((True, p_relevant), (False, 1 - p_relevant)):
            if (chance := chance_of_query * chance_of_relevance) == 0:
                continue
            for fitting_KL, chance_K in _contexts(task, contexts_KL, query, relevant):
                rows.append(np.insert(fitting_KL, length, query, axis=1)[chance_K > 0])
                chances.append(chance * chance_K[chance_K > 0])
    return np.concatenate(rows), np.concatenate(chances)


def _contexts(
    task: ClassMixture, contexts_KL: np.ndarray, query: int, relevant: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The law of the context given the query's class and whether it is relevant: [(contexts, their chances), ...]."""
    mass_C = _prior(task)
    matches_K = np.sum(contexts_KL == query, axis=1)
    exactly = int(task.num_relevant)
    if relevant and not exactly and task.relevant_law == INSERT:
        drawn_K = np.prod(mass_C[contexts_KL], axis=1)
        law = [(contexts_KL, np.where(matches_K > 0, drawn_K, 0.0))]
        for slot in range(task.context_length):
            overwritten_KL = contexts_KL.copy()
            overwritten_KL[:, slot] = query
            law.append((overwritten_KL, np.where(matches_K > 0, 0.0, drawn_K) / task.context_length))
        return law
    if not relevant:
        fits_K = matches_K == 0
    elif exactly:
        fits_K = matches_K == exactly
    else:
        fits_K = matches_K > 0
    if mass_C[query] == 0:
        # Redrawing would never end (p_high = 1, a rare query). In the limit of a small mass the fewest matches remain,
        # and as all contexts have equally many, the mass of a match cancels.
        fits_K &= matches_K == matches_K[fits_K].min()
        mass_C[query] = 1.0
    # Drawing again until it fits: the law of L draws, restricted and normalised.
    chance_K = np.where(fits_K, np.prod(mass_C[contexts_KL], axis=1), 0.0)
    return [(contexts_KL, chance_K / chance_K.sum())]


def _relabellings(task: ClassMixture) -> list[tuple[np.ndarray, float]]:
    """The possible maps from class to label, `[C]` each, with their chances."""
    sizes = task.num_high, task.num_low
    shift = int(task.relabel)
    if shift != FRESH:
        return [(_shifted(sizes, (shift, shift)), 1.0)]
    # A fresh shift is uniform over 1..n-1 in a group of n. Both groups read it off one uniform number u in [0, 1), as
    # 1 + floor(u (n - 1)): the same shift in groups of equal size. The shifts are constant between these cuts of u.
    cuts = sorted({Fraction(i, n - 1) for n in sizes for i in range(n)})
    law = []
    for low, high in itertools.pairwise(cuts):
        shifts = tuple(1 + math.floor(low * (n - 1)) for n in sizes)
        law.append((_shifted(sizes, shifts), float(high - low)))
    return law


def _shifted(sizes: tuple[int, ...], shifts: tuple[int, ...]) -> np.ndarray:
    """The label of each class, `[C]`, where group i of `sizes[i]` classes is shifted cyclically by `shifts[i]`."""
    starts = np.cumsum((0, *sizes[:-1]))
    groups = [start + (np.arange(n) + s) % n for start, n, s in zip(starts, sizes, shifts, strict=True)]
    return np.concatenate(groups)


def _noise_patterns(noise: float, slots: int) -> list[tuple[np.ndarray, float]]:
    """Which of the labels move to the next class, `[S]` of 0 or 1, with the chance; only what is possible."""
    patterns = []
    for moved in itertools.product((0, 1), repeat=slots):
        chance = noise ** sum(moved) * (1 - noise) ** (slots - sum(moved))
        if chance > 0:
            patterns.append((np.asarray(moved), chance))
    return patterns
