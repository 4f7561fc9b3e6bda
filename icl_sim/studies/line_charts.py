"""Draws curves with their bands in panels: figures of kind `Lines`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from icl_sim.studies import curves, measures, palette, wording
from icl_sim.studies.canvas import INK, Scale, bounds, canvas, common_range, head
from icl_sim.studies.claims import Crossing
from icl_sim.studies.figures import POSITION, PREDICTOR, QUANTITY, STEP, Lines
from icl_sim.studies.quantities import Quantity

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LINES = 7  # of steps or positions; of more, evenly spaced ones are drawn
_DECADES = 6  # that a logarithmic axis spans at most: below that is rounding


def lines(spec: Lines, rows: pd.DataFrame, evaluated: pd.DataFrame, metrics: Collection[str]) -> Figure:
    """One figure of curves.

    Args:
      rows: what is drawn, of `resolution.rows_of`.
      evaluated: the table that marks are read from, crossings of other predictors' curves among them.
      metrics: names of all there are in the run.
    """
    values = _values(rows, spec.columns) if spec.columns else [None]
    together = spec.lines == QUANTITY
    shown: Sequence[Quantity | None] = [None] if together else spec.quantities  # None: all of them
    panels = [[(q, value) for value in values] for q in shown]
    if spec.limits and rows["value"].median() > spec.limits[1]:  # they would hide what is to be seen
        spec = dataclasses.replace(spec, limits=())
    mixed = spec.columns is None and len(shown) > 1
    if mixed:  # a square of panels rather than a tower
        flat = [row[0] for row in panels]
        panels = [flat[i : i + 2] for i in range(0, len(flat), 2)]
    wrapped = len(shown) == 1 and len(values) > 4
    if wrapped:
        panels = [panels[0][i : i + 4] for i in range(0, len(values), 4)]
    columns = max(len(row) for row in panels)
    width, height = {1: 4.2, 2: 3.3}.get(columns, 2.4), 2.1 if len(panels) * columns > 1 else 2.7
    sharey = False if mixed else "row"
    figure, grid = canvas(len(panels), columns, width, height, spec.title, sharex=True, sharey=sharey)
    scale = Scale(spec.x, rows[spec.x].tolist())
    named, label, paint = _named(spec, rows)

    def seen(quantity: Quantity | None, value: Any) -> pd.DataFrame:
        here = rows if quantity is None else rows[rows[QUANTITY] == spec.quantities.index(quantity)]
        return curves.where(here, {spec.columns: value}) if spec.columns else here

    for i, row in enumerate(panels):
        found = [None if spec.log_y else bounds(seen(quantity, value)) for quantity, value in row]
        if not mixed:  # one for the row
            found = [None if None in found else (min(low for low, _ in found), 1.0)] * len(row)  # type: ignore[misc]
        ends = []
        for j, (quantity, value) in enumerate(row):
            here = seen(quantity, value)
            grid[i, j].set_yscale("log" if spec.log_y else "linear")
            inside = common_range([quantity] if quantity else spec.quantities, metrics)
            drawn = [_line(grid[i, j], here[here[spec.lines] == n], spec.x, scale, paint[n], inside) for n in named]
            ends.append(drawn)
        for j, (quantity, value) in enumerate(row):  # once all is drawn that shares the axis
            axes = grid[i, j]
            _limit(axes, spec, found[j], [axes] if mixed else grid[i, : len(row)])
            if j == len(row) - 1:
                _label_ends(
                    axes,
                    [(end, label(n), paint[n]) for end, n in zip(ends[j], named, strict=True)],
                    alone=j == columns - 1,
                )
            _title(axes, quantity, spec.columns, value, 0 if wrapped else i, j)
            _mark(axes, spec, quantity, value, evaluated, scale)
            scale.dress(axes, most=5 if columns > 2 else 8)
            if i == len(panels) - 1 or j >= len(panels[i + 1]):  # nothing below
                axes.tick_params(labelbottom=True)
                axes.set_xlabel(wording.x_text(spec))
    for axes in grid.ravel()[sum(map(len, panels)) :]:
        axes.set_visible(False)
    if spec.lines not in (PREDICTOR, QUANTITY):
        head(figure, f"{spec.title}, by {wording.axis_label(spec.lines)}")
    return figure


def _values(rows: pd.DataFrame, column: str) -> list[Any]:
    """The values of a column in order, of words such as predictors in that of the table."""
    values = list(rows[column].dropna().unique())
    return values if column == PREDICTOR else sorted(values)


def _named(spec: Lines, rows: pd.DataFrame) -> tuple[list[Any], Callable[[Any], str], dict[Any, Any]]:
    """What has a line, how it is called, and its colour."""
    named = _values(rows, spec.lines)
    if spec.lines == PREDICTOR:
        return named, str, palette.colors(named)
    if spec.lines == QUANTITY:
        paint = dict(enumerate(palette.quantity_colors(spec.quantities)))
        return named, lambda i: spec.quantities[i].text, paint
    if spec.lines in (STEP, POSITION) and len(named) > _MOST_LINES:
        ranks = np.linspace(0, len(named) - 1, _MOST_LINES).round().astype(int)
        named = [named[rank] for rank in ranks]
    return named, wording.number, _ramp(named)


def _limit(axes: Axes, spec: Lines, limits: tuple[float, float] | None, alike: Iterable[Axes]) -> None:
    """Sets the ends of the y axis: the figure's own, else these and what lies beyond in axes alike, or what fits."""
    if spec.limits:
        low, high = spec.limits
        axes.set_ylim(low - (0.0 if spec.log_y else 0.04 * (high - low)), high)
    elif limits is not None:
        ends = np.concatenate([limits, *(one.dataLim.intervaly for one in alike)])
        low, high = (extreme(ends[np.isfinite(ends)]) for extreme in (np.min, np.max))
        margin = 0.04 * (high - low)
        axes.set_ylim(low - margin, high + margin)
    elif spec.log_y:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, high / 10**_DECADES), high)


def _title(axes: Axes, quantity: Quantity | None, columns: str | None, value: Any, i: int, j: int) -> None:
    if columns is None:
        axes.set_title(quantity.text if quantity else "")
        return
    if i == 0:
        axes.set_title(value if columns == PREDICTOR else f"{wording.symbol(columns)} = {wording.number(value)}")
    if j == 0 and quantity:
        axes.set_ylabel(quantity.text.replace(", ", "\n"))


def _line(axes: Axes, rows: pd.DataFrame, x: str, scale: Scale, color: Any, inside: tuple[float, float]) -> float:
    """Draws one curve with its band, cut to what is inside of a range, and returns where it ends, NaN if there is
    nothing to draw."""
    if rows.empty:
        return math.nan
    rows = rows.fillna({x: 0})  # null: what x sets is another predictor's
    curve = curves.curve(rows, x)
    if curve.x == (0,) and 0 not in scale.values and len(scale.values) > 1:  # nothing moves it: the same all along
        axes.axhline(curve.mean[0], color=color, linestyle=(0, (4, 2)), linewidth=1.2)
        return curve.mean[0]
    keep = [i for i, point in enumerate(curve.x) if point in scale.values]
    at = np.array([scale.at(curve.x[i]) for i in keep])
    mean, low, high = (part[keep] for part in (curve.mean, curve.low, curve.high))
    low, high = low.clip(*inside), high.clip(*inside)
    if axes.get_yscale() == "log":  # which has no place for what is not positive: bands that reach it go to the edge
        mean, high, low = (*(np.where(part > 0, part, math.nan) for part in (mean, high)), low.clip(0))
        if np.isnan(mean).all():
            return math.nan
    marker = "o" if len(at) <= 12 else None
    axes.plot(at, mean, color=color, marker=marker, markersize=3.2, markeredgewidth=0)
    if len(at) > 1:
        axes.fill_between(at, low, high, color=color, alpha=0.16, linewidth=0)
    else:
        axes.errorbar(at, mean, [mean - low, high - mean], color=color, capsize=2)
    finite = mean[~np.isnan(mean)]
    return finite[-1] if len(finite) else math.nan


def _mark(
    axes: Axes, spec: Lines, quantity: Quantity | None, value: Any, evaluated: pd.DataFrame, scale: Scale
) -> None:
    """The marks of one panel; one whose curves never cross, or which the run does not have, is left out."""
    panel = {**spec.where, **({spec.columns: value} if spec.columns else {})}
    metrics = ("", *(q.metric for q in ([quantity] if quantity else spec.quantities)))
    for number, mark in enumerate(mark for mark in spec.marks if mark.metric in metrics):
        if not isinstance(mark.crossing, Crossing):
            _vertical(axes, scale.between(float(mark.crossing)), mark.label, number)
            continue
        try:
            found = measures.read(measures.pinned(mark.crossing, panel), evaluated, evaluated, {}).per_seed
        except measures.Unanswerable:
            continue
        seeds, found = len(found), found[np.isfinite(found)]
        if found.empty:
            continue
        label = mark.label if len(found) == seeds else f"{mark.label} ({len(found)} of {seeds} seeds)"
        _vertical(axes, scale.between(float(np.exp(np.log(found).mean()))), label, number)


def _vertical(axes: Axes, at: float, label: str, number: int) -> None:
    axes.axvline(at, color=INK, linestyle=((0, (2, 2)), (0, (5, 2)))[number % 2], linewidth=1.0)
    where = {"xytext": (3, -2 - 9 * number), "textcoords": "offset points", "va": "top", "fontsize": 6.8}
    axes.annotate(label, (at, 1), xycoords=axes.get_xaxis_transform(), color=INK, **where)


def _label_ends(axes: Axes, ends: list[tuple[float, str, Any]], alone: bool, gap: float = 0.085) -> None:
    """Names the curves at their right ends; names that would overlap are pushed apart and led back by a thin line.

    Args:
      alone: whether the names need room of their own, which an empty panel to the right gives otherwise.
    """
    ends = sorted((end for end in ends if not math.isnan(end[0])), key=lambda end: end[0])
    if not ends:
        return
    axes.get_ylim()  # settles the limits
    height = axes.transLimits.transform(axes.transScale.transform([(1, end) for end, _, _ in ends]))[:, 1]
    wanted = height.clip(0, 1)
    gap = min(gap, 1 / len(ends))
    placed = wanted.copy()
    for _ in range(200):  # relax: push neighbours apart, stay inside the panel
        for i in range(len(placed) - 1):
            short = gap - (placed[i + 1] - placed[i])
            if short > 0:
                placed[i] -= short / 2
                placed[i + 1] += short / 2
        placed[0], placed[-1] = max(placed[0], 0.02), min(placed[-1], 0.98)
    for (_, name, color), y_end, y_text in zip(ends, wanted, placed, strict=True):
        outside = {"transform": axes.transAxes, "color": color, "clip_on": False}
        axes.plot([1.01, 1.05], [y_end, y_text], linewidth=0.6, **outside)
        axes.text(1.06, y_text, name, fontsize=7.6, va="center", **outside).set_in_layout(alone)


def _ramp(names: Sequence[Any]) -> dict[Any, Any]:
    import matplotlib

    ramp = matplotlib.colormaps["viridis"]
    return {name: ramp(0.86 * i / max(len(names) - 1, 1)) for i, name in enumerate(names)}
