"""The report of a run: verdicts, figures and one self-contained page, from its `study.json` and results table alone."""

from __future__ import annotations

import base64
import dataclasses
import functools
import gzip
import html
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icl_sim.names import expanded
from icl_sim.studies import claims as claims_module
from icl_sim.studies import curves, figures, palette, presets, remarks, resolution, verdicts, wording
from icl_sim.studies.claims import Claim
from icl_sim.studies.figures import POSITION, QUANTITY, STEP, Spec
from icl_sim.studies.files import StoreError, explained, write_atomically
from icl_sim.studies.quantities import Quantity, headlines, known_range, pairs
from icl_sim.studies.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

REPORT, VERDICTS, FIGURES, APPENDIX = "report.html", "verdicts.json", "figures", "appendix.html"
MEAN, MEAN_TEXT = -1, "mean of all"  # among positions
_MOST_CELLS = 60_000  # of curves over steps at positions; a page with more has their selected checkpoints only
_TEMPLATE = Path(__file__).with_name("report_page.html")


class ReportError(ValueError):
    """A run cannot be reported on; the message is a sentence for its owner."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What is read of a run: its folder, its `study.json`, and its results."""

    folder: Path
    about: Mapping[str, Any]
    table: pd.DataFrame

    @property
    def config(self) -> Mapping[str, Any]:
        return self.about["config"]

    @property
    def task_kind(self) -> str | None:
        return (self.config.get("task") or {}).get("kind")

    @property
    def figures(self) -> tuple[Spec, ...]:
        """The figures of its study, or else of its family, that it has data for."""
        return resolution.chosen(self.own_figures, self.task_kind, self.table)

    @property
    def own_figures(self) -> tuple[Spec, ...]:
        """Those of its study."""
        return figures.from_json(self.about["figures"] if "figures" in self.about else [])

    @functools.cached_property
    def unanswered(self) -> list[str]:
        """Sentences about predictors whose answers are not finite."""
        return remarks.on_answers(self.table)

    @functools.cached_property
    def unmeasured(self) -> list[str]:
        """Sentences about what its figures show and it does not have."""
        return remarks.on_figures(self.own_figures, self.table, len(self.about.get("members") or ()))


def read(workdir: str | os.PathLike[str]) -> Run:
    """Reads a run, finished or not. Raises ReportError if there is none, none yet, or a damaged one."""
    from icl_sim.studies import description, store

    folder = expanded(workdir)
    if not folder.is_dir():
        raise ReportError(f"There is no folder {folder}; --workdir names the folder that launch/run.py wrote to.")
    try:
        about, table = description.read(folder), store.load(folder)
    except StoreError as error:
        raise ReportError(str(error)) from error
    except FileNotFoundError:
        raise ReportError(f"{folder} holds no results yet; launch/run.py writes them.") from None
    except OSError as error:
        raise ReportError(f"{folder / store.RESULTS} is damaged and cannot be read ({error}).") from error
    missing = [name for name in (*curves.RECORD_COLUMNS, "seed") if name not in table]
    if missing:
        raise ReportError(f"{folder / store.RESULTS} is no results table: it has no column {', '.join(missing)}.")
    if table[table["eval_set"] != "training"].empty:
        raise ReportError(f"{folder} holds no results yet: nothing was evaluated so far.")
    return Run(folder, about, table)


def write_verdicts(run: Run, claims: Iterable[Claim] | None = None) -> list[Verdict]:
    """Holds the run's own claims, or those given, against its results, and writes `verdicts.json`."""
    if claims is None:
        claims = claims_module.from_json(run.about["claims"] if "claims" in run.about else [])
    found = verdicts.evaluate(claims, run.table, run.config)
    with explained(run.folder):
        verdicts.write(found, run.folder / VERDICTS)
    return found


def write_report(
    workdir: str | os.PathLike[str],
    claims: Iterable[Claim] | None = None,
    tell: Callable[[str], object] = lambda sentence: None,
) -> list[Verdict]:
    """Writes `verdicts.json`, `figures/` and `report.html` of a run, and returns the verdicts.

    Needs the extra `report` (matplotlib and plotly). A run that still goes on can be reported on at any time.

    Args:
      workdir: the run's folder.
      claims: what to check instead of the claims that the study came with.
      tell: gets sentences about answers that are not finite and about figures with nothing to show.
    """
    run = read(workdir)
    for sentence in (*run.unanswered, *run.unmeasured):
        tell(sentence)
    found = write_verdicts(run, claims)
    specs = run.figures
    with explained(run.folder):
        images = _draw(run, specs)
        write_atomically(run.folder / REPORT, page(run, specs, images, found).encode())
    return found


def _draw(run: Run, specs: Sequence[Spec]) -> list[str]:
    from icl_sim.studies import drawing

    folder = run.folder / FIGURES
    folder.mkdir(exist_ok=True)
    return [drawing.save(drawing.draw(spec, run.table), folder, spec.name) for spec in specs]


# ---------------------------------------------------------------------------------------------- the page


def page(run: Run, specs: Sequence[Spec], images: Sequence[str], found: Sequence[Verdict]) -> str:
    """The whole report as one HTML page that needs no other file and no network.

    Args:
      specs: the resolved figures.
      images: the SVG of each.
      found: the verdicts.
    """
    quantities = _quantities(run.table, specs)
    parts = {
        "title": html.escape(str(run.about["name"] if run.about.get("name") else "study")),
        "description": html.escape(str(run.about["description"] if "description" in run.about else "")),
        "facts": _facts(run),
        "meanings": html.escape(presets.MEANINGS.get(run.task_kind or "", "")),
        "config": html.escape(json.dumps(run.config, indent=1, ensure_ascii=False)),
        "verdicts": _verdict_table(found),
        "figures": "".join(_figure(spec, image) for spec, image in zip(specs, images, strict=True))
        + "".join(f"<p>{html.escape(sentence)}</p>" for sentence in run.unmeasured),
        "data": _script_json(page_data(run.table, quantities, specs)),
        "plotly": _plotly(),
        "appendix": _appendix(run.folder),
    }
    # One pass: what is put in is not searched for names again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _TEMPLATE.read_text(encoding="utf-8"))


def page_data(table: pd.DataFrame, quantities: Sequence[Quantity], specs: Sequence[Spec]) -> dict[str, Any]:
    """What the page's chart shows, per predictor, point of the sweep and quantity the curve over steps.

    A series is [predictor, point, quantity, [[step...], [mean...], [low...], [high...], [seeds...]], [mean, low,
    high, seeds]] with predictor, point (one per swept name) and quantity as numbers into the lists beside it; the last
    entry is at each seed's selected checkpoint (`curves.select`). In the point, null is a setting of other predictors.
    Positions are as another swept name, of the quantities that a figure shows over positions.
    """
    from icl_sim.studies.canvas import Scale

    rows, selected = (_with_positions(quantities, specs, part) for part in (table, curves.select(table)))
    at_positions = rows[POSITION] != MEAN
    if at_positions.sum() / max(rows["seed"].nunique(), 1) > _MOST_CELLS:
        rows = rows[~at_positions]
    names = [name for name in curves.swept_names(table) if table[name].nunique() > 1]
    names += [POSITION] if selected[POSITION].nunique() > 1 else []
    predictors = list(rows["predictor"].unique())
    points = {name: {v: i for i, v in enumerate(sorted(selected[name].dropna().unique()))} for name in names}
    scales = {name: Scale(name, [*points[name]]) for name in names} | {STEP: Scale(STEP, rows[STEP].tolist())}
    by = ["predictor", *names, QUANTITY]
    chosen = dict(_summarized(selected, by))
    grouped: dict[tuple[Any, ...], list[Any]] = {key: [] for key in chosen}
    for (*key, step), cell in _summarized(rows, [*by, STEP]):
        grouped.setdefault(tuple(key), []).append((step, *cell))
    series = [
        [
            predictors.index(key[0]),
            [points[name].get(value) for name, value in zip(names, key[1:-1], strict=True)],
            key[-1],
            list(zip(*curve, strict=True)) or [[]] * 5,
            chosen[key] if key in chosen else None,
        ]
        for key, curve in grouped.items()
    ]
    paint, metrics = palette.colors(predictors), set(table["metric"].unique())
    first = {(q.metric, q.eval_set) for q in specs[0].quantities} if specs else set()
    return {
        "x": names.index(specs[0].x) if specs and specs[0].x in names else 0,
        "axes": [_axis(scales[name], name, list(points[name])) for name in names],
        "steps": _axis(scales[STEP], STEP, sorted(int(step) for step in rows[STEP].unique())),
        "predictors": [{"name": name, "color": paint[name]} for name in predictors],
        "quantities": [
            {"label": q.text, "shown": (q.metric, q.eval_set) in first, "unit": known_range(q, metrics) == (0, 1)}
            for q in quantities
        ],
        "rule": curves.rule_told(table),
        "series": series,
    }


def _with_positions(quantities: Sequence[Quantity], specs: Sequence[Spec], table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the quantities, of those that figures show over positions these too."""
    import pandas as pd

    over = {(q.metric, q.eval_set) for spec in specs if POSITION in figures.axes_of(spec) for q in spec.quantities}
    number = {(q.metric, q.eval_set): i for i, q in enumerate(quantities)}
    rows = curves.pick(table, list(number)).assign(**{POSITION: MEAN})
    if over:
        rows = pd.concat([rows, curves.by_position(table, sorted(over))])
    pairs = zip(rows["metric"], rows["eval_set"], strict=True)
    return rows.assign(**{QUANTITY: [number[pair] for pair in pairs]})


def _quantities(table: pd.DataFrame, specs: Sequence[Spec]) -> list[Quantity]:
    """Those of the figures, then the other headline numbers. A name for a line says too little of a panel."""
    shown = [
        dataclasses.replace(q, label="") if QUANTITY in figures.axes_of(spec) else q
        for spec in specs
        for q in spec.quantities
    ]
    found: dict[tuple[str, str], Quantity] = {}
    for q in (*shown, *headlines(pairs(table), most=12)):
        found.setdefault((q.metric, q.eval_set), q)
    return list(found.values())


def _summarized(rows: pd.DataFrame, by: list[str]) -> list[tuple[tuple[Any, ...], list[float | None]]]:
    """`curves.summarize` of every group as (key, [mean, low, high, seeds]), in order of the keys; null is None."""
    groups = rows.groupby(by, dropna=False)["value"].agg(["mean", "std", "count"])
    keys = [tuple(None if part != part else part for part in key) for key in groups.index.tolist()]
    numbers = groups.to_numpy(float).tolist()
    cells = []
    for mean, std, count in numbers:
        half = curves.student_t(0.95, int(count) - 1) * std / math.sqrt(count) if count > 1 else math.nan
        cells.append([_short(mean), _short(mean - half), _short(mean + half), int(count)])
    return list(zip(keys, cells, strict=True))


def _axis(scale: Any, name: str, values: Sequence[Any]) -> dict[str, Any]:
    mean = name == POSITION and MEAN in values  # it has no place on the axis, and is what is seen at first
    return {
        "label": wording.axis_label(name),
        "symbol": wording.symbol(name),
        "text": [MEAN_TEXT if mean and value == MEAN else wording.number(value) for value in values],
        "at": [
            _short(scale.at(value)) if value in scale.values and not (mean and value == MEAN) else None
            for value in values
        ],
        "first": 0 if mean else len(values) // 2,
        "steps": values if name == STEP else None,
    }


def _short(value: float) -> float | None:
    """Four significant digits; null for what is not finite, which JSON has no word for."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _script_json(data: Any) -> str:
    """JSON that cannot end or open a script element, whatever names are in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plotly() -> str:
    """plotly.js, packed: browsers unpack gzip themselves, and the page is a third of the size."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _appendix(folder: Path) -> str:
    """Sections that whoever ran the study has left for the page, as HTML; none if there is no such file."""
    path = folder / APPENDIX
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _facts(run: Run) -> str:
    about, table = run.about, run.table
    members = table["member"].nunique()
    diverged = table.loc[table["metric"] == "diverged_at_step", "member"].nunique()
    steps = table.groupby("member")["step"].max()
    facts: dict[str, Any] = {
        "Command": about.get("command"),
        "Members": f"{members:,} ({', '.join(map(str, table['predictor'].unique()))})",
        "Diverged": f"{diverged} of {members}" if diverged else None,
        "Not finite": " ".join(run.unanswered),
        "Seeds": ", ".join(wording.number(seed) for seed in sorted(table["seed"].unique())),
        "Steps": f"{steps.max():,}" + (f" (some members: {steps.min():,} so far)" if steps.min() < steps.max() else ""),
        "Begun": about.get("created"),
        "Commit": about.get("commit"),
        "Versions": ", ".join(f"{name} {v}" for name, v in (about.get("versions") or {}).items() if v),
        "Devices": ", ".join(map(str, about.get("devices") or ())),
    }
    return "".join(
        f"<dt>{name}</dt><dd>{'<code>' if name == 'Command' else ''}{html.escape(str(value))}"
        f"{'</code>' if name == 'Command' else ''}</dd>"
        for name, value in facts.items()
        if value
    )


def _verdict_table(found: Sequence[Verdict]) -> str:
    if not found:
        return "<p>This study makes no claims.</p>"
    counts = ", ".join(
        f"{sum(v.verdict == kind for v in found)} {kind}"
        for kind in (verdicts.HOLDS, verdicts.FAILS, verdicts.UNDECIDED)
    )
    parts = [f"<p>{verdicts.count(len(found), 'claim')}: {counts}.</p>"]
    measured = [verdict for verdict in found if verdict.measured is not None]
    others = [verdict for verdict in found if verdict.measured is None]
    if measured:
        parts.append(_verdict_rows(measured))
    if others:
        count = verdicts.count(len(others), "claim")
        summary = f"{count} about predictors, points or settings that this run does not have"
        parts.append(f"<details><summary>{summary}</summary>{_verdict_rows(others)}</details>")
    return "".join(parts)


def _verdict_rows(found: Sequence[Verdict]) -> str:
    heads = ("Claim", "Verdict", "Published", "Measured", "95 % interval", "Seeds", "Steps")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<div class="wide"><table class="verdicts"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(map(_verdict_row, found))}</tbody></table></div>"
    )


def _verdict_row(verdict: Verdict) -> str:
    kind = verdict.verdict.replace(" ", "-")
    numbers = (
        verdicts.published_text(verdict),
        verdicts.measured_text(verdict),
        verdicts.interval_text(verdict),
        str(verdict.seeds),
        f"{verdict.steps:,}",
    )
    cells = "".join(f'<td class="number">{html.escape(text)}</td>' for text in numbers)
    return (
        f'<tr id="claim-{html.escape(verdict.id)}"><th scope="row"><span class="id">{html.escape(verdict.id)}</span> '
        f'{html.escape(verdict.statement)}<span class="why">{html.escape(verdict.reason)} · '
        f'{html.escape(verdict.source)}</span></th><td><span class="verdict {kind}">{verdict.verdict}</span></td>'
        f"{cells}</tr>"
    )


def _figure(spec: Spec, image: str) -> str:
    labels = ", ".join(quantity.text for quantity in spec.quantities)
    alternative = html.escape(f"{spec.title}: {labels}, over {wording.x_text(spec)}")
    data = base64.b64encode(image.encode()).decode()
    return f'<figure><img alt="{alternative}" src="data:image/svg+xml;base64,{data}"></figure>'
