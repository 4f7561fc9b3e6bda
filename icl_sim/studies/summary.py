"""A run in tables of text: means and intervals over seeds beside published numbers, and the verdicts, as Markdown."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icl_sim.studies import claims as claims_module
from icl_sim.studies import curves, measures, resolution, verdicts, wording
from icl_sim.studies.claims import Value
from icl_sim.studies.figures import POSITION, PREDICTOR, QUANTITY, STEP, Lines, Spec
from icl_sim.studies.quantities import Quantity, headlines, pairs
from icl_sim.studies.verdicts import FAILS, HOLDS, UNDECIDED, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from icl_sim.studies.report import Run

_MOST_COLUMNS = 9  # of a table; of more points, every n-th is shown
_MARKS = {HOLDS: " ✓", FAILS: " ✗", UNDECIDED: ""}


@dataclasses.dataclass(frozen=True)
class _Published:
    """A published number at one point, and what became of the claim that it holds here."""

    value: Value
    number: float
    verdict: Verdict


def to_markdown(
    run: Run, found: Sequence[Verdict], images: Mapping[str, str] = types.MappingProxyType({}), level: int = 2
) -> str:
    """The section of a run: how it was made, its errors at the checkpoint of each seed, the verdicts.

    Args:
      found: what became of the run's claims. A claim about one number stands in the tables, below what was measured.
      images: figures of the run, by their names, as paths that the page that holds the section sees. Of those over
        positions there are tables, too.
      level: of the heading.
    """
    published = _published(run, found)
    in_tables = {entry.verdict.id for entry in published}
    stated = [verdict for verdict in found if verdict.id not in in_tables]
    parts = [f"{'#' * level} {run.config['name']}", _made_by(run)]
    parts += [f"![{run.config['name']}]({image})" for image in images.values()]
    parts += [_over_positions(run, spec) for spec in run.figures if spec.name in images]
    parts += [_errors(run, published), _verdicts(found, stated)]
    return "\n\n".join(filter(None, parts)) + "\n"


def counted(found: Sequence[Verdict]) -> str:
    """How many claims hold, fail and stay open."""
    holds, fails = (sum(verdict.verdict == kind for verdict in found) for kind in (HOLDS, FAILS))
    measured = sum(verdict.verdict == UNDECIDED and verdict.measured is not None for verdict in found)
    return f"{holds} hold, {fails} fail, {measured} measured but open"


def size(run: Run) -> str:
    """How much stands behind the numbers."""
    table = run.table
    steps, seeds, members = int(table["step"].max()), table["seed"].nunique(), table["member"].nunique()
    trained = [f"{steps:,} steps"] if steps else []  # else predictors have steps of their own, or none
    return ", ".join([f"{members:,} members", verdicts.count(seeds, "seed"), *trained])


def _published(run: Run, found: Sequence[Verdict]) -> list[_Published]:
    """The claims that a number at one point lies near the published one, of what this run measures."""
    claims = claims_module.from_json(run.about["claims"] if "claims" in run.about else [])
    near = {claim.id: claim for claim in claims if math.isfinite(claim.condition.high - claim.condition.low)}
    entries = []
    for verdict in found:
        measure = near[verdict.id].measure if verdict.id in near else None
        if isinstance(measure, Value) and isinstance(verdict.published, float) and verdict.measured is not None:
            entries.append(_Published(measure, verdict.published, verdict))
    return entries


def _made_by(run: Run) -> str:
    jax = run.about.get("versions", {}).get("jax")
    devices = {device for device in run.about.get("devices", []) if not device.startswith("cpu")}
    where = f" on {', '.join(sorted(devices))}" if devices else ""
    return (
        f"    {run.about.get('command', '')}\n\n"
        f"{run.config.get('description', '')} {size(run)}, jax {jax}{where}. Mean ± half of the 95 % "
        f"t-interval over seeds, {curves.rule_told(run.table)}. Below it the published number, where there is one: ✓ "
        "if the interval lies within the tolerance of it, ✗ if it lies "
        "outside, no mark if it straddles the bound or seeds or steps are too few to say."
    )


def _errors(run: Run, published: Sequence[_Published]) -> str:
    """One table per predictor and value of what is swept beside the column axis."""
    quantities = _quantities(run, published)
    chosen = curves.pick(curves.select(run.table), [(q.metric, q.eval_set) for q in quantities])
    names = [name for name in curves.swept_names(chosen) if chosen[name].nunique() > 1]
    across, beside = (names[0], names[1:]) if names else ("step", [])
    tables = []
    for (predictor, *values), rows in chosen.groupby(["predictor", *beside], dropna=False):
        at = {name: value for name, value in zip(beside, values, strict=True) if value == value}  # else of others
        title = ", ".join([f"**{predictor}**", *(f"{name} = {wording.number(value)}" for name, value in at.items())])
        mine = [entry for entry in published if entry.value.predictor == predictor and _is_at(entry, at)]
        own = across if rows[across].notna().any() else "step"  # a setting of another predictor
        tables.append(f"{title}\n\n{_table(rows, own, quantities, mine)}")
    return "\n\n".join(tables)


def _over_positions(run: Run, spec: Spec) -> str:
    """The numbers of a figure over positions, a line of the table for each of the figure; "" for other figures."""
    if not isinstance(spec, Lines) or spec.x != POSITION or STEP in (spec.lines, spec.columns):
        return ""
    rows = resolution.rows_of(spec, curves.where(curves.select(run.table), spec.where))
    names = [name for name in (QUANTITY, spec.columns, spec.lines) if name and name in rows]
    names = [name for name in dict.fromkeys(names) if name != QUANTITY or len(spec.quantities) > 1] or [PREDICTOR]
    columns = _few(sorted(rows[POSITION].unique()))
    head = [f"{spec.title}: {wording.x_text(spec)}", *(f"{column:g}" for column in columns)]
    lines = [head, ["---"] * len(head)]
    for values, mine in rows.groupby(names, sort=False):
        told = ", ".join(map(functools.partial(_told_line, spec), names, values))
        cells = [curves.summarize(mine[mine[POSITION] == column]["value"].to_numpy()) for column in columns]
        if any(cell.seeds for cell in cells):
            lines.append([told, *map(_cell, cells)])
    return _markdown(lines)


def _few(positions: Sequence[float]) -> list[float]:
    """All positions where they are few, else 0, 1, 2, 5, 10, 20, 50, ... and the last."""
    round_ = {0, *(digit * 10**zeros for zeros in range(5) for digit in (1, 2, 5))}
    return [k for k in positions if len(positions) <= _MOST_COLUMNS or k in round_ or k == positions[-1]]


def _told_line(spec: Lines, name: str, value: Any) -> str:
    if name == QUANTITY:
        return spec.quantities[value].text
    return str(value) if name == PREDICTOR else f"{wording.symbol(name)} = {wording.number(value)}"


def _is_at(entry: _Published, point: Mapping[str, Any]) -> bool:
    """Whether the point has the values that the claim pins, of the names that both know."""
    where = entry.value.where
    return all(measures.same(where[name], value) for name, value in point.items() if name in where)


def _quantities(run: Run, published: Sequence[_Published]) -> tuple[Quantity, ...]:
    """What the figures show, what was published, then the other headline numbers."""
    shown = [Quantity(q.metric, q.eval_set) for spec in run.figures for q in spec.quantities]
    shown += [Quantity(entry.value.metric, entry.value.eval_set) for entry in published]
    return tuple(dict.fromkeys((*shown, *headlines(pairs(run.table), most=99))))


def _table(rows: pd.DataFrame, across: str, quantities: Sequence[Quantity], published: Sequence[_Published]) -> str:
    columns = sorted(rows[across].dropna().unique())
    columns = columns[:: math.ceil(len(columns) / _MOST_COLUMNS)]
    lines = [[across, *(wording.number(column) for column in columns)], ["---"] * (len(columns) + 1)]
    for quantity in quantities:
        mine = curves.pick(rows, [(quantity.metric, quantity.eval_set)])
        if mine.empty:
            continue
        values = [mine[mine[across] == column]["value"].to_numpy() for column in columns]
        cells = [curves.summarize(some) for some in values]
        if not any(cell.seeds for cell in cells) and rows["value"].notna().any():
            continue  # nothing diverged: the measure does not apply
        name = quantity.metric if quantity.eval_set == "summary" else f"{quantity.metric}, {quantity.eval_set}"
        told = [_cell(cell) if len(some) else "–" for cell, some in zip(cells, values, strict=True)]  # –: not measured
        lines.append([name, *told])
        lines += _published_line(quantity, across, columns, published)
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _published_line(
    quantity: Quantity, across: str, columns: Sequence[Any], published: Sequence[_Published]
) -> Iterator[list[str]]:
    """The published numbers of one row of a table, if there are any."""
    mine = [p for p in published if (p.value.metric, p.value.eval_set) == (quantity.metric, quantity.eval_set)]
    cells = [[entry for entry in mine if _is_at(entry, {across: column})] for column in columns]
    if any(cells):
        yield ["*published*", *(f"*{c[0].number:.2f}*{_MARKS[c[0].verdict.verdict]}" if c else "" for c in cells)]


def _cell(summary: curves.Summary) -> str:
    if summary.seeds == 0:
        return "diverged"
    mean = verdicts.two_digits(summary.mean)
    if summary.seeds == 1:
        return mean
    half = summary.high - summary.mean
    return f"{mean} ± {half:.{len(mean.partition('.')[2])}f}" if "e" not in mean else f"{mean} ± {half:.1e}"


def _verdicts(found: Sequence[Verdict], stated: Sequence[Verdict]) -> str:
    """The count of all claims, and those that no table shows."""
    if not found:
        return ""
    head = f"Claims: {counted(found)}."
    shown = [verdict for verdict in stated if verdict.measured is not None]
    if not shown:
        return head
    lines = [["claim", "statement", "published", "measured", "interval", "verdict"], ["---"] * 6]
    lines += [
        [v.id, v.statement, _number(v.published), _number(v.measured), _interval(v.interval), _told(v)] for v in shown
    ]
    return f"{head}\n\n{_markdown(lines)}"


def _told(verdict: Verdict) -> str:
    return f"open: {verdict.reason}" if verdict.verdict == UNDECIDED else f"**{verdict.verdict}**"


def _number(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else verdicts.two_digits(value)


def _interval(interval: Sequence[float] | None) -> str:
    return "" if not interval else " to ".join(map(verdicts.two_digits, interval))
