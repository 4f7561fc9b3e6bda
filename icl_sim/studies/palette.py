"""Which colour a predictor has, in every figure and study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from icl_sim.studies.quantities import Quantity, learners

_PREDICTORS = {  # the foremost first
    "transformer": "#0072B2",
    "linear_attention": "#332288",
    "gated": "#CC79A7",
    "gated_two_phase": "#7A4F9A",
    "ic_baseline": "#009E73",
    "iw_baseline": "#E69F00",
    "in_weight": "#D55E00",
    "in_context": "#56B4E9",
}
_LEARNERS = {  # explicit ones of regression, by how their names begin
    "ols": "#D55E00",
    "least_squares": "#D55E00",
    "logistic": "#D55E00",
    "ridge": "#009E73",
    "knn": "#E69F00",
    "nearest": "#E69F00",
    "gd": "#CC79A7",
    "gradient_descent": "#CC79A7",
    "preconditioned": "#AA4499",
    "sgd": "#7A4F9A",
    "one_pass_sgd": "#7A4F9A",
    "growing_sgd": "#44AA99",
    "averaging": "#56B4E9",
    "lasso": "#882255",
    "discrete": "#882255",
    "dmmse": "#882255",
    "smoothed": "#DDAA33",
    "gaussian_process": "#44AA99",
    "two_layer": "#555555",
    "tree": "#117733",
    "boosting": "#999933",
}
_SPARE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4F9A", "#555555"),
    *("#882255", "#44AA99", "#999933", "#117733"),
)


def colors(predictors: Sequence[str]) -> dict[str, str]:
    """A colour per predictor that is the same in every figure and study, from Okabe and Ito's colour-blind safe set."""
    chosen = {name: _PREDICTORS[name] for name in predictors if name in _PREDICTORS}
    for name in predictors:  # of ridge_small and ridge_large, the first has the colour of ridge
        color = next((_LEARNERS[begin] for begin in _beginnings(name)), None)
        if name not in chosen and color and color not in chosen.values():
            chosen[name] = color
    free = [color for color in _SPARE if color not in chosen.values()] or list(_SPARE)
    unknown = [name for name in predictors if name not in chosen]
    return chosen | {name: free[i % len(free)] for i, name in enumerate(unknown)}


def quantity_colors(quantities: Sequence[Quantity]) -> list[str]:
    """A colour per quantity: that of the learner which it names, such as `spd_ridge`, as far as they are distinct."""
    names = learners(quantities) or [f"{i}" for i in range(len(quantities))]
    paint = colors(names)
    return [paint[name] for name in names]


def _beginnings(name: str) -> list[str]:
    return [begin for begin in _LEARNERS if f"{name}_".startswith(f"{begin}_")]


def foremost(predictors: Iterable[str]) -> tuple[str, ...]:
    """The predictor to show where there is room for one: the transformer if it is there, explicit learners last."""
    known = list(_PREDICTORS)

    def rank(name: str) -> int:
        return known.index(name) if name in known else len(known) + bool(_beginnings(name))

    return tuple(sorted(predictors, key=rank))[:1]
