"""Draws resolved figure specifications with matplotlib, as PNG and SVG."""

from __future__ import annotations

import dataclasses
import io
import math
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icl_sim.studies import curves, figures, measures, palette, resolution, wording
from icl_sim.studies.claims import Crossing
from icl_sim.studies.figures import POSITION, PREDICTOR, QUANTITY, STEP, Closest, Heat, Lines, Spec
from icl_sim.studies.quantities import Quantity, known_range, learners

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

INK, FAINT = "#22262b", "#8a9099"
_MOST_LINES = 7  # of steps or positions; of more, evenly spaced ones are drawn
_DECADES = 6  # that a logarithmic axis spans at most: below that is rounding
TITLE = {"x": 0.012, "ha": "left", "fontsize": 12, "fontweight": "bold"}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "svg.hashsalt": "icl_sim",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def draw(spec: Spec, table: pd.DataFrame, rule: str = "lowest_loss") -> Figure:
    """One figure of a resolved specification (`resolution.resolve`)."""
    import matplotlib

    over_steps = STEP in figures.axes_of(spec)
    if over_steps:
        evaluated = curves.with_last_step(table[table["eval_set"] != "training"])
    else:
        evaluated = curves.select(table, rule)
    rows = resolution.rows_of(spec, curves.where(evaluated, spec.where))
    with matplotlib.rc_context(STYLE):
        if isinstance(spec, Closest):
            figure = _closest(spec, rows)
        else:
            metrics = set(table["metric"].unique())
            figure = _heat(spec, rows, metrics) if isinstance(spec, Heat) else _lines(spec, rows, evaluated, metrics)
        told = "every checkpoint as it was" if over_steps else curves.rule_told(table, rule)
        _small_print(figure, spec, rows, told)
    return figure


def save(figure: Figure, folder: Path, name: str) -> str:
    """Writes name.png and name.svg and returns the SVG."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(folder / f"{name}.png", dpi=160)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    (folder / f"{name}.svg").write_text(buffer.getvalue(), encoding="utf-8")
    return buffer.getvalue()


def _canvas(rows: int, columns: int, width: float, height: float, title: str, **kwargs: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure  # not pyplot: no global state, no window
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(width * columns + 1.6, height * rows + 0.9), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    )
    _head(figure, title)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def _head(figure: Figure, title: str) -> None:
    lines = textwrap.wrap(title, int(9.5 * figure.get_figwidth()))
    figure.suptitle("\n".join(lines), **TITLE)


def _small_print(figure: Figure, spec: Spec, rows: pd.DataFrame, rule: str) -> None:
    names = [n for n in ("predictor", *curves.swept_names(rows)) if n in rows]
    seeds = rows.groupby(names, dropna=False)["seed"].nunique()
    few, many = (int(seeds.min()), int(seeds.max())) if len(seeds) else (0, 0)
    count = f"{many} seed" + ("s" if many != 1 else "") if few == many else f"{few} to {many} seeds"
    steps = int(rows["last_step"].max()) if len(rows) else 0
    what = "Mean" if isinstance(spec, Heat) or many < 2 else "Mean and 95 % t-interval"
    parts = [f"{what} over {count}, {steps:,} steps" if steps else f"{what} over {count}"]
    if few == 1 and "from" in rows and isinstance(spec, Lines):
        parts += [f"{'bands' if many == 1 else 'of one seed'}: 90 % bootstrap interval over its sequences"]
    if any([_led_to_edge(axes) for axes in figure.axes]):
        parts += ["intervals that reach 0 or below go to the edge"]
    parts += [rule] if steps else []
    parts += [f"{wording.symbol(name)} = {wording.number(value)}" for name, value in spec.where.items()]
    if not (isinstance(spec, Lines) and PREDICTOR in (spec.lines, spec.columns)):
        parts += [", ".join(spec.predictors)]
    if isinstance(spec, Closest):
        parts += ["the paler, the closer comes the second lowest"]
    text = parts[0]
    for part in parts[1:]:  # lines that fit the width, broken between parts
        room = 19 * figure.get_figwidth() - len(text.rpartition("\n")[2])
        text += (";\n" if len(part) + 3 > room else "; ") + part
    figure.supxlabel(f"{text}.", x=0.012, ha="left", fontsize=6.8, color="#6b7178")


def _led_to_edge(axes: Axes) -> bool:
    """Whether intervals on a logarithmic axis end where it has no place; these ends are moved to its edge."""
    paths = [path for collection in axes.collections for path in collection.get_paths()]
    missed = axes.get_yscale() == "log" and any(np.any(np.asarray(path.vertices)[:, 1] <= 0) for path in paths)
    for path in paths if missed else ():  # so that a band slants to the edge from one point to the next
        x, y = np.asarray(path.vertices).T
        path.vertices = np.stack([x, np.where(y <= 0, axes.get_ylim()[0], y)], axis=1)
    return missed


# ---------------------------------------------------------------------------------------------- axes


class Scale:
    """Where the values of a column go on an axis: powers of two and wide ranges evenly, words and infinity as ranks."""

    def __init__(self, name: str, values: Sequence[Any]):
        self.name = name
        present = {value for value in values if value == value and value is not None}
        values = sorted(present, key=lambda value: (isinstance(value, str), value))
        numeric = all(not isinstance(v, str) and math.isfinite(v) for v in values)
        positive = [v for v in values if not isinstance(v, str) and v > 0]
        wide = name == STEP or name != POSITION and len(positive) > 1 and positive[-1] / positive[0] >= 20
        self.log = numeric and len(positive) > 1 and wide
        # Step 0 is before training: it has no place on a log axis and says nothing.
        self.values = positive if self.log else values
        self.log = self.log and (name == STEP or len(positive) == len(values))
        self.values = self.values if self.log else values
        self.ranked = not numeric

    def at(self, value: Any) -> float:
        if self.ranked:
            return float(self.values.index(value))
        return math.log2(value) if self.log else float(value)

    def between(self, value: float) -> float:
        """Where a number goes that need not be a value of the column."""
        if not self.ranked:
            return self.at(value)
        ranks = {v: rank for rank, v in enumerate(self.values) if not isinstance(v, str) and math.isfinite(v)}
        return float(np.interp(value, list(ranks), list(ranks.values())))

    def dress(self, axes: Axes, which: str = "x", most: int = 8) -> None:
        axis = axes.xaxis if which == "x" else axes.yaxis
        if self.log and self.name == STEP:
            first, last = (math.log10(self.values[i]) for i in (0, -1))
            ticks = [10**k for k in range(math.ceil(first), math.floor(last) + 1)] or self.values[:1]
        elif self.values and (self.log or self.ranked or len(self.values) <= most):
            ticks = self._apart(self.values[:: math.ceil(len(self.values) / most)])
        else:
            if self.name == POSITION:
                axis.set_major_locator(_whole_numbers(most))
            return
        axis.set_ticks([self.at(tick) for tick in ticks], [wording.number(tick) for tick in ticks])

    def _apart(self, ticks: Sequence[Any]) -> list[Any]:
        """Those of the ticks between whose labels there is room."""
        room = 0.035 * (self.at(ticks[-1]) - self.at(ticks[0]))
        kept = [ticks[0]]
        for tick in ticks[1:]:
            kept += [tick] if self.at(tick) - self.at(kept[-1]) >= room else []
        return kept


def _whole_numbers(most: int) -> Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, steps=[1, 2, 5, 10], integer=True)


def _bounds(rows: pd.DataFrame) -> tuple[float, float] | None:
    """0 and 1, or -1 and 1, where all values lie between and fill a good part of it."""
    values = rows["value"].dropna()
    if values.empty or not -1 <= values.min() <= values.max() <= 1 or values.abs().max() <= 0.2:
        return None
    return (0.0, 1.0) if values.min() >= 0 else (-1.0, 1.0)


# ---------------------------------------------------------------------------------------------- lines


def _lines(spec: Lines, rows: pd.DataFrame, evaluated: pd.DataFrame, metrics: Collection[str]) -> Figure:
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
    figure, grid = _canvas(len(panels), columns, width, height, spec.title, sharex=True, sharey=sharey)
    scale = Scale(spec.x, rows[spec.x].tolist())
    named, label, paint = _named(spec, rows)

    def seen(quantity: Quantity | None, value: Any) -> pd.DataFrame:
        here = rows if quantity is None else rows[rows[QUANTITY] == spec.quantities.index(quantity)]
        return curves.where(here, {spec.columns: value}) if spec.columns else here

    for i, row in enumerate(panels):
        found = [None if spec.log_y else _bounds(seen(quantity, value)) for quantity, value in row]
        if not mixed:  # one for the row
            found = [None if None in found else (min(low for low, _ in found), 1.0)] * len(row)  # type: ignore[misc]
        ends = []
        for j, (quantity, value) in enumerate(row):
            here = seen(quantity, value)
            grid[i, j].set_yscale("log" if spec.log_y else "linear")
            inside = _common_range([quantity] if quantity else spec.quantities, metrics)
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
        _head(figure, f"{spec.title}, by {wording.axis_label(spec.lines)}")
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


def _common_range(quantities: Sequence[Quantity], metrics: Collection[str]) -> tuple[float, float]:
    """What no interval of a panel goes beyond: the ends of all its quantities' known ranges."""
    lows, highs = zip(*(known_range(quantity, metrics) for quantity in quantities), strict=True)
    return min(lows), max(highs)


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


# ---------------------------------------------------------------------------------------------- heat maps


# Blue is in-context, vermilion in-weight, white the balance. What begins like this goes from one to the other.
_BALANCE = ("#0072B2", "#f7f7f7", "#D55E00")
_BALANCES = {"gate": _BALANCE, "icl": _BALANCE, "preference": _BALANCE[::-1], "iwl": _BALANCE[::-1]}


def _heat(spec: Heat, rows: pd.DataFrame, metrics: Collection[str]) -> Figure:
    from matplotlib.colors import LinearSegmentedColormap

    x, y = (Scale(name, rows[name].tolist()) for name in (spec.x, spec.y))
    columns = 2 if len(spec.quantities) > 1 else 1
    figure, grid = _canvas(
        math.ceil(len(spec.quantities) / columns), columns, *_size(x, y), spec.title, sharex=True, sharey=True
    )
    inside, finite = _common_range(spec.quantities, metrics), rows["value"][np.isfinite(rows["value"])]
    balances = {_BALANCES.get(q.metric.partition("_")[0]) for q in spec.quantities}
    balance = next(iter(balances)) if len(balances) == 1 and np.isfinite(inside).all() else None
    shares = inside == (0, 1)
    ends = inside if balance or shares and _bounds(rows) else (finite.min(), finite.max())
    colors = LinearSegmentedColormap.from_list("balance", balance) if balance else "viridis"
    style = {"cmap": colors, "vmin": ends[0], "vmax": ends[1]}
    mesh: Any = None
    for i, (axes, quantity) in enumerate(zip(grid.ravel(), spec.quantities, strict=False)):
        means = _means(rows[rows[QUANTITY] == i], spec, x, y)
        mesh = axes.pcolormesh(means, edgecolors="white", linewidth=0.8, **style)
        _cells(axes, means, mesh.to_rgba(means), shares)
        _ticks(axes, x, y)
        axes.set_title(quantity.text)
    _dress(grid, spec, len(spec.quantities))
    bar = figure.colorbar(mesh, ax=grid, shrink=0.6, pad=0.02, aspect=25)
    bar.outline.set_visible(False)
    return figure


def _closest(spec: Closest, rows: pd.DataFrame) -> Figure:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    x, y = (Scale(name, rows[name].tolist()) for name in (spec.x, spec.y))
    width, height = _size(x, y)
    figure, grid = _canvas(1, 1, width + 1.2, height + 0.3, spec.title)
    means = np.stack([_means(rows[rows[QUANTITY] == i], spec, x, y) for i in range(len(spec.quantities))])
    filled = np.where(np.isnan(means), math.inf, means)
    lowest, *others = np.sort(filled, axis=0)
    winner = np.where(np.isfinite(lowest), filled.argmin(axis=0), -1)
    paint = np.array([(1.0, 1.0, 1.0), *map(to_rgb, palette.quantity_colors(spec.quantities))])
    # Full where the next is at least twice as far, pale where it is as near.
    with np.errstate(invalid="ignore", divide="ignore"):
        lead = np.nan_to_num((2 * (1 - lowest / others[0])).clip(0, 1), nan=0.0) if others else np.ones_like(lowest)
    share = (0.35 + 0.65 * lead)[..., None]
    color = share * paint[winner + 1] + (1 - share)
    (axes,) = grid.ravel()
    axes.pcolormesh(color, edgecolors="white", linewidth=0.8)
    _cells(axes, np.where(winner < 0, math.nan, lowest), color, False)
    _ticks(axes, x, y)
    _dress(grid, spec, 1)
    names = [name.replace("_", " ") for name in learners(spec.quantities)] or [q.text for q in spec.quantities]
    patches = [
        Patch(color=paint[i + 1], label=quantity.label or names[i])
        for i, quantity in enumerate(spec.quantities)
        if (winner == i).any()
    ]
    axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title="nearest to")
    return figure


def _size(x: Scale, y: Scale) -> tuple[float, float]:
    return min(max(3.4, 0.5 + 0.3 * len(x.values)), 6.4), min(1.0 + 0.22 * len(y.values), 6.4)


def _means(rows: pd.DataFrame, spec: Heat, x: Scale, y: Scale) -> np.ndarray:
    """Seed means over y and x; NaN where there are none."""
    means = rows.groupby([spec.y, spec.x])["value"].mean().unstack()
    return means.reindex(index=y.values, columns=x.values).to_numpy(float)


def _cells(axes: Axes, values: np.ndarray, colors: np.ndarray, shares: bool) -> None:
    """Writes the values, which may be shares of 1, into cells of these colours, where there is room for them."""
    if values.size > 120 or values.shape[1] > 16:
        return
    for (i, j), value in np.ndenumerate(values):
        if math.isfinite(value):
            light = np.dot(colors[i, j][:3], (0.299, 0.587, 0.114)) > 0.55
            text = f"{value:.2f}".removeprefix("0") if shares else f"{value:.2g}"
            place = {"ha": "center", "va": "center", "fontsize": 6.5}
            axes.text(j + 0.5, i + 0.5, text, color=INK if light else "white", **place)


def _ticks(axes: Axes, x: Scale, y: Scale) -> None:
    for axis, scale in ((axes.xaxis, x), (axes.yaxis, y)):
        every = math.ceil(len(scale.values) / 10)
        ticks = range(0, len(scale.values), every)
        axis.set_ticks([i + 0.5 for i in ticks], [wording.number(scale.values[i]) for i in ticks])


def _dress(grid: Any, spec: Heat, panels: int) -> None:
    for axes in grid.ravel():
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    for axes in grid.ravel()[panels:]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel(wording.axis_label(spec.x))
    for axes in grid[:, 0]:
        axes.set_ylabel(wording.axis_label(spec.y))
