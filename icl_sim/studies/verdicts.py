"""Verdicts: claims held against a results table.

holds            the interval over seeds lies in the claim's range
fails            it lies outside
not enough data  it straddles a bound, or there are too few seeds or steps, or the table lacks what the claim names
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icl_sim.studies import claims as claims_module
from icl_sim.studies import curves
from icl_sim.studies.claims import (
    Claim,
    Difference,
    Largest,
    Measure,
    MinimumAt,
    Range,
    Smallest,
    Trend,
    Value,
)

if TYPE_CHECKING:
    import pandas as pd

HOLDS, FAILS, UNDECIDED = "holds", "fails", "not enough data"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a claim; the fields are those of an entry of `verdicts.json`.

    Attributes:
      measured: the mean over seeds, None if nothing could be read.
      interval: 95 % t-interval over seeds, None with fewer than two.
      seeds: seeds with a value; those that diverged are not counted.
      steps: the training steps that every member involved has reached.
      reason: what decided, in words.
    """

    id: str
    statement: str
    source: str
    published: float | str | None
    measured: float | None
    interval: tuple[float, float] | None
    verdict: str
    seeds: int
    steps: int
    reason: str


class _Unanswerable(Exception):
    """The table lacks what a claim names; the message says what."""


@dataclasses.dataclass(frozen=True)
class _Reading:
    """One number per seed (NaN if it diverged), the steps that all members reached, and a remark for people."""

    per_seed: pd.Series
    steps: int
    remark: str = ""


def evaluate(
    claims: Iterable[Claim],
    table: pd.DataFrame,
    settings: Mapping[str, Any] | None = None,
    rule: str = "lowest_loss",
) -> list[Verdict]:
    """The verdict on each claim.

    Args:
      claims: what to check; ids must be distinct.
      table: results in long form (`icl_sim.studies.curves`).
      settings: the study's nested settings, for names in `where` that are not swept.
      rule: which checkpoint of each member is read, a key of `curves.RULES`.
    """
    claims = claims_module.check(claims)
    if not claims:
        return []
    rows = curves.select(table, rule)
    return [_judge(claim, rows, settings or {}) for claim in claims]


def _judge(claim: Claim, rows: pd.DataFrame, settings: Mapping[str, Any]) -> Verdict:
    try:
        reading = _measure(claim.measure, rows, settings)
    except _Unanswerable as missing:
        return _verdict(claim, UNDECIDED, str(missing))
    summary = curves.summarize(reading.per_seed.to_numpy())
    lost = len(reading.per_seed) - summary.seeds
    verdict, reason = _decide(claim, summary, reading.steps)
    remarks = [
        reason,
        reading.remark,
        f"{lost} of {len(reading.per_seed)} seeds have no value (diverged?)" if lost else "",
    ]
    return _verdict(claim, verdict, "; ".join(filter(None, remarks)), summary, reading.steps)


def _decide(claim: Claim, summary: curves.Summary, steps: int) -> tuple[str, str]:
    needed = max(claim.min_seeds, 2)
    if summary.seeds < needed:
        return UNDECIDED, f"{count(summary.seeds, 'seed')}, {needed} needed"
    if steps < claim.min_steps:
        return UNDECIDED, f"{steps:,} steps, {claim.min_steps:,} needed"
    wanted, interval = claim.condition, f"[{summary.low:.3g}, {summary.high:.3g}]"
    if wanted.low <= summary.low and summary.high <= wanted.high:
        return HOLDS, f"{interval} is {_in_words(wanted)}"
    if summary.high < wanted.low or summary.low > wanted.high:
        return FAILS, f"{interval} is not {_in_words(wanted)}"
    return UNDECIDED, f"{interval} straddles a bound of: {_in_words(wanted)}"


def _in_words(wanted: Range) -> str:
    if math.isinf(wanted.low):
        return f"below {wanted.high:.3g}"
    if math.isinf(wanted.high):
        return f"above {wanted.low:.3g}"
    return f"within {wanted.low:.3g} to {wanted.high:.3g}"


def count(number: int, noun: str) -> str:
    """A number of things: "1 seed", "2 seeds"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _verdict(claim: Claim, verdict: str, reason: str, summary: curves.Summary | None = None, steps: int = 0) -> Verdict:
    measured = interval = None
    if summary is not None and summary.seeds:
        measured = summary.mean
        interval = (summary.low, summary.high) if summary.seeds > 1 else None
    seeds = summary.seeds if summary else 0
    return Verdict(
        claim.id,
        claim.statement,
        claim.source,
        claim.published,
        measured,
        interval,
        verdict,
        seeds,
        steps,
        reason,
    )


# ---------------------------------------------------------------------------------------------- measures


def _measure(measure: Measure, rows: pd.DataFrame, settings: Mapping[str, Any]) -> _Reading:
    match measure:
        case Value():
            grid, steps = _grid(measure, rows, settings)
            return _Reading(grid.iloc[:, 0], steps)
        case Difference(a, b):
            (grid_a, steps_a), (grid_b, steps_b) = _grid(a, rows, settings), _grid(b, rows, settings)
            return _Reading((grid_a.iloc[:, 0] - grid_b.iloc[:, 0]).dropna(), min(steps_a, steps_b))
        case Largest(value, over, low, high, ends) | Smallest(value, over, low, high, ends):
            grid, steps = _grid(value, rows, settings, over)
            points = _covering(grid, over, ends)
            grid = grid.loc[:, (low <= points) & (points <= high)]
            if grid.empty:
                raise _Unanswerable(f"the table has no {over} from {low:g} to {high:g}")
            extreme = grid.max if isinstance(measure, Largest) else grid.min
            return _Reading(extreme(axis=1, skipna=False), steps, f"over {count(grid.shape[1], 'point')}")
        case MinimumAt(value, over, at, ends):
            grid, steps = _grid(value, rows, settings, over)
            inside = np.isin(_covering(grid, over, ends), at)
            if inside.sum() < len(at) or inside.all():
                raise _Unanswerable(f"the table needs {over} at {_names(at)} and at other points to compare with")
            margin = grid.loc[:, ~inside].min(axis=1, skipna=False) - grid.loc[:, inside].min(axis=1, skipna=False)
            return _Reading(margin, steps, f"the mean is lowest at {_names([grid.mean().idxmin()])}")
        case Trend(value, over, rising):
            grid, steps = _grid(value, rows, settings, over)
            if grid.shape[1] < 2:
                raise _Unanswerable(f"the table has {over} at one point only, a trend needs two")
            rises = (grid if rising else -grid).diff(axis=1).iloc[:, 1:]
            return _Reading(rises.min(axis=1, skipna=False), steps, f"over {count(grid.shape[1], 'point')}")
    raise TypeError(f"{type(measure).__name__} is no measure.")


def _grid(
    value: Value, rows: pd.DataFrame, settings: Mapping[str, Any], over: str | None = None
) -> tuple[pd.DataFrame, int]:
    """One row per seed and one column per point of `over` (a single one without it), and the steps reached."""
    for column in ("predictor", "eval_set", "metric"):
        name = getattr(value, column)
        rows = rows[rows[column] == name]
        if rows.empty:
            raise _Unanswerable(f'the table has no {column} "{name}" for this claim')
    for name, wanted in value.where.items():
        rows = _at(rows, name, wanted, settings)
    if over is not None and over not in rows:
        raise _Unanswerable(f"{over} is not swept by this study")
    free = [n for n in curves.swept_names(rows) if n != over and rows[n].nunique() > 1]
    if free:
        raise _Unanswerable(f"the claim leaves {_names(free)} open, which this study sweeps")
    by = rows["seed"] if over is None else [rows["seed"], rows[over]]
    means = rows["value"].groupby(by).agg(lambda values: values.mean(skipna=False))
    grid = means.to_frame() if over is None else means.unstack()
    return grid.sort_index(axis=1), int(rows["last_step"].min())


def _numbers(grid: pd.DataFrame, over: str) -> np.ndarray:
    try:
        return grid.columns.to_numpy(float)
    except ValueError:
        raise _Unanswerable(f"{over} is swept over words, which have no order") from None


def _covering(grid: pd.DataFrame, over: str, ends: tuple[float, ...]) -> np.ndarray:
    """The points of the grid, which must have all of `ends` among them."""
    points = _numbers(grid, over)
    if missing := [end for end in ends if not np.isclose(points, end).any()]:
        raise _Unanswerable(f"the claim speaks of all {over}, and the table has none at {_names(missing)}")
    return points


def _at(rows: pd.DataFrame, name: str, wanted: Any, settings: Mapping[str, Any]) -> pd.DataFrame:
    if name in rows:
        found = rows[curves.matches(rows[name], wanted)]
        if found.empty:
            raise _Unanswerable(f"the table has no {name} = {_names([wanted])}")
        return found
    fixed: Any = settings
    for part in name.split("."):
        if not isinstance(fixed, Mapping) or part not in fixed:
            swept = ", ".join(curves.swept_names(rows))
            raise _Unanswerable(f"the study has no {name}; it sweeps {swept or 'nothing'}")
        fixed = fixed[part]
    if not same(fixed, wanted):
        raise _Unanswerable(f"the study ran with {name} = {fixed}, the claim is about {wanted}")
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


# ---------------------------------------------------------------------------------------------- for people and files


def to_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as plain JSON; numbers that are not finite become null."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{k: plain(v) for k, v in dataclasses.asdict(verdict).items()} for verdict in verdicts]


def write(verdicts: Sequence[Verdict], path: str | os.PathLike[str]) -> None:
    """Writes `verdicts.json` atomically."""
    from icl_sim.studies.store import write_atomically  # imports jax, which reading verdicts does not need

    write_atomically(Path(path), (json.dumps(to_json(verdicts), indent=2, allow_nan=False) + "\n").encode())


def published_text(verdict: Verdict) -> str:
    published = verdict.published
    return "–" if published is None else two_digits(published) if isinstance(published, float) else str(published)


def measured_text(verdict: Verdict) -> str:
    return "–" if verdict.measured is None else two_digits(verdict.measured)


def interval_text(verdict: Verdict) -> str:
    return "–" if verdict.interval is None else "[{}, {}]".format(*map(two_digits, verdict.interval))


def two_digits(value: float) -> str:
    """Two decimals, and no minus before zeros."""
    return f"{round(value, 2) + 0.0:.2f}"


def to_text(verdicts: Sequence[Verdict], width: int = 110) -> str:
    """An aligned table for terminals of the claims that the run says anything about, decided ones in words too."""
    if not verdicts:
        return "This study makes no claims."
    counts = ", ".join(f"{sum(v.verdict == kind for v in verdicts)} {kind}" for kind in (HOLDS, FAILS, UNDECIDED))
    total = f"{count(len(verdicts), 'claim')}: {counts}."
    shown = [v for v in verdicts if v.measured is not None]
    if len(shown) < len(verdicts):
        absent = len(verdicts) - len(shown)
        total += f" Of these, {absent} about predictors, points or settings that this run does not have."
    if not shown:
        return total
    heads = ("id", "verdict", "published", "measured", "interval", "seeds", "steps")
    lines = [
        (v.id, v.verdict, published_text(v), measured_text(v), interval_text(v), str(v.seeds), f"{v.steps:,}")
        for v in shown
    ]
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]

    def row(cells: Sequence[str]) -> str:
        left = [cell.ljust(w) for cell, w in zip(cells[:2], widths[:2], strict=True)]
        right = [cell.rjust(w) for cell, w in zip(cells[2:], widths[2:], strict=True)]
        return "  ".join(left + right)

    text = [row(heads), "-" * len(row(heads))]
    for verdict, line in zip(shown, lines, strict=True):
        text += [row(line), *(_wrapped(verdict, width) if verdict.verdict != UNDECIDED else ())]
    return "\n".join([*text, "", total])


def _wrapped(verdict: Verdict, width: int) -> list[str]:
    import textwrap

    text = f"{verdict.statement} ({verdict.reason})"
    return textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ")
