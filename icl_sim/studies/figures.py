"""Figures as data: what is drawn over what, resolved against the table that a study left.

A specification may leave its axes "auto": they are then taken from what varies in the table, so that the same figures
serve a sweep over one name, over three, or a single run. `icl_sim.studies.drawing` draws what comes out.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icl_sim.names import require, suggestion
from icl_sim.studies import curves, records
from icl_sim.studies.claims import Crossing, Value
from icl_sim.studies.quantities import Pair, Quantity, absent, at_positions, headlines, learners, pairs, present

if TYPE_CHECKING:
    import pandas as pd

AUTO = "auto"
STEP, PREDICTOR = "step", "predictor"
POSITION, QUANTITY = curves.POSITION, curves.QUANTITY
_OWN = {  # what axes can be beside swept names
    "x": (STEP, POSITION),
    "y": (STEP, POSITION),
    "lines": (PREDICTOR, QUANTITY, STEP, POSITION),
    "columns": (None, PREDICTOR),
}


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", str(name)):
        raise ValueError(f"A figure has the name {name!r}; names of files are 1 to 80 letters, digits, _ and -.")


@dataclasses.dataclass(frozen=True)
class Mark:
    """A vertical line at a number or where one curve falls below another, in the panels that show a metric.

    The latter stands at the geometric mean over the seeds in which it does, and says so where these are not all.

    Attributes:
      crossing: on the figure's x axis, or a number on it.
      label: beside the line.
      metric: whose panels; empty means all.
    """

    crossing: Crossing | float
    label: str
    metric: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves with seed bands: a row per quantity, a column per value of `columns`, a line per value of `lines`.

    Where there is one seed, bands over positions are intervals over sequences, if the table has them.

    Attributes:
      name: of the files.
      title: above the figure.
      quantities: empty means the headline numbers of the table.
      x: "step", "position" (examples seen: the rows `NAME/k` of a quantity) or a swept name; "auto": the swept name
        with the most values, or "step" if nothing is swept.
      columns: a swept name, "predictor" or None; "auto": the next swept name, if there is one.
      lines: "predictor", "quantity" (all in one panel), "step", "position" or a swept name; "auto": the swept name with
        the most values, or "predictor".
      predictors: those to show; empty means all, or the first trained one if neither `lines` nor `columns` is
        "predictor".
      where: values of swept names that the figure does not show; those not given stay at their middle value.
      marks: vertical lines, such as where curves cross.
      log_y: a logarithmic y axis, which leaves out zeros.
      limits: the lower and the upper end of all y axes; empty for what fits.
      x_label: below the x axis, where its name in words does not say it.
    """

    name: str
    title: str
    quantities: tuple[Quantity, ...] = ()
    x: str = AUTO
    columns: str | None = AUTO
    lines: str = PREDICTOR
    predictors: tuple[str, ...] = ()
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    log_y: bool = False
    limits: tuple[float, ...] = ()
    x_label: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.limits and not (len(self.limits) == 2 and self.limits[0] < self.limits[1]):
            raise ValueError(f"The figure {self.name!r} has limits = {self.limits}; they must be two rising numbers.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heat:
    """Seed means as colour: a panel per quantity over `x` and `y`, each a swept name, "step" or "position".

    Attributes:
      y: "auto" is the swept name with the most values after x, or "step".
      predictors: the first of these that has the quantities is shown; empty means any.
    """

    name: str
    title: str
    quantities: tuple[Quantity, ...]
    x: str = AUTO
    y: str = AUTO
    predictors: tuple[str, ...] = ()
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Closest(Heat):
    """Which of the quantities has the lowest seed mean, as colour, over `x` and `y`: the learner that a network is
    nearest to, where each quantity is the distance to one. Each cell says the value, and is the paler the closer the
    next one comes."""


Spec = Lines | Heat
_KINDS = {c.__name__: c for c in (Quantity, Lines, Heat, Closest, Mark, Crossing, Value)}


def to_json(specs: Iterable[Spec]) -> list[dict[str, Any]]:
    """Specifications as plain JSON, as kept in a run's `study.json`."""
    return records.encode(tuple(specs))


def from_json(plain: Sequence[Any]) -> tuple[Spec, ...]:
    """Undoes `to_json`. Raises ValueError for anything else."""
    specs = records.decode(plain, _KINDS)
    if not isinstance(specs, tuple) or not all(isinstance(spec, Spec) for spec in specs):
        raise ValueError("Figures must be a list of records of kind Lines or Heat (or Closest).")
    return specs


# ---------------------------------------------------------------------------------------------- presets

_ERRORS = (
    Quantity("icl_error_high", label="ICL error, common classes"),
    Quantity("icl_error_low", label="ICL error, rare classes"),
    Quantity("iwl_error_high", label="IWL error, common classes"),
    Quantity("iwl_error_low", label="IWL error, rare classes"),
)
_PREFERENCE = (
    Quantity("preference_high", label="Preference, common classes"),
    Quantity("preference_low", label="Preference, rare classes"),
)
_GATE = (
    Quantity("gate_mean", "eval-relevant-high_prob", "Gate, relevant context, common classes"),
    Quantity("gate_mean", "eval-relevant-low_prob", "Gate, relevant context, rare classes"),
    Quantity("gate_mean", "eval-irrelevant-high_prob", "Gate, irrelevant context, common classes"),
    Quantity("gate_mean", "eval-irrelevant-low_prob", "Gate, irrelevant context, rare classes"),
)
_SEQUENCES = (
    Quantity("error", "icl", "In-context error, new classes"),
    Quantity("error", "iwl", "In-weight error, no support"),
    Quantity("restricted_error", "ciwl", "In-weight error, label shown elsewhere"),
    Quantity("error", "swap", "In-context error, labels one further"),
    Quantity("error", "iwl_common", "In-weight error, common classes"),
    Quantity("error", "iwl_rare", "In-weight error, rare classes"),
)
_HEAD = (
    Quantity("previous_token", "icl", "Attention of label tokens to their item (ILA1)"),
    Quantity("label_tokens", "icl", "Attention to label tokens (TLA2)"),
    Quantity("right_labels", "icl", "Attention to the right label (TILA2)"),
    Quantity("induction_strength", "icl", "Induction strength"),
)
_ERROR = (Quantity("normalized_error", "default", "Normalized squared error"),)
_ERROR_LIMITS = (0.0, 1.25)  # 1 is the error of answering 0; few learners are worse, and those much worse
PRESETS: Mapping[str, tuple[Spec, ...]] = {
    "class_mixture": (
        Lines(name="errors", title="In-context and in-weight error", quantities=_ERRORS),
        Lines(name="steps", title="Error while training", quantities=_ERRORS, x=STEP, lines=AUTO),
        Lines(name="preference", title="Preference: 1 in-context, -1 in-weight", quantities=_PREFERENCE),
        Lines(name="gate_curves", title="Gate: weight of the in-weight part g", quantities=_GATE),
        Heat(name="gate", title="Gate, as a map", quantities=_GATE),
        Heat(name="gate_steps", title="Gate while training", quantities=_GATE, y=STEP),
    ),
    "bursty": (
        Lines(name="errors", title="In-context and in-weight error", quantities=_SEQUENCES),
        Lines(name="steps", title="Errors while training", quantities=_SEQUENCES, x=STEP, lines=AUTO),
        Lines(name="mechanism", title="The induction head while training", quantities=_HEAD, x=STEP, lines=QUANTITY),
        Heat(name="phases", title="In-context and in-weight error, as a map", quantities=_SEQUENCES[:4]),
    ),
    "regression": (
        Lines(
            name="positions",
            title="Error over examples in context",
            quantities=_ERROR,
            x=POSITION,
            limits=_ERROR_LIMITS,
        ),
        Lines(name="errors", title="Error", quantities=_ERROR),
        Lines(name="steps", title="Error while training", quantities=_ERROR, x=STEP, lines=AUTO),
        Lines(
            name="positions_steps",
            title="Error over examples in context",
            quantities=_ERROR,
            x=POSITION,
            lines=STEP,
            limits=_ERROR_LIMITS,
        ),
        Lines(
            name="shifts",
            title="Error over examples in context, by evaluation set",
            quantities=(Quantity("normalized_error", "*", "*"),),
            x=POSITION,
            lines=QUANTITY,
            limits=_ERROR_LIMITS,
        ),
        Lines(
            name="distances",
            title="Squared difference of predictions (SPD) to references",
            quantities=(Quantity("spd_*", "default", "*"),),
            x=POSITION,
            lines=QUANTITY,
            log_y=True,
        ),
        Lines(
            name="distances_steps",
            title="SPD to references while training",
            quantities=(Quantity("spd_*", "default", "*"),),
            x=STEP,
            lines=QUANTITY,
            log_y=True,
        ),
        Lines(
            name="implied_weights",
            title="Squared difference of implied weights (ILWD) to references",
            quantities=(Quantity("ilwd_*", "default", "*"),),
            x=POSITION,
            lines=QUANTITY,
        ),
        Closest(
            name="closest",
            title="The reference whose predictions are nearest, over 1 to d - 1 examples",
            quantities=(Quantity("mspd_*", "default", "*"),),
        ),
    ),
}
MEANINGS = {  # what a reader of a report must know
    "class_mixture": "ICL error: labels are shifted and the context holds the query's class, so that only the context "
    "tells: 0 copies it, 1 ignores it. IWL error: labels are as trained and the context does not hold the class, so "
    "that only memory tells. Preference: of the answers to shifted labels that follow either, the share that follows "
    "the context less the share that follows memory: 1 is pure ICL, -1 pure IWL. Control: shifted and not in the "
    "context, so that nobody can know. Common classes share p_high, rare ones the rest; N is the number of distinct "
    "training sequences.",
    "bursty": "Errors are of the query. In-context: bursts of new or held-out classes, which only the context tells; "
    "or all labels one further than in training, where 0 follows the context and 1 memory. In-weight: the labels of "
    "training, and no support: the query's class is not in the context, so that only memory tells. Label shown "
    "elsewhere: it is not there either, but another class carries its label, and the answer is the likeliest of the "
    "context's labels, as in every restricted_error. Chance among all C labels is an error of 1 - 1/C; among those in "
    "the context it is restricted_chance_error. Support is how often the context holds the query's class, by bursts or "
    "by luck. Attention is the first layer's from label tokens to their items (ILA1), and the second layer's from the "
    "query to all label tokens (TLA2) and to those of the right label (TILA2).",
    "regression": "Normalized error: squared error of predictions divided by the task's scale (the dimension, for "
    "linear functions), so that 1 is the error of always answering 0 where inputs are N(0, I); after k examples, or "
    "as a mean over all k that are asked. Clean error: the same against targets without noise. SPD to a reference: "
    "squared difference of the predictions of both on the same sequences, divided by the scale; ILWD: of the weights "
    "that their predictions imply. σ is the standard deviation of the noise of targets, d the dimension, M the number "
    "of distinct functions of pretraining.",
}
DEFAULT: tuple[Spec, ...] = (
    Lines(name="results", title="Results"),
    Lines(name="steps", title="Results while training", x=STEP, lines=AUTO),
)
_AXES = {  # in words, and the symbol of the paper
    STEP: ("training steps", ""),
    POSITION: ("in-context examples", "k"),
    "task.num_sequences": ("training sequences", "N"),
    "task.context_length": ("context length", "L"),
    "task.num_relevant": ("relevant context items", "L_rel"),
    "task.p_high": ("share of common classes", "p_high"),
    "task.p_relevant": ("share of relevant contexts", "p_relevant"),
    "task.inputs.noise": ("input noise", "σ"),
    "task.label_noise": ("label noise", "ε"),
    "task.num_low": ("number of rare classes", "n_L"),
    "task.exposures": ("exposures", "N_x"),
    "task.irrelevant": ("irrelevant context items", "k"),
    "task.p_bursty": ("share of sequences with bursts", "p_bursty"),
    "task.p_novel": ("share of bursts of new classes", "p_novel"),
    "task.bursts": ("bursts", ""),
    "task.num_classes": ("classes", "K"),
    "task.zipf_exponent": ("Zipf exponent", "α"),
    "task.multiplicity": ("labels per class", ""),
    "task.inputs.exemplars": ("exemplars per class", ""),
    "training.l2": ("L2 penalty", ""),
    "task.noise": ("noise of targets", "σ"),
    "task.dim": ("dimension", "d"),
    "task.function.pool": ("pretraining tasks", "M"),
    "task.function.scale": ("scale of weights", "τ"),
    "task.prompts": ("training prompts", ""),
    "task.min_length": ("shortest block", ""),
    "task.seen": ("concepts of documents", ""),
}
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


def axis_label(name: str) -> str:
    """A name in words, as under an axis."""
    words = re.sub(r"^(task|predictors\.\w+)\.", "", name).replace("_", " ").replace(".", " ")
    return " ".join(_AXES[name]).strip() if name in _AXES else words


def x_text(spec: Spec) -> str:
    """What is below a figure's x axis."""
    return spec.x_label if isinstance(spec, Lines) and spec.x_label else axis_label(spec.x)


def symbol(name: str) -> str:
    """A name as short as in a formula, as in `N = 64`."""
    return _AXES[name][1] if name in _AXES and _AXES[name][1] else axis_label(name)


def number(value: Any) -> str:
    """A value on an axis or in a caption; powers of two from 64 on as such, (2, 2, 2, 2) as 4 × 2."""
    if hasattr(value, "item"):
        value = value.item()  # of numpy
    if isinstance(value, str) and len(set(parts := value.split(", "))) < len(parts):  # a tuple, spelt out
        return ", ".join(part if count == 1 else f"{count} × {part}" for part, count in _runs(parts))
    if isinstance(value, bool | str) or value is None or isinstance(value, float) and math.isnan(value):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value >= 64 and value == 2 ** round(math.log2(value)):
        return "2" + str(round(math.log2(value))).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 1000 else f"{value:g}"


def _runs(parts: Sequence[str]) -> list[tuple[str, int]]:
    """What follows itself, and how often."""
    return [(part, len(list(group))) for part, group in itertools.groupby(parts)]


# ---------------------------------------------------------------------------------------------- resolution


def chosen(specs: Sequence[Spec], task_kind: str | None, table: pd.DataFrame) -> tuple[Spec, ...]:
    """The figures of a study without "auto": its own, else its family's, else the default; those with data only."""
    specs = tuple(specs) or PRESETS.get(task_kind or "", DEFAULT)
    resolved = [spec for spec in (resolve(spec, table) for spec in specs) if spec is not None]
    # Two figures that differ over a sweep may be one and the same for a single run.
    return tuple({repr(dataclasses.replace(s, name="same", title="")): s for s in reversed(resolved)}.values())[::-1]


def axes_of(spec: Spec) -> tuple[str | None, ...]:
    """What the axes of a figure are, its lines and columns among them."""
    return (spec.x, spec.y) if isinstance(spec, Heat) else (spec.x, spec.columns, spec.lines)


def rows_of(spec: Spec, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a figure's quantities, with the number of each as `quantity`, and positions if it is about these."""
    pairs = [(q.metric, q.eval_set) for q in spec.quantities]
    rows = (curves.by_position if POSITION in axes_of(spec) else curves.pick)(table, pairs)
    number = {pair: i for i, pair in enumerate(pairs)}
    pair = zip(rows["metric"], rows["eval_set"], strict=True)
    return rows.assign(**{QUANTITY: [number[one] for one in pair]})


def resolve(spec: Spec, table: pd.DataFrame) -> Spec | None:
    """The specification with its axes named and every other swept name pinned; None if the table has nothing for it."""
    quantities = shown(spec, pairs(table))
    if not quantities:
        return None
    check_axes(spec, curves.swept_names(table))
    spec = dataclasses.replace(spec, quantities=quantities)
    rows = rows_of(spec, table)
    rows = rows[rows["predictor"].isin(spec.predictors)] if spec.predictors else rows
    rows = curves.where(rows, spec.where)  # a narrowed sweep may have nothing there
    varying = [name for name in curves.swept_names(rows) if rows[name].nunique() > 1]
    trains = rows["step"].max() > 0
    if rows.empty:
        return None
    if not (varying or trains or POSITION in axes_of(spec)):  # a single number per quantity and predictor
        axes = {"x": STEP, "columns": None, "lines": PREDICTOR}
        return _pinned(spec, rows, **axes) if isinstance(spec, Lines) else None

    def take(wanted: str | None, otherwise: str | None) -> str | None:
        """A name that still varies, or the fallback."""
        name = (varying[0] if varying else otherwise) if wanted == AUTO else wanted
        if name in varying:
            varying.remove(name)
        return name

    if isinstance(spec, Heat):
        if not varying and POSITION not in (spec.x, spec.y):
            return None
        axes = {"x": take(spec.x, None), "y": take(spec.y, STEP)}
        if axes["x"] == axes["y"] or STEP in axes.values() and not trains:
            return None
        return _pinned(spec, rows, **axes, predictors=_foremost(_having(rows, axes.values())))
    axes = {"x": take(spec.x, STEP), "lines": take(spec.lines, PREDICTOR), "columns": take(spec.columns, None)}
    if STEP in axes.values() and not trains:
        return None
    predictors = spec.predictors or tuple(rows["predictor"].unique())
    if PREDICTOR not in (axes["lines"], axes["columns"]):
        able = _having(rows[rows["step"] > 0] if STEP in axes.values() else rows, axes.values())
        predictors = _foremost([p for p in predictors if p in able])
    return _pinned(spec, rows, **axes, predictors=predictors)


def shown(spec: Spec, found: Sequence[Pair]) -> tuple[Quantity, ...]:
    """The quantities of a figure among what is measured; none where they are too few to draw."""
    known = _asked(spec, found)
    together = isinstance(spec, Lines) and spec.lines == QUANTITY
    quantities = present(spec.quantities or headlines(known), known, together)
    return () if isinstance(spec, Closest) and len(quantities) < 2 else quantities


def unmeasured(spec: Spec, found: Sequence[Pair]) -> list[str]:
    """Sentences about the quantities of a figure that are not among what is measured."""
    known = _asked(spec, found)
    told = absent(spec.name, spec.quantities, known, POSITION in axes_of(spec))
    if not told and isinstance(spec, Closest) and len(one := present(spec.quantities, known)) == 1:
        rest = f"and this study measures a single one, {one[0].metric} on {one[0].eval_set}."
        told = [f"The figure {spec.name!r} shows which of its quantities is the lowest, {rest}"]
    return told


def _asked(spec: Spec, found: Sequence[Pair]) -> list[Pair]:
    """What of all that is measured a figure asks for: that at positions, if it is about these."""
    return at_positions(found) if POSITION in axes_of(spec) else list(found)


def check_axes(spec: Spec, names: Iterable[str]) -> None:
    """Raises ValueError if the figure has an axis that is not among the swept names."""
    swept = (*(name for name in names if name != "seed"), "seed")
    for name in ("x", "y") if isinstance(spec, Heat) else ("x", "columns", "lines"):
        axis = getattr(spec, name)
        if axis not in (AUTO, *_OWN[name], *swept):
            allowed = suggestion(axis, (*swept, *map(str, _OWN[name]), AUTO))
            raise ValueError(f"The figure {spec.name!r} has {name} = {axis!r}; {allowed}")
    for name in spec.where:
        if name == PREDICTOR:
            told = f"the predictors of a figure are its field, as in predictors=({str(spec.where[name])!r},)."
            raise ValueError(f"The figure {spec.name!r} has where = {dict(spec.where)}; {told}")
        require(f"A name in `where` of the figure {spec.name!r}", name, swept)


def _having(rows: pd.DataFrame, axes: Iterable[str | None]) -> list[str]:
    """The predictors whose rows differ along these axes: a setting of one predictor is null for all others."""
    for name in axes:
        rows = rows[rows[name].notna()] if name in curves.swept_names(rows) else rows
    return list(rows["predictor"].unique())


def _foremost(predictors: Iterable[str]) -> tuple[str, ...]:
    """The predictor to show where there is room for one: the transformer if it is there, explicit learners last."""
    known = list(_PREDICTORS)

    def rank(name: str) -> int:
        return known.index(name) if name in known else len(known) + bool(_beginnings(name))

    return tuple(sorted(predictors, key=rank))[:1]


def _pinned(spec: Spec, rows: pd.DataFrame, **axes: Any) -> Spec:
    """The resolved specification; swept names that no axis shows stay at their middle value, but for those that were
    swept together with one that an axis shows."""
    where, shown = dict(spec.where), [name for name in axes.values() if isinstance(name, str) and name in rows]
    for name in curves.swept_names(rows):
        if name in shown or name in where or any(_follows(name, other, rows) for other in shown):
            continue
        # Of what the others leave: names that were swept together have values in common only at the same points.
        left = curves.where(rows, {known: value for known, value in where.items() if known in rows})[name]
        values = sorted(left.dropna().unique(), key=lambda value: (isinstance(value, str), value))
        where |= {name: values[len(values) // 2]} if values else {}
    return dataclasses.replace(spec, where=where, **axes)


def _follows(name: str, other: str, rows: pd.DataFrame) -> bool:
    """Whether a swept name has one value for each value of another."""
    return other in curves.swept_names(rows) and bool((rows.groupby(other)[name].nunique(dropna=False) == 1).all())
