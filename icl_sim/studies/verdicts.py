"""Verdicts: claims held against a results table.

holds            the interval over seeds lies in the claim's range
fails            it lies outside
not enough data  it straddles a bound, or there are too few seeds or steps, or the table lacks what the claim names
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icl_sim.studies import claims as claims_module
from icl_sim.studies import curves, measures
from icl_sim.studies.claims import Claim, Range
from icl_sim.studies.files import write_atomically
from icl_sim.studies.measures import count

if TYPE_CHECKING:
    import pandas as pd

HOLDS, FAILS, UNDECIDED = "holds", "fails", "not enough data"
_REASONS = 3  # for which claims say nothing of a run, that a text tells


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
    rows, evaluations = curves.select(table, rule), curves.with_last_step(table)
    return [_judge(claim, rows, evaluations, settings or {}) for claim in claims]


def _judge(claim: Claim, rows: pd.DataFrame, evaluations: pd.DataFrame, settings: Mapping[str, Any]) -> Verdict:
    try:
        reading = measures.read(claim.measure, rows, evaluations, settings)
    except measures.Unanswerable as missing:
        return _verdict(claim, UNDECIDED, str(missing))
    summary = (curves.summarize_ratios if reading.is_ratio else curves.summarize)(reading.per_seed.to_numpy())
    lost = len(reading.per_seed) - summary.seeds
    verdict, reason = _decide(claim, summary, reading.steps)
    remarks = [
        reason,
        reading.remark,
        f"{lost} of {len(reading.per_seed)} seeds have no value (diverged?)" if lost else "",
    ]
    return _verdict(claim, verdict, "; ".join(filter(None, remarks)), summary, reading.steps)


def _decide(claim: Claim, summary: curves.Summary, steps: int) -> tuple[str, str]:
    needed = 1 if claim.exact else max(claim.min_seeds, 2)
    if summary.seeds < needed:
        return UNDECIDED, f"{count(summary.seeds, 'seed')}, {needed} needed"
    if summary.seeds == 1:
        summary = dataclasses.replace(summary, low=summary.mean, high=summary.mean)
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


# ---------------------------------------------------------------------------------------------- for people and files


def to_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as plain JSON; infinities become words and NaN null."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        if isinstance(value, float) and math.isinf(value):
            return repr(value)  # a word: "inf" is where two curves never cross
        return None if isinstance(value, float) and math.isnan(value) else value

    return [{k: plain(v) for k, v in dataclasses.asdict(verdict).items()} for verdict in verdicts]


def write(verdicts: Sequence[Verdict], path: str | os.PathLike[str]) -> None:
    """Writes `verdicts.json` atomically."""
    write_atomically(Path(path), (json.dumps(to_json(verdicts), indent=2, allow_nan=False) + "\n").encode())


def published_text(verdict: Verdict) -> str:
    published = verdict.published
    return "–" if published is None else two_digits(published) if isinstance(published, float) else str(published)


def measured_text(verdict: Verdict) -> str:
    return "–" if verdict.measured is None else two_digits(verdict.measured)


def interval_text(verdict: Verdict) -> str:
    return "–" if verdict.interval is None else "[{}, {}]".format(*map(two_digits, verdict.interval))


def two_digits(value: float) -> str:
    """Two decimals, none from 1,000 on; two digits of what would have none in them, and no minus before zeros."""
    if 0 < abs(value) < 0.0995:
        return f"{value:.2g}"
    return f"{value:,.0f}" if 1000 <= abs(value) < math.inf else f"{round(value, 2) + 0.0:.2f}"


def to_text(verdicts: Sequence[Verdict], width: int = 110) -> str:
    """An aligned table for terminals of the claims that the run says anything about, decided ones in words too."""
    if not verdicts:
        return "This study makes no claims."
    counts = ", ".join(f"{sum(v.verdict == kind for v in verdicts)} {kind}" for kind in (HOLDS, FAILS, UNDECIDED))
    total = f"{count(len(verdicts), 'claim')}: {counts}."
    shown = [v for v in verdicts if v.measured is not None]
    if absent := [v.reason.removesuffix(" for this claim") for v in verdicts if v.measured is None]:
        most = collections.Counter(absent).most_common(_REASONS)
        told = [f"{reason} ({number})" for reason, number in most]
        told += [f"other reasons ({rest})"] if (rest := len(absent) - sum(number for _, number in most)) else []
        total += f" Of these, {len(absent)} about predictors, points or settings that this run does not have: "
        total += f"{', '.join(told)}."
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
