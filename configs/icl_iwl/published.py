"""How a published number becomes a claim: names of settings, what a claim pins, and the tolerances.

Published numbers were read off the authors' stored plots (means of 5 seeds, each at its checkpoint of the lowest
training loss, uncertain by about 0.03). A number agrees if the interval over our seeds lies within a tolerance of it:
0.05 where the published curve is flat at 0 or 1, and 0.15 where it moves, because a steep curve turns a small shift
in N into a large difference in error. A published bound is widened by 0.05.

A claim pins what the published number depends on, of the task, of the training and of its predictor, so that a run
with another network or another optimiser says nothing about it. Not pinned: floors of probabilities, and how sequences
are relabelled, which the published numbers do not depend on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from configs.claiming import claims_of
from icl_sim.studies.claims import Claim, Largest, Measure, Range, Smallest, Value, above, below, near

PAPER = "Chan et al. 2025"
PLOTS = f"{PAPER}, stored plots"
SIZES = tuple(2**k for k in range(6, 21, 2))
N, L, L_REL = "task.num_sequences", "task.context_length", "task.num_relevant"
P_HIGH, P_REL, NOISE, EPS = "task.p_high", "task.p_relevant", "task.inputs.noise", "task.label_noise"
NUM_HIGH, NUM_LOW = "task.num_high", "task.num_low"

# S0, the setting of most figures, and the training of all synthetic sweeps.
S0: Mapping = {
    "task.inputs.kind": "prototypes",
    "task.inputs.dim": 64,
    "task.relevant_law": "conditional",
    L: 1,
    L_REL: 0,
    P_HIGH: 0.9,
    P_REL: 0.9,
    NOISE: 0.2,
    EPS: 0.0,
    NUM_HIGH: 5,
    NUM_LOW: 5,
    "training.batch_size": 32,
    "training.learning_rate": 3e-4,
    "training.adam_epsilon": 1e-8,
    "training.schedule": "constant",
    "training.warmup_steps": 0,
}
_TRANSFORMER = {
    "kind": "transformer",
    "depth": 2,
    "width": 64,
    "heads": 1,
    "mlp_ratio": 4,
    "position": "shared_sinusoid",
    "position_base": 30.0,
    "causal": True,
}
_HIDDEN = (64, 64)
_GATED = {
    "kind": "gated",
    "protocol": "end_to_end",
    "hidden": _HIDDEN,
    "in_context.double_exponential": True,
    "in_weight.hidden": _HIDDEN,
}
_PREDICTORS = {
    "transformer": _TRANSFORMER,
    "ic_baseline": _TRANSFORMER,
    "iw_baseline": _TRANSFORMER,
    "gated": _GATED,
    "in_context": {"kind": "kernel_copy", "double_exponential": True},
    "in_weight": {"kind": "in_weight", "hidden": _HIDDEN},
}
_TRAINED_ON = {"ic_baseline": 1.0, "iw_baseline": 0.0}

_WORDS = {
    "icl_error_high": "ICL error on common classes",
    "icl_error_low": "ICL error on rare classes",
    "iwl_error_high": "IWL error on common classes",
    "iwl_error_low": "IWL error on rare classes",
    "ibd_relevant_high": "error on common classes with a relevant context, labels as trained",
    "ibd_relevant_low": "error on rare classes with a relevant context, labels as trained",
    "control_high": "error on common classes with an irrelevant context and shifted labels, where nobody can be right",
    "control_low": "error on rare classes with an irrelevant context and shifted labels, where nobody can be right",
    "icl_error": "error with shifted labels on the default mixture of contexts",
    "gate_mean": "mean gate, the weight of g",
}
_SETS = {
    "eval-relevant-high_prob": "relevant contexts, common classes",
    "eval-relevant-low_prob": "relevant contexts, rare classes",
    "eval-irrelevant-low_prob": "irrelevant contexts, rare classes",
}
_SYMBOLS = {N: "N", L: "L", L_REL: "L_relevant", P_HIGH: "p_high", P_REL: "p_relevant", NOISE: "noise", EPS: "eps"}


def value(
    metric: str,
    predictor: str = "transformer",
    eval_set: str = "summary",
    at: Mapping | None = None,
    given: Mapping = S0,
    free: str | None = None,
) -> Value:
    """A metric in the setting `given`, with the changes `at`, all of it pinned but for the name `free`."""
    own = {f"predictors.{predictor}.{name}": setting for name, setting in _PREDICTORS[predictor].items()}
    if predictor in _TRAINED_ON:
        own[f"trained_on.{predictor}.p_relevant"] = _TRAINED_ON[predictor]
    pinned = {**own, **given, **(at or {})}
    pinned.pop(free or "", None)
    return Value(predictor=predictor, metric=metric, eval_set=eval_set, where=pinned)


def words(
    metric: str, predictor: str = "transformer", eval_set: str = "summary", at: Mapping | None = None, task: str = ""
) -> str:
    """What a value is, for people: "transformer, L = 4: ICL error on rare classes"."""
    names = [f"{_SYMBOLS[name]} = {_told(setting)}" for name, setting in (at or {}).items() if name in _SYMBOLS]
    where = f", {_SETS[eval_set]}" if eval_set in _SETS else ""
    return f"{', '.join(filter(None, (task, predictor, *names)))}: {_WORDS[metric]}{where}"


def _told(setting: float) -> str:
    """A number for people; large powers of two as such."""
    exponent = math.log2(setting) if setting >= 2**6 else 0.5
    return f"2^{exponent:.0f}" if exponent == int(exponent) else f"{setting:g}"


def tolerance(published: float) -> float:
    return 0.05 if published <= 0.05 or published >= 0.95 else 0.15


def claim(
    id: str,
    statement: str,
    measure: Measure,
    condition: Range,
    published: float | str | None = None,
    source: str = PAPER,
    min_steps: int = 50_000,
) -> Claim:
    return claims_of(source, min_steps)(id, statement, measure, condition, published)


def number(id: str, published: float, metric: str, *, at: Mapping, source: str = PLOTS, task: str = "", **of) -> Claim:
    """The claim that a value lies near a published number; `of` are further arguments of `value`."""
    said = {name: of[name] for name in ("predictor", "eval_set") if name in of}
    return claim(
        id,
        f"{words(metric, at=at, task=task, **said)}.",
        value(metric, at=at, **of),
        near(published, tolerance(published)),
        float(published),
        source,
    )


def row(
    id: str,
    metric: str,
    published: Sequence[float],
    *,
    sizes: Sequence[int] = SIZES,
    at: Mapping | None = None,
    **of,
) -> tuple[Claim, ...]:
    """One claim for each entry of a published row over N."""
    return tuple(
        number(f"{id}.N={size}", entry, metric, at={N: size, **(at or {})}, **of)
        for size, entry in zip(sizes, published, strict=True)
    )


def highest(curve: Value, from_size: float = 0, sizes: Sequence[float] = SIZES) -> Largest:
    """The largest value at all N from `from_size` on; a run must reach from the first published size to the last."""
    return Largest(curve, N, at_least=from_size, ends=_ends(from_size, sizes))


def lowest(curve: Value, from_size: float = 0, sizes: Sequence[float] = SIZES) -> Smallest:
    """The smallest value, otherwise like `highest`."""
    return Smallest(curve, N, at_least=from_size, ends=_ends(from_size, sizes))


def _ends(from_size: float, sizes: Sequence[float]) -> tuple[float, float]:
    asked = [float(size) for size in sizes if size >= from_size]
    return min(asked), max(asked)


def bound(
    id: str,
    published: str,
    metric: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    from_size: float = 0,
    sizes: Sequence[float] = SIZES,
    source: str = PLOTS,
    task: str = "",
    at: Mapping | None = None,
    **of,
) -> Claim:
    """The claim that a curve over N stays above, or below, a bound; the bound given already holds the tolerance."""
    said = {name: of[name] for name in ("predictor", "eval_set") if name in of}
    head = words(metric, at=at, task=task, **said)
    which = f"all N ≥ {_told(from_size)}" if from_size else "all N"
    curve = value(metric, at=at, **of)
    if at_least is not None:
        measure, condition, told = lowest(curve, from_size, sizes), above(at_least), f"above {at_least:g}"
    else:
        measure, condition, told = highest(curve, from_size, sizes), below(at_most), f"below {at_most:g}"
    return claim(id, f"{head}, {told} at {which}.", measure, condition, published, source)
