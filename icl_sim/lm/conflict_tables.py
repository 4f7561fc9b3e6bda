"""What a run says of each name, in tables: a short one for terminals, the shaded one of the paper for reports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from icl_sim.lm import conflict
from icl_sim.lm.conflict import PAIRS, Table
from icl_sim.lm.conflict_study import ANSWERS, MODELS
from icl_sim.studies import report
from icl_sim.studies.files import explained, write_atomically
from icl_sim.studies.measures import count

if TYPE_CHECKING:
    import pandas as pd

    from icl_sim.studies.report import Run

_HEADS = (
    ("name", "city", "no context", "contradicted", "contradicted"),
    ("", "", "as trained", "as trained", "as in context"),
)
_SHARES = ("memorised", "from_weights", "from_context")


def comparison(workdir: str | os.PathLike[str]) -> str:
    """For each name, how often it is answered as trained, alone and contradicted; base model and finetuned one."""
    run = report.read(workdir)
    shares = {model: _shares(run, model) for model in MODELS}

    def told(*of: str, rows: slice) -> tuple[str, ...]:
        cells = (" > ".join(f"{shares[model][name][rows].mean():.2f}" for model in MODELS) for name in _SHARES)
        return (*of, *cells)

    each = [told(*pair, rows=slice(number, number + 1)) for number, pair in enumerate(PAIRS)]
    lines = [*_HEADS, *each, told("all", "", rows=slice(None))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([*rows[:2], rule, *rows[2:-1], rule, rows[-1], "", _meaning(run)])


def write_appendix(workdir: str | os.PathLike[str]) -> None:
    """Leaves the shaded table for the report of a run."""
    run = report.read(workdir)
    base, finetuned = (_mean_table(run, model) for model in MODELS)
    page = (
        '<section aria-labelledby="answers"><h2 id="answers">Names and cities</h2><p class="lead">Log-probability of '
        "the trained city, relative to the likeliest, and after the stroke that of the city that the context says; "
        "columns are what it says. The darker, the likelier the trained city is of the two. "
        f"Means over {_seeds(run)}.</p>{conflict.shaded(base, finetuned)}<details><summary>All cities, relative to the "
        f"likeliest</summary>{conflict.candidates(base, finetuned)}</details></section>"
    )
    with explained(run.folder):
        write_atomically(run.folder / report.APPENDIX, page.encode())


def _meaning(run: Run) -> str:
    return f"Base model > finetuned one; shares of {_seeds(run)} and, where contradicted, of the cities that are said."


def _seeds(run: Run) -> str:
    return count(run.table["seed"].nunique(), "seed")


def _shares(run: Run, model: str) -> dict[str, np.ndarray]:
    """Means over the members of the shares of each name."""
    tables = [_table(rows, model) for _, rows in _answers(run).groupby("member")]
    return {name: np.mean([getattr(table, name) for table in tables], axis=0) for name in _SHARES}


def _mean_table(run: Run, model: str) -> Table:
    tables = [_table(rows, model) for _, rows in _answers(run).groupby("member")]
    return Table(np.mean([table.memory_PC for table in tables], 0), np.mean([table.context_PQC for table in tables], 0))


def _answers(run: Run) -> pd.DataFrame:
    return run.table[run.table["eval_set"] == ANSWERS]


def _table(rows: pd.DataFrame, model: str) -> Table:
    size = len(PAIRS)
    value: Any = rows.set_index("metric")["value"]

    def read(what: str, *shape: int) -> np.ndarray:
        return np.asarray([value[f"{model}_{what}/{i}"] for i in range(int(np.prod(shape)))]).reshape(shape)

    return Table(read("memory", size, size), read("context", size, size, size))
