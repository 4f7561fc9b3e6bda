"""What figures are drawn on: their style, a grid of panels, and scales that know where values go on an axis."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from icl_sim.studies import wording
from icl_sim.studies.figures import POSITION, STEP
from icl_sim.studies.quantities import Quantity, known_range

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

INK, FAINT = "#22262b", "#8a9099"
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


def canvas(rows: int, columns: int, width: float, height: float, title: str, **kwargs: Any) -> tuple[Figure, Any]:
    """A titled figure of so many panels, each of this size in inches, and the grid of their axes, `[rows, columns]`."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no window
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(width * columns + 1.6, height * rows + 0.9), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    )
    head(figure, title)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def head(figure: Figure, title: str) -> None:
    """The title, in lines that fit the width."""
    lines = textwrap.wrap(title, int(9.5 * figure.get_figwidth()))
    figure.suptitle("\n".join(lines), **TITLE)


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
        """Where a value of the column goes."""
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
        """Puts ticks on an axis, at most so many."""
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


def bounds(rows: pd.DataFrame) -> tuple[float, float] | None:
    """0 and 1, or -1 and 1, where all values lie between and fill a good part of it."""
    values = rows["value"].dropna()
    if values.empty or not -1 <= values.min() <= values.max() <= 1 or values.abs().max() <= 0.2:
        return None
    return (0.0, 1.0) if values.min() >= 0 else (-1.0, 1.0)


def common_range(quantities: Sequence[Quantity], metrics: Collection[str]) -> tuple[float, float]:
    """What no interval of a panel goes beyond: the ends of all its quantities' known ranges."""
    lows, highs = zip(*(known_range(quantity, metrics) for quantity in quantities), strict=True)
    return min(lows), max(highs)
