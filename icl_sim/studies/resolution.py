"""A figure's axes and quantities, taken from the table that a study left."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from icl_sim.studies import curves, figures, wording
from icl_sim.studies.figures import AUTO, POSITION, PREDICTOR, QUANTITY, STEP, Closest, Heat, Lines, Spec
from icl_sim.studies.palette import foremost
from icl_sim.studies.presets import DEFAULT, PRESETS
from icl_sim.studies.quantities import Pair, Quantity, absent, at_positions, headlines, pairs, present

if TYPE_CHECKING:
    import pandas as pd


def chosen(specs: Sequence[Spec], task_kind: str | None, table: pd.DataFrame) -> tuple[Spec, ...]:
    """The figures of a study without "auto": its own, else its family's, else the default; those with data only."""
    specs = tuple(specs) or PRESETS.get(task_kind or "", DEFAULT)
    resolved = [spec for spec in (resolve(spec, table) for spec in specs) if spec is not None]
    # Two figures that differ over a sweep may be one and the same for a single run.
    return tuple({repr(dataclasses.replace(s, name="same", title="")): s for s in reversed(resolved)}.values())[::-1]


def rows_of(spec: Spec, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a figure's predictors and quantities, with the number of each quantity as `quantity`, and positions
    if it is about these."""
    table = table[table["predictor"].isin(spec.predictors)] if spec.predictors else table
    pairs = [(q.metric, q.eval_set) for q in spec.quantities]
    rows = (curves.by_position if POSITION in figures.axes_of(spec) else curves.pick)(table, pairs)
    number = {pair: i for i, pair in enumerate(pairs)}
    pair = zip(rows["metric"], rows["eval_set"], strict=True)
    return rows.assign(**{QUANTITY: [number[one] for one in pair]})


def resolve(spec: Spec, table: pd.DataFrame) -> Spec | None:
    """The specification with its axes named and every other swept name pinned; None if the table has nothing for it."""
    resolved = _resolved(spec, table)
    return None if isinstance(resolved, str) else resolved


def undrawn(spec: Spec, table: pd.DataFrame) -> list[str]:
    """A sentence that says why a figure is not drawn, or whose quantities are not; none if all of it is."""
    if told := unmeasured(spec, pairs(table)):
        return told
    resolved = _resolved(spec, table)
    return [f"The figure {spec.name!r} is not drawn: {resolved}."] if isinstance(resolved, str) else []


def _resolved(spec: Spec, table: pd.DataFrame) -> Spec | str:
    """What `resolve` gives, or why it gives nothing."""
    quantities = shown(spec, pairs(table))
    if not quantities:
        return "its quantities are not measured here"
    figures.check_axes(spec, curves.swept_names(table))
    spec = dataclasses.replace(spec, quantities=quantities)
    rows = rows_of(spec, table)
    if rows.empty:
        return f"none of its predictors, {', '.join(spec.predictors)}, has its quantities"
    for name, value in spec.where.items():
        there, rows = rows[name], curves.where(rows, {name: value})
        if rows.empty:  # a narrowed sweep may have nothing there
            known = [wording.number(known) for known in _sorted(there)]
            some = ", ".join(known[:8] + ["..."] * (len(known) > 8)) or "set nowhere"
            return f"it shows what has {name} = {wording.number(value)}, and here it is {some}"
    varying = [name for name in curves.swept_names(rows) if rows[name].nunique() > 1]
    trains = rows["step"].max() > 0
    if not (varying or trains or POSITION in figures.axes_of(spec)):  # a single number per quantity and predictor
        axes = {"x": STEP, "columns": None, "lines": PREDICTOR}
        return _pinned(spec, rows, **axes) if isinstance(spec, Lines) else "a map has two axes, and nothing varies here"

    def take(wanted: str | None, otherwise: str | None) -> str | None:
        """A name that still varies, or the fallback."""
        name = (varying[0] if varying else otherwise) if wanted == AUTO else wanted
        if name in varying:
            varying.remove(name)
        return name

    untrained = "it is over training steps, and what it shows is not trained"
    if isinstance(spec, Heat):
        if not varying and POSITION not in (spec.x, spec.y):
            return "a map has two axes, and nothing varies here but the training step"
        axes = {"x": take(spec.x, None), "y": take(spec.y, STEP)}
        if axes["x"] == axes["y"]:
            return f"a map has two axes, and both are {axes['x']}"
        if STEP in axes.values() and not trains:
            return untrained
        return _pinned(spec, rows, **axes, predictors=foremost(_having(rows, axes.values())))
    axes = {"x": take(spec.x, STEP), "lines": take(spec.lines, PREDICTOR), "columns": take(spec.columns, None)}
    if STEP in axes.values() and not trains:
        return untrained
    predictors = spec.predictors or tuple(rows["predictor"].unique())
    if PREDICTOR not in (axes["lines"], axes["columns"]):
        able = _having(rows[rows["step"] > 0] if STEP in axes.values() else rows, axes.values())
        predictors = foremost([p for p in predictors if p in able])
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
    told = absent(spec.name, spec.quantities, known, POSITION in figures.axes_of(spec))
    if not told and isinstance(spec, Closest) and len(one := present(spec.quantities, known)) == 1:
        rest = f"and this study measures a single one, {one[0].metric} on {one[0].eval_set}."
        told = [f"The figure {spec.name!r} shows which of its quantities is the lowest, {rest}"]
    return told


def _asked(spec: Spec, found: Sequence[Pair]) -> list[Pair]:
    """What of all that is measured a figure asks for: that at positions, if it is about these."""
    return at_positions(found) if POSITION in figures.axes_of(spec) else list(found)


def _having(rows: pd.DataFrame, axes: Iterable[str | None]) -> list[str]:
    """The predictors whose rows differ along these axes: a setting of one predictor is null for all others."""
    for name in axes:
        rows = rows[rows[name].notna()] if name in curves.swept_names(rows) else rows
    return list(rows["predictor"].unique())


def _pinned(spec: Spec, rows: pd.DataFrame, **axes: Any) -> Spec:
    """The resolved specification; swept names that no axis shows stay at their middle value, but for those that were
    swept together with one that an axis shows."""
    where, shown = dict(spec.where), [name for name in axes.values() if isinstance(name, str) and name in rows]
    for name in curves.swept_names(rows):
        if name in shown or name in where or any(_follows(name, other, rows) for other in shown):
            continue
        # Of what the others leave: names that were swept together have values in common only at the same points.
        values = _sorted(curves.where(rows, {known: value for known, value in where.items() if known in rows})[name])
        where |= {name: values[len(values) // 2]} if values else {}
    return dataclasses.replace(spec, where=where, **axes)


def _sorted(column: pd.Series) -> list[Any]:
    """The values of a swept name, words last."""
    return sorted(column.dropna().unique(), key=lambda value: (isinstance(value, str), value))


def _follows(name: str, other: str, rows: pd.DataFrame) -> bool:
    """Whether a swept name has one value for each value of another."""
    return other in curves.swept_names(rows) and bool((rows.groupby(other)[name].nunique(dropna=False) == 1).all())
