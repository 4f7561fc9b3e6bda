"""Draws values over two axes as coloured cells: figures of kinds `Heat` and `Closest`."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from icl_sim.studies import palette, wording
from icl_sim.studies.canvas import INK, Scale, bounds, canvas, common_range
from icl_sim.studies.figures import QUANTITY, Closest, Heat
from icl_sim.studies.quantities import learners

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue is in-context, vermilion in-weight, white the balance. What begins like this goes from one to the other.
_BALANCE = ("#0072B2", "#f7f7f7", "#D55E00")
_BALANCES = {"gate": _BALANCE, "icl": _BALANCE, "preference": _BALANCE[::-1], "iwl": _BALANCE[::-1]}


def heat(spec: Heat, rows: pd.DataFrame, metrics: Collection[str]) -> Figure:
    """A panel of coloured seed means for each quantity; `metrics` are the names of all there are in the run."""
    from matplotlib.colors import LinearSegmentedColormap

    x, y = (Scale(name, rows[name].tolist()) for name in (spec.x, spec.y))
    columns = 2 if len(spec.quantities) > 1 else 1
    figure, grid = canvas(
        math.ceil(len(spec.quantities) / columns), columns, *_size(x, y), spec.title, sharex=True, sharey=True
    )
    inside, finite = common_range(spec.quantities, metrics), rows["value"][np.isfinite(rows["value"])]
    balances = {_BALANCES.get(q.metric.partition("_")[0]) for q in spec.quantities}
    balance = next(iter(balances)) if len(balances) == 1 and np.isfinite(inside).all() else None
    shares = inside == (0, 1)
    ends = inside if balance or shares and bounds(rows) else (finite.min(), finite.max())
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


def closest(spec: Closest, rows: pd.DataFrame) -> Figure:
    """Which of the quantities is lowest where, the paler, the nearer comes the next."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    x, y = (Scale(name, rows[name].tolist()) for name in (spec.x, spec.y))
    width, height = _size(x, y)
    figure, grid = canvas(1, 1, width + 1.2, height + 0.3, spec.title)
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
