"""A comparison in tables: the settings beside each other, for terminals and reports, and what became of each query."""

from __future__ import annotations

import html
import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from icl_sim.lm.study import QUERIES, LabelledText
from icl_sim.studies import codec, curves, report, wording
from icl_sim.studies.files import explained, write_atomically
from icl_sim.studies.measures import count

if TYPE_CHECKING:
    import pandas as pd

    from icl_sim.studies.report import Run

RATE = "predictors.finetuned.learning_rate"
_FIRST = ("zero_shot", "in_context", "finetuned")
_HEADS = (
    "setting",
    "accuracy",
    "calibrated",
    "AUC",
    "Rec2FTP",
    "SimAOU norm (random)",
    "SimAOU",
    "SimAM before > after",
    "SimAM delta",
    "Kendall (random)",
    "update",
    "own ZSL, ICL",
)
_MOST_QUERIES = 400
_LONGEST = 300  # characters of a query that are shown


def comparison(workdir: str | os.PathLike) -> str:
    """The settings of a run as an aligned table of text, means over seeds, with what the columns are below."""
    run = report.read(workdir)
    lines = [_HEADS, *_lines(run.table)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADS))]
    rows = [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(_zipped(line, widths)))
        for line in lines
    ]
    told = [line for text in (_meaning(run), _chosen(run.table)) for line in textwrap.wrap(text, len(rows[0]))]
    return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:], "", *told])


def write_appendix(workdir: str | os.PathLike) -> None:
    """Leaves both tables for the report of a run."""
    run = report.read(workdir)
    parts = ("settings", "Settings", _settings_table(run)), ("queries", "Queries", _query_table(run))
    sections = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{table}</section>'
        for name, title, table in parts
    )
    with explained(run.folder):
        write_atomically(run.folder / report.APPENDIX, sections.encode())


def _settings_table(run: Run) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in _HEADS)
    body = "".join(
        f'<tr><th scope="row">{html.escape(line[0])}</th>'
        + "".join(f'<td class="number">{html.escape(cell)}</td>' for cell in line[1:])
        + "</tr>"
        for line in _lines(run.table)
    )
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    chosen = f"<p>{html.escape(text)}</p>" if (text := _chosen(run.table)) else ""
    return f'<p class="lead">{html.escape(_meaning(run))}</p>{table}{chosen}'


def _meaning(run: Run) -> str:
    return (
        f"Means over {count(run.table['seed'].nunique(), 'seed')}. Calibrated: each class's mean score is subtracted. "
        "Rec2FTP: of the queries that finetuning corrects, those that demonstrations correct too, summed over seeds. "
        "SimAOU, SimAM, Kendall: how alike the changes of attention outputs, attention maps and the order of tokens "
        "are to those of in-context learning; in brackets the same for random updates. Update: its length by that of "
        "what moved. Own ZSL, ICL: accuracy of the same weights before it. Similarity rises with the update even where "
        "finetuning destroys the answers: read it beside the accuracy."
    )


def _lines(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """A line per setting: predictor and point of the sweep."""
    return [_line(name, rows) for name, rows in _settings(table[table["eval_set"] == "summary"])]


def _line(name: str, rows: pd.DataFrame) -> tuple[str, ...]:
    by_metric = rows.groupby("metric")["value"]
    means, sums = by_metric.mean().to_dict(), by_metric.sum().to_dict()

    def told(metric: str, digits: int = 3) -> str:
        return f"{means[metric]:.{digits}f}" if metric in means else ""

    compared = "sim_aou" in means
    return (
        name,
        told("accuracy"),
        told("calibrated_accuracy"),
        told("auc"),
        f"{sums['ft_and_icl_correct']:.0f}/{sums['ft_corrects']:.0f}" if compared else "",
        f"{told('sim_aou_norm')} ({told('sim_aou_norm_uniform')})" if compared else "",
        told("sim_aou"),
        f"{told('sim_am_before')} > {told('sim_am_after')}" if compared else "",
        told("sim_am_delta"),
        f"{told('kendall')} ({told('kendall_random')})" if compared else "",
        f"{means['relative_update_norm']:.2g}" if compared else "",
        f"{told('zsl_accuracy')}, {told('icl_accuracy')}" if compared else "",
    )


def _chosen(table: pd.DataFrame) -> str:
    """Which seed and rate the search of Dai et al. 2023 would choose, in a sentence; empty where there is no choice."""
    rows = table[(table["eval_set"] == "summary") & (table["metric"] == "accuracy")]
    shown, tuned = (rows[rows["predictor"] == name] for name in ("in_context", "finetuned"))
    if shown["seed"].nunique() < 2 or RATE not in tuned or tuned[RATE].nunique() < 2:
        return ""
    best = shown.loc[shown["value"].idxmax()]
    rate = (tuned := tuned[tuned["seed"] == best["seed"]]).loc[tuned["value"].idxmax()]
    return (
        f"By accuracy on these same queries, as Dai et al. choose: seed {best['seed']:g} "
        f"({best['value']:.3f} in context) and with it the learning rate {rate[RATE]:g} "
        f"({rate['value']:.3f} finetuned). What is chosen where it is reported is too good: ask other rows for numbers "
        "that are compared."
    )


def _settings(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each predictor at each point of the sweep, seeds together, with what to call it."""
    swept = [name for name in curves.swept_names(rows) if rows[name].nunique() > 1]
    found = []
    for (predictor, *values), part in rows.groupby(["predictor", *swept], dropna=False, sort=True):
        at = [
            f"{name.split('.')[-1].replace('_', ' ')} {wording.number(v)}"
            for name, v in zip(swept, values, strict=True)
            if v == v
        ]
        found.append((predictor, ", ".join([predictor.replace("_", " "), *at]), part))
    order = {name: number for number, name in enumerate(_FIRST)}
    return [(name, part) for predictor, name, part in sorted(found, key=lambda one: order.get(one[0], len(order)))]


def _query_table(run: Run) -> str:
    """For every query the share of seeds in which each setting was right, and by how much the right answer led."""
    rows = run.table[run.table["eval_set"] == QUERIES]
    if rows.empty:
        return "<p>Nothing was kept of single queries.</p>"
    texts = _texts(run)
    settings = []
    for name, part in _settings(rows):
        cells = part.groupby("metric")["value"].mean().to_dict()
        settings.append((name, cells))
    size = sum(1 for name in settings[0][1] if name.startswith("right/"))
    head = "".join(
        f'<th scope="col">{html.escape(name)}</th>' for name in ("", "query", "label", *(n for n, _ in settings))
    )
    body = []
    for number in range(min(size, _MOST_QUERIES)):
        text, label = texts[number] if number < len(texts) else ("", "")
        cells = "".join(_cell(cells.get(f"right/{number}"), cells.get(f"margin/{number}")) for _, cells in settings)
        body.append(f"<tr><td>{number + 1}</td><td>{html.escape(text)}</td><td>{html.escape(label)}</td>{cells}</tr>")
    left = f" The first {_MOST_QUERIES} of {size}." if size > _MOST_QUERIES else ""
    return (
        '<p class="lead">By how much the score of the right answer is above all others, mean over seeds; '
        f"the greener, the more seeds are right.{left}</p>"
        f"<details><summary>{min(size, _MOST_QUERIES)} queries</summary>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div></details>'
    )


def _cell(right: float | None, margin: float | None) -> str:
    if right is None or margin is None or right != right:
        return "<td></td>"
    color = f"color-mix(in srgb, var(--good-back) {100 * right:.0f}%, var(--bad-back))"
    return f'<td class="number" style="background:{color}">{margin:+.2f}</td>'


def _texts(run: Run) -> list[tuple[str, str]]:
    """The text and the label of every query, as far as they can be read again where this is written."""
    plain: Any = codec.from_json(run.config["task"])
    try:
        task = codec.decode_setting(plain, "task", codec.TASKS)
        if not isinstance(task, LabelledText):
            return []
        words = task.words
        return [(" / ".join(row.fields.values())[:_LONGEST], words[row.label]) for row in task.asked()]
    except ValueError:  # the texts have gone elsewhere; their numbers stay
        return []


def _zipped(line: Sequence[str], widths: Sequence[int]) -> list[tuple[str, int]]:
    return list(zip(line, widths, strict=True))
