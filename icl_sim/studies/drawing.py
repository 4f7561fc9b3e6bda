"""Draws resolved figure specifications with matplotlib, as PNG and SVG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icl_sim.studies import curves, figures, line_charts, maps, resolution, wording
from icl_sim.studies.canvas import STYLE
from icl_sim.studies.figures import PREDICTOR, STEP, Closest, Heat, Lines, Spec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        metrics = set(table["metric"].unique())
        if isinstance(spec, Closest):
            figure = maps.closest(spec, rows)
        elif isinstance(spec, Heat):
            figure = maps.heat(spec, rows, metrics)
        else:
            figure = line_charts.lines(spec, rows, evaluated, metrics)
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
