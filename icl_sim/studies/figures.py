"""Figures as data: what is drawn over what, resolved against the table that a study left.

A specification may leave its axes "auto": they are then taken from what varies in the table, so that the same figures
serve a sweep over one name, over three, or a single run. `icl_sim.studies.drawing` draws what comes out.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icl_sim.names import require, suggestion
from icl_sim.studies import curves, records
from icl_sim.studies.claims import Crossing, Value

if TYPE_CHECKING:
    import pandas as pd

AUTO = "auto"
STEP = "step"
PREDICTOR = "predictor"


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What one panel shows."""

    metric: str
    eval_set: str = "summary"
    label: str = ""

    @property
    def text(self) -> str:
        return self.label or self.metric.replace("_", " ") + (
            "" if self.eval_set == "summary" else f", {self.eval_set}"
        )


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", str(name)):
        raise ValueError(f"A figure has the name {name!r}; names of files are 1 to 80 letters, digits, _ and -.")


@dataclasses.dataclass(frozen=True)
class Mark:
    """A vertical line where one curve falls below another, in the panels that show a metric.

    It stands at the geometric mean over the seeds in which it does, and says so where these are not all.

    Attributes:
      crossing: on the figure's x axis.
      label: beside the line.
      metric: whose panels; empty means all.
    """

    crossing: Crossing
    label: str
    metric: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves with seed bands: a row per quantity, a column per value of `columns`, a line per value of `lines`.

    Attributes:
      name: of the files.
      title: above the figure.
      quantities: empty means the headline numbers of the table.
      x: "step", or a swept name; "auto": the swept name with the most values, or "step" if nothing is swept.
      columns: a swept name or None; "auto": the next swept name, if there is one.
      lines: "predictor" or a swept name; "auto": the swept name with the most values, or "predictor".
      predictors: those to show; empty means all, or the first trained one if `lines` is a swept name.
      where: values of swept names that the figure does not show; those not given stay at their middle value.
      marks: where curves cross.
      log_y: a logarithmic y axis, which leaves out zeros.
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

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heat:
    """Seed means as colour: a panel per quantity over `x` and `y`, each a swept name or "step".

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


Spec = Lines | Heat
_KINDS = {c.__name__: c for c in (Quantity, Lines, Heat, Mark, Crossing, Value)}


def to_json(specs: Iterable[Spec]) -> list[dict[str, Any]]:
    """Specifications as plain JSON, as kept in a run's `study.json`."""
    return records.encode(tuple(specs))


def from_json(plain: Sequence[Any]) -> tuple[Spec, ...]:
    """Undoes `to_json`. Raises ValueError for anything else."""
    specs = records.decode(plain, _KINDS)
    if not isinstance(specs, tuple) or not all(isinstance(spec, Spec) for spec in specs):
        raise ValueError("Figures must be a list of records of kind Lines or Heat.")
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
PRESETS: Mapping[str, tuple[Spec, ...]] = {
    "class_mixture": (
        Lines(name="errors", title="In-context and in-weight error", quantities=_ERRORS),
        Lines(name="steps", title="Error while training", quantities=_ERRORS, x=STEP, lines=AUTO),
        Lines(name="preference", title="Preference: 1 in-context, -1 in-weight", quantities=_PREFERENCE),
        Lines(name="gate_curves", title="Gate: weight of the in-weight part g", quantities=_GATE),
        Heat(name="gate", title="Gate, as a map", quantities=_GATE),
        Heat(name="gate_steps", title="Gate while training", quantities=_GATE, y=STEP),
    )
}
MEANINGS = {  # what a reader of a report must know
    "class_mixture": "ICL error: labels are shifted and the context holds the query's class, so that only the context "
    "tells: 0 copies it, 1 ignores it. IWL error: labels are as trained and the context does not hold the class, so "
    "that only memory tells. Preference: of the answers to shifted labels that follow either, the share that follows "
    "the context less the share that follows memory: 1 is pure ICL, -1 pure IWL. Control: shifted and not in the "
    "context, so that nobody can know. Common classes share p_high, rare ones the rest; N is the number of distinct "
    "training sequences."
}
DEFAULT: tuple[Spec, ...] = (
    Lines(name="results", title="Results"),
    Lines(name="steps", title="Results while training", x=STEP, lines=AUTO),
)
_AXES = {  # in words, and the symbol of the paper
    STEP: ("training steps", ""),
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
}
_PREDICTORS = {  # the foremost first
    "transformer": "#0072B2",
    "gated": "#CC79A7",
    "gated_two_phase": "#7A4F9A",
    "ic_baseline": "#009E73",
    "iw_baseline": "#E69F00",
    "in_weight": "#D55E00",
    "in_context": "#56B4E9",
}
_SPARE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4F9A", "#555555")


def colors(predictors: Sequence[str]) -> dict[str, str]:
    """A colour per predictor that is the same in every figure and study, from Okabe and Ito's colour-blind safe set."""
    chosen = {name: _PREDICTORS[name] for name in predictors if name in _PREDICTORS}
    free = [color for color in _SPARE if color not in chosen.values()] or list(_SPARE)
    unknown = [name for name in predictors if name not in chosen]
    return chosen | {name: free[i % len(free)] for i, name in enumerate(unknown)}


def axis_label(name: str) -> str:
    """A name in words, as under an axis."""
    words = name.removeprefix("task.").replace("_", " ").replace(".", " ")
    return " ".join(_AXES[name]).strip() if name in _AXES else words


def symbol(name: str) -> str:
    """A name as short as in a formula, as in `N = 64`."""
    return _AXES[name][1] if name in _AXES and _AXES[name][1] else axis_label(name)


def number(value: Any) -> str:
    """A value on an axis or in a caption; powers of two from 64 on as such."""
    if hasattr(value, "item"):
        value = value.item()  # of numpy
    if isinstance(value, bool | str) or value is None or isinstance(value, float) and math.isnan(value):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value >= 64 and value == 2 ** round(math.log2(value)):
        return "2" + str(round(math.log2(value))).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 1000 else f"{value:g}"


# ---------------------------------------------------------------------------------------------- resolution


def chosen(specs: Sequence[Spec], task_kind: str | None, table: pd.DataFrame) -> tuple[Spec, ...]:
    """The figures of a study without "auto": its own, else its family's, else the default; those with data only."""
    specs = tuple(specs) or PRESETS.get(task_kind or "", DEFAULT)
    resolved = [spec for spec in (resolve(spec, table) for spec in specs) if spec is not None]
    # Two figures that differ over a sweep may be one and the same for a single run.
    return tuple({repr(dataclasses.replace(s, name="same", title="")): s for s in reversed(resolved)}.values())[::-1]


def headlines(table: pd.DataFrame, most: int = 4) -> tuple[Quantity, ...]:
    """What to show when nobody said: the task's summaries, else errors, else whatever is there."""
    evaluations = table[table["eval_set"] != "training"]
    pairs = evaluations[["eval_set", "metric"]].drop_duplicates()
    for some in (pairs["eval_set"] == "summary", pairs["metric"] == "error", pairs["metric"] != ""):
        if some.any():
            return tuple(Quantity(metric, eval_set) for eval_set, metric in pairs[some].to_numpy()[:most])
    return ()


def resolve(spec: Spec, table: pd.DataFrame) -> Spec | None:
    """The specification with its axes named and every other swept name pinned; None if the table has nothing for it."""
    present = set(map(tuple, table[["metric", "eval_set"]].drop_duplicates().to_numpy()))
    quantities = spec.quantities or headlines(table)
    quantities = tuple(q for q in quantities if (q.metric, q.eval_set) in present)
    if not quantities:
        return None
    check_axes(spec, curves.swept_names(table))
    rows = curves.pick(table, [(q.metric, q.eval_set) for q in quantities])
    rows = rows[rows["predictor"].isin(spec.predictors)] if spec.predictors else rows
    rows = curves.where(rows, spec.where)  # a narrowed sweep may have nothing there
    varying = [name for name in curves.swept_names(rows) if rows[name].nunique() > 1]
    trains = rows["step"].max() > 0
    if rows.empty:
        return None
    if not (varying or trains):  # a single number per quantity and predictor
        axes = {"x": STEP, "columns": None, "lines": PREDICTOR}
        return _pinned(spec, rows, quantities, **axes) if isinstance(spec, Lines) else None

    def take(wanted: str | None, otherwise: str | None) -> str | None:
        """A name that still varies, or the fallback."""
        name = (varying[0] if varying else otherwise) if wanted == AUTO else wanted
        if name in varying:
            varying.remove(name)
        return name

    if isinstance(spec, Heat):
        if not varying:
            return None
        x = take(spec.x, None)
        y = take(spec.y, STEP)
        if x == y or STEP in (x, y) and not trains:
            return None
        return _pinned(spec, rows, quantities, x=x, y=y, predictors=_foremost(rows["predictor"].unique()))
    if spec.x == STEP and not trains:
        return None
    x = take(spec.x, STEP)
    lines = take(spec.lines, PREDICTOR)
    columns = take(spec.columns, None)
    predictors = spec.predictors or tuple(rows["predictor"].unique())
    if lines != PREDICTOR:
        trained = rows[rows["step"] > 0]["predictor"].unique() if x == STEP else rows["predictor"].unique()
        predictors = _foremost([p for p in predictors if p in trained])
    return _pinned(spec, rows, quantities, x=x, lines=lines, columns=columns, predictors=predictors)


def check_axes(spec: Spec, names: Iterable[str]) -> None:
    """Raises ValueError if the figure has an axis that is not among the swept names."""
    swept = (*(name for name in names if name != "seed"), "seed")
    axes = {"x": STEP, "y": STEP} if isinstance(spec, Heat) else {"x": STEP, "columns": None, "lines": PREDICTOR}
    for name, own in axes.items():
        axis = getattr(spec, name)
        if axis not in (AUTO, own, *swept):
            allowed = suggestion(axis, (*swept, str(own), AUTO))
            raise ValueError(f"The figure {spec.name!r} has {name} = {axis!r}; {allowed}")
    for name in spec.where:
        require(f"A name in `where` of the figure {spec.name!r}", name, swept)


def _foremost(predictors: Iterable[str]) -> tuple[str, ...]:
    """The predictor to show where there is room for one: the transformer, if it is there."""
    known = list(_PREDICTORS)
    return tuple(sorted(predictors, key=lambda name: known.index(name) if name in known else len(known)))[:1]


def _pinned(spec: Spec, rows: pd.DataFrame, quantities: tuple[Quantity, ...], **axes: Any) -> Spec:
    """The resolved specification; swept names that no axis shows stay at their middle value."""
    where = dict(spec.where)
    for name in curves.swept_names(rows):
        if name not in axes.values() and name not in where:
            values = sorted(rows[name].unique(), key=lambda value: (isinstance(value, str), value))
            where[name] = values[len(values) // 2]
    return dataclasses.replace(spec, quantities=quantities, where=where, **axes)
