"""A run in tables of text: means and intervals over seeds, and the verdicts, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icl_sim.studies import curves, figures
from icl_sim.studies.figures import Quantity

if TYPE_CHECKING:
    import pandas as pd

    from icl_sim.studies.report import Run
    from icl_sim.studies.verdicts import Verdict


def to_markdown(run: Run, verdicts: Sequence[Verdict]) -> str:
    """The section of a run: how it was made, its errors at the checkpoint of each seed, the verdicts."""
    parts = [f"## {run.config['name']}", _made_by(run), _errors(run)]
    if verdicts:
        parts.append(_verdicts(verdicts))
    return "\n\n".join(parts) + "\n"


def _made_by(run: Run) -> str:
    table = run.table
    steps, seeds, members = int(table["step"].max()), table["seed"].nunique(), table["member"].nunique()
    return (
        f"    {run.about['command']}\n\n"
        f"{run.config['description']} {members} members, {seeds} seeds, {steps:,} steps, jax "
        f"{run.about['versions']['jax']}. Mean ± half of the 95 % t-interval over seeds, each seed at its evaluation "
        "step of the lowest loss on the training set."
    )


def _errors(run: Run) -> str:
    """One table per predictor and value of what is swept beside the column axis."""
    chosen = curves.select(run.table)
    quantities = [(q.metric, q.eval_set) for q in _quantities(run)]
    chosen = curves.pick(chosen, quantities)
    names = [name for name in curves.swept_names(chosen) if chosen[name].nunique() > 1]
    across, beside = (names[0], names[1:]) if names else ("step", [])
    tables = []
    for (predictor, *values), rows in chosen.groupby(["predictor", *beside], dropna=False):
        given = [f"{name} = {figures.number(value)}" for name, value in zip(beside, values, strict=True)]
        title = ", ".join([f"**{predictor}**", *given])
        tables.append(f"{title}\n\n{_table(rows, across, [metric for metric, _ in quantities])}")
    return "\n\n".join(tables)


def _quantities(run: Run) -> tuple[Quantity, ...]:
    """What the first figure shows, then the other headline numbers."""
    first, *_ = figures.chosen((), run.task_kind, run.table)
    return tuple(
        dict.fromkeys(
            (*(Quantity(q.metric, q.eval_set) for q in first.quantities), *figures.headlines(run.table, most=99))
        )
    )


def _table(rows: pd.DataFrame, across: str, metrics: Sequence[str]) -> str:
    columns = sorted(rows[across].unique())
    lines = [[across, *(figures.number(column) for column in columns)], ["---"] * (len(columns) + 1)]
    for metric in metrics:
        mine = rows[rows["metric"] == metric]
        cells = [curves.summarize(mine[mine[across] == column]["value"].to_numpy()) for column in columns]
        lines.append([metric, *(_cell(cell) for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(summary: curves.Summary) -> str:
    if summary.seeds == 0:
        return "diverged"
    mean = f"{summary.mean:.2f}"
    return mean if summary.seeds == 1 else f"{mean} ± {summary.high - summary.mean:.2f}"


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    found: Mapping[str, int] = {name: sum(v.verdict == name for v in verdicts) for name in ("holds", "fails")}
    open_ = len(verdicts) - sum(found.values())
    head = f"Claims: {found['holds']} hold, {found['fails']} fail, {open_} without enough data."
    decided = [verdict for verdict in verdicts if verdict.verdict in found]
    if not decided:
        return head
    lines = [["claim", "statement", "published", "measured", "interval", "verdict"], ["---"] * 6]
    lines += [
        [v.id, v.statement, _number(v.published), _number(v.measured), _interval(v.interval), f"**{v.verdict}**"]
        for v in decided
    ]
    return head + "\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.2f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if not interval else f"{interval[0]:.2f} to {interval[1]:.2f}"
