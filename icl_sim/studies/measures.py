"""Measures read off a results table: one number per seed for each (`icl_sim.studies.claims` says what there is)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from icl_sim.studies import curves
from icl_sim.studies.claims import (
    At,
    Crossing,
    Difference,
    Largest,
    Lowest,
    LowestAt,
    Measure,
    MinimumAt,
    Ratio,
    Smallest,
    Trend,
    Value,
)
from icl_sim.studies.figures import POSITION, STEP

if TYPE_CHECKING:
    import pandas as pd


class Unanswerable(Exception):
    """The table lacks what a claim names; the message says what."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """One number per seed (NaN if it diverged), the steps that all members reached, and a remark for people.

    `is_ratio`: numbers whose mean and interval are those of their logarithms.
    """

    per_seed: pd.Series
    steps: int
    remark: str = ""
    is_ratio: bool = False


def read(measure: Measure, rows: pd.DataFrame, evaluations: pd.DataFrame, settings: Mapping[str, Any]) -> Reading:
    """What a measure is for every seed.

    Args:
      rows: the selected evaluation of each member (`curves.select`).
      evaluations: all of them, for measures along steps.
      settings: the study's nested settings, for names in `where` that are not swept.

    Raises:
      Unanswerable: if the table lacks what the measure names.
    """
    import pandas as pd

    def along(over: str) -> pd.DataFrame:
        return evaluations if over == STEP else rows

    match measure:
        case Value():
            grid, steps = _grid(measure, rows, settings)
            return Reading(grid.iloc[:, 0], steps)
        case Difference(a, b):
            (grid_a, steps_a), (grid_b, steps_b) = _grid(a, rows, settings), _grid(b, rows, settings)
            return Reading((grid_a.iloc[:, 0] - grid_b.iloc[:, 0]).dropna(), _reached(steps_a, steps_b))
        case Ratio(a, b):
            one, other = (read(part, rows, evaluations, settings) for part in (a, b))
            seeds = one.per_seed.index.intersection(other.per_seed.index)
            ratio = one.per_seed[seeds] / other.per_seed[seeds]
            return Reading(ratio, _reached(one.steps, other.steps), is_ratio=True)
        case At(value, crossing):
            at = read(crossing, rows, evaluations, settings)
            grid, steps = _grid(value, evaluations, settings, STEP)
            found = {
                seed: np.interp(at.per_seed[seed], grid.columns, row, right=math.inf)
                for seed, row in zip(grid.index, grid.to_numpy(), strict=True)
                if seed in at.per_seed
            }
            return Reading(pd.Series(found), _reached(steps, at.steps))
        case Crossing(a, b, over, summed, ends):
            source = along(over)
            upper, steps = _grid(a, source, settings, over)
            _covering(upper, over, ends)
            if not isinstance(b, Value):
                return Reading(_crossings(upper, b, over, summed), steps)
            lower, other_steps = _grid(b, source, settings, over)
            return Reading(_crossings(upper, lower, over, summed), _reached(steps, other_steps))
        case Largest(value, over, low, high, ends) | Smallest(value, over, low, high, ends):
            grid, steps = _grid(value, along(over), settings, over)
            points = _covering(grid, over, ends)
            grid = grid.loc[:, (low <= points) & (points <= high)]
            if grid.empty:
                raise Unanswerable(f"the table has no {over} from {low:g} to {high:g}")
            extreme = grid.max if isinstance(measure, Largest) else grid.min
            return Reading(extreme(axis=1, skipna=False), steps, f"over {count(grid.shape[1], 'point')}")
        case MinimumAt(value, over, at, ends):
            grid, steps = _grid(value, along(over), settings, over)
            inside = np.isin(_covering(grid, over, ends), at)
            if inside.sum() < len(at) or inside.all():
                raise Unanswerable(f"the table needs {over} at {_names(at)} and at other points to compare with")
            return Reading(_margin(grid, inside), steps, f"the mean is lowest at {_names([grid.mean().idxmin()])}")
        case LowestAt(value, over):
            grid, steps = _grid(value, along(over), settings, over)
            points = _numbers(grid, over)
            if over == STEP:
                points = np.append(_positive(points)[:-1], math.inf)
            lowest_at = grid.apply(lambda row: math.nan if row.isna().any() else points[row.argmin()], axis=1)
            return Reading(lowest_at, steps, f"over {count(grid.shape[1], 'point')}")
        case Lowest(value, others):
            grids, reached = zip(*(_grid(one, rows, settings) for one in (value, *others)), strict=True)
            grid = pd.concat([one.iloc[:, 0] for one in grids], axis=1, join="inner", keys=range(len(grids)))
            lowest = _distinct((value, *others))[int(np.argmin(grid.mean()))] if len(grid) else "nothing"
            return Reading(_margin(grid, grid.columns == 0), _reached(*reached), f"the lowest mean is that of {lowest}")
        case Trend(value, over, rising):
            grid, steps = _grid(value, along(over), settings, over)
            if grid.shape[1] < 2:
                raise Unanswerable(f"the table has {over} at one point only, a trend needs two")
            rises = (grid if rising else -grid).diff(axis=1).iloc[:, 1:]
            return Reading(rises.min(axis=1, skipna=False), steps, f"over {count(grid.shape[1], 'point')}")
    raise TypeError(f"{type(measure).__name__} is no measure.")


def _reached(*steps: int) -> int:
    """The fewest steps of those that train; what trains nothing is the same all along."""
    return min((number for number in steps if number), default=0)


def _margin(grid: pd.DataFrame, inside: np.ndarray) -> pd.Series:
    """Per seed how far the lowest of some columns lies below the lowest of all others."""
    return grid.loc[:, ~inside].min(axis=1, skipna=False) - grid.loc[:, inside].min(axis=1, skipna=False)


def _distinct(values: Sequence[Value]) -> list[str]:
    """What each value is, in what they do not all share."""
    told = [{"predictor": v.predictor, "metric": v.metric, "eval_set": v.eval_set, **v.where} for v in values]
    names = [n for n in dict.fromkeys(n for one in told for n in one) if len({repr(one.get(n)) for one in told}) > 1]
    return [", ".join(f"{n} = {_names([one[n]])}" for n in names if n in one) for one in told]


def pinned(crossing: Crossing, where: Mapping[str, Any]) -> Crossing:
    """The crossing at these values of swept names, as far as it does not name others itself."""

    def at(value: Value | float) -> Value | float:
        if not isinstance(value, Value):
            return value
        own = {name: v for name, v in where.items() if name != crossing.over}
        return dataclasses.replace(value, where={**own, **value.where})

    return dataclasses.replace(crossing, a=cast(Value, at(crossing.a)), b=at(crossing.b))


def _crossings(upper: pd.DataFrame, lower: pd.DataFrame | float, over: str, summed: bool) -> pd.Series:
    """Per seed the point from which on `upper` stays below `lower`."""
    import pandas as pd

    if isinstance(lower, pd.DataFrame):
        if lower.shape[1] == 1:  # it was evaluated once, since nothing moves it
            lower = pd.concat({x: lower.iloc[:, 0] for x in upper.columns}, axis=1)
        upper, lower = upper.align(lower, join="inner")
    gap = upper - lower
    points = _numbers(gap, over)
    if summed:  # by the trapezoid rule; before the first point there is nothing to sum
        between = (gap.shift(axis=1) + gap) / 2 * np.diff(points, prepend=points[:1])
        between.iloc[:, 0] = 0.0
        gap = between.cumsum(axis=1, skipna=False)
        gap, points = gap.loc[:, points > 0], points[points > 0]
    if np.sum(points > 0) < 2:
        raise Unanswerable(f"the table has {over} at one point only, a crossing needs two")
    x = _positive(points)
    return gap.apply(lambda row: curves.crossing(x, row.to_numpy(float)), axis=1)


def _positive(points: np.ndarray) -> np.ndarray:
    """The points with half of the next for 0, which has no logarithm."""
    return np.where(points > 0, points, points[points > 0][:1].sum() / 2)


def _grid(
    value: Value, rows: pd.DataFrame, settings: Mapping[str, Any], over: str | None = None
) -> tuple[pd.DataFrame, int]:
    """One row per seed and one column per point of `over` (a single one without it), and the steps reached."""
    for column in ("predictor", "eval_set", "metric"):
        name = getattr(value, column)
        if column == "metric":
            rows = (curves.by_position if over == POSITION else curves.pick)(rows, [(name, value.eval_set)])
        else:
            rows = rows[rows[column] == name]
        if rows.empty:
            at = " at positions" if column == "metric" and over == POSITION else ""
            raise Unanswerable(f'the table has no {column} "{name}"{at} for this claim')
    for name, wanted in value.where.items():
        rows = _at(rows, name, wanted, settings)
    if over is not None and over not in rows:
        raise Unanswerable(f"{over} is not swept by this study")
    free = [n for n in curves.swept_names(rows) if n != over and rows[n].nunique() > 1]
    if free:
        raise Unanswerable(f"the claim leaves {_names(free)} open, which this study sweeps")
    if over is not None and rows[over].isna().all():  # a setting of another predictor: the same all along
        over = None
    by = rows["seed"] if over is None else [rows["seed"], rows[over]]
    means = rows["value"].groupby(by).agg(lambda values: values.mean(skipna=False))
    grid = means.to_frame(0.0) if over is None else means.unstack()
    return grid.sort_index(axis=1), int(rows["last_step"].min())


def count(number: int, noun: str) -> str:
    """A number of things: "1 seed", "2 seeds"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _numbers(grid: pd.DataFrame, over: str) -> np.ndarray:
    try:
        return grid.columns.to_numpy(float)
    except ValueError:
        raise Unanswerable(f"{over} is swept over words, which have no order") from None


def _covering(grid: pd.DataFrame, over: str, ends: tuple[float, ...]) -> np.ndarray:
    """The points of the grid, which must have all of `ends` among them."""
    points = _numbers(grid, over)
    if missing := [end for end in ends if not np.isclose(points, end).any()]:
        raise Unanswerable(f"the claim speaks of all {over}, and the table has none at {_names(missing)}")
    return points


def _at(rows: pd.DataFrame, name: str, wanted: Any, settings: Mapping[str, Any]) -> pd.DataFrame:
    if name in rows:
        found = rows[curves.matches(rows[name], wanted)]
        if found.empty:
            raise Unanswerable(f"the table has no {name} = {_names([wanted])}")
        return found
    fixed: Any = settings
    for part in name.split("."):
        if not isinstance(fixed, Mapping) or part not in fixed:
            swept = ", ".join(curves.swept_names(rows))
            raise Unanswerable(f"the study has no {name}; it sweeps {swept or 'nothing'}")
        fixed = fixed[part]
    if not same(fixed, wanted):
        raise Unanswerable(f"the study ran with {name} = {fixed}, the claim is about {wanted}")
    return rows


def same(a: Any, b: Any) -> bool:
    """Whether two values of a setting are the same; numbers may differ by rounding."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    try:
        return math.isclose(float(a), float(b), rel_tol=1e-9, abs_tol=1e-12)  # float("inf") reads "inf" too
    except (TypeError, ValueError):
        return a == b


def _names(values: Iterable[Any]) -> str:
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
