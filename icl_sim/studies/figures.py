"""Figures as data: what is drawn over what.

A specification may leave its axes "auto": they are then taken from what varies in the table that a study left
(`icl_sim.studies.resolution`), so that the same figures serve a sweep over one name, over three, or a single run.
`icl_sim.studies.drawing` draws what comes out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icl_sim.names import require, suggestion
from icl_sim.studies import curves, records
from icl_sim.studies.claims import Crossing, Value
from icl_sim.studies.quantities import Quantity

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


def axes_of(spec: Spec) -> tuple[str | None, ...]:
    """What the axes of a figure are, its lines and columns among them."""
    return (spec.x, spec.y) if isinstance(spec, Heat) else (spec.x, spec.columns, spec.lines)


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
