"""From the results table to numbers with intervals: checkpoint selection, and mean and interval over seeds.

The table is in long form: `member, step, predictor, eval_set, metric, value` and one column per swept name, of which
"seed" is always one. A predictor that trains nothing has rows at step 0 only, and a setting of another predictor is
null in its rows: it is the same for every value of it.

Where every slot of a sequence is a query, `NAME/k` is the metric NAME at the position k, that is with k examples seen,
and `NAME_from/k` to `NAME_to/k` its interval over sequences. `NAME/1-7` is the mean over the positions 1 to 7.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

RECORD_COLUMNS = ("member", "step", "predictor", "eval_set", "metric", "value")
POSITION, QUANTITY = "position", "quantity"
LIMITS = ("from", "to")
_ADDED = ("seed", "last_step", POSITION, QUANTITY, *LIMITS)  # columns that nothing sweeps, beside those of the record
_AT = re.compile(r"(.+)/(\d+)")
_BETWEEN = re.compile(r"(.+)/(\d+)-(\d+)")
# Means of -log p below this are rounding: one float32 step of p below 1 costs 6e-8, the loss that a small training set
# reaches is a handful of those, and its order says nothing.
RESOLUTION = 1e-6
RULES = {
    "lowest_loss": "each seed at its checkpoint of the lowest loss on the training set (the latest on ties)",
    "last": "each seed at its last checkpoint",
}


def swept_names(table: pd.DataFrame) -> tuple[str, ...]:
    """Names of the sweep's columns without the seed, those with the most values first."""
    names = [name for name in table.columns if name not in (*RECORD_COLUMNS, *_ADDED)]
    return tuple(sorted(names, key=lambda name: -table[name].nunique()))


def select(table: pd.DataFrame, rule: str = "lowest_loss") -> pd.DataFrame:
    """The evaluations of one checkpoint per member, with the last step of the member as `last_step`.

    The rule "lowest_loss" is that of Chan et al. 2025: the checkpoint with the lowest cross-entropy on the training
    set itself (the evaluation set "pretraining"), the latest one on ties. Losses below `RESOLUTION` are ties.
    A member that was not evaluated there, or that diverged before it was, is read at its last checkpoint, and so is one
    that learns online, whose regret is about all of its steps.
    """
    if rule not in RULES:
        raise ValueError(f'Unknown selection rule "{rule}": allowed are {", ".join(RULES)}.')
    evaluated = with_last_step(table[table["eval_set"] != "training"])
    last = evaluated.groupby("member")["last_step"].first()
    chosen = last.copy()
    if rule == "lowest_loss":
        losses = evaluated[(evaluated["eval_set"] == "pretraining") & (evaluated["metric"] == "cross_entropy")].dropna(
            subset="value"
        )
        losses = losses.assign(value=losses["value"].clip(lower=RESOLUTION))
        # On ties the latest wins: sorted by loss and then by falling step, it comes first.
        best = losses.sort_values(["value", "step"], ascending=[True, False]).groupby("member")["step"].first()
        online = evaluated.loc[evaluated["eval_set"] == "online", "member"]
        chosen.update(best[~best.index.isin(online)])
    # A member that ended in NaN has no result, however good it was before.
    finite = evaluated[evaluated["step"] == evaluated["member"].map(last)].groupby("member")["value"].count()
    diverged = finite.index[finite == 0]
    chosen.loc[diverged] = last.loc[diverged]
    return evaluated[evaluated["step"] == evaluated["member"].map(chosen)]


def rule_told(table: pd.DataFrame, rule: str = "lowest_loss") -> str:
    """The rule in words, as it comes out for a table: without a loss on the training set, the last is read."""
    loss = (table["eval_set"] == "pretraining") & (table["metric"] == "cross_entropy")
    return RULES[rule if loss.any() else "last"]


def with_last_step(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the last step of each member as `last_step`."""
    return rows.assign(last_step=rows["member"].map(rows.groupby("member")["step"].max()))


def crossing(x: np.ndarray, gap: np.ndarray) -> float:
    """From where on `gap` stays below 0, interpolated in log x; inf if it is not at the end.

    NaN if it was below all along, where there is nothing to cross, and if the end is NaN.
    """
    if math.isnan(gap[-1]):
        return math.nan
    if gap[-1] >= 0:
        return math.inf
    above = np.flatnonzero(gap >= 0)
    if not len(above):
        return math.nan
    i = int(above[-1])
    share = gap[i] / (gap[i] - gap[i + 1])
    return float(np.exp(np.log(x[i]) + share * (np.log(x[i + 1]) - np.log(x[i]))))


def matches(column: pd.Series, value: Any) -> np.ndarray:
    """Where a column holds a value, or null: that row is the same for every value. Numbers may differ by rounding."""
    if isinstance(value, int | float) and column.dtype.kind in "biuf":
        same = np.isclose(column.to_numpy(float), float(value), rtol=1e-9, atol=1e-12)
    else:
        same = (column == value).to_numpy(bool)
    return same | column.isna().to_numpy(bool)


def where(table: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """The rows at which each of these columns holds this value."""
    for name, value in values.items():
        table = table[matches(table[name], value)]
    return table


def parts(metric: str) -> tuple[str, ...]:
    """The metrics whose mean a metric is: those at the positions 1 to 7 for `NAME/1-7`, itself for any other."""
    between = _BETWEEN.fullmatch(metric)
    if not between:
        return (metric,)
    name, first, last = between[1], int(between[2]), int(between[3])
    return tuple(f"{name}/{k}" for k in range(first, last + 1))


def names_at(metrics: Iterable[str]) -> dict[str, tuple[str, int]]:
    """NAME and k of those of the metrics that are called `NAME/k`."""
    found = {metric: _AT.fullmatch(metric) for metric in metrics}
    return {metric: (at[1], int(at[2])) for metric, at in found.items() if at}


def pick(table: pd.DataFrame, quantities: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The rows of these (metric, evaluation set); of a metric over several positions, their mean."""
    import pandas as pd

    plain = [(metric, eval_set) for metric, eval_set in quantities if parts(metric) == (metric,)]
    rows = table[table["metric"].isin([metric for metric, _ in plain])]
    wanted = np.zeros(len(rows), bool)
    for metric, eval_set in plain:
        wanted |= ((rows["metric"] == metric) & (rows["eval_set"] == eval_set)).to_numpy(bool)
    means = [_mean(table, *pair) for pair in dict.fromkeys(quantities) if pair not in plain]
    return pd.concat([rows[wanted], *means]) if means else rows[wanted]


def _mean(table: pd.DataFrame, metric: str, eval_set: str) -> pd.DataFrame:
    """One row per member and step that has all positions of the metric: their mean."""
    names = parts(metric)
    rows = table[table["metric"].isin(names) & (table["eval_set"] == eval_set)]
    groups = rows.groupby(["member", "step"])["value"]
    complete, finite = (groups.transform(what) == len(names) for what in ("size", "count"))
    rows = rows.assign(value=groups.transform("mean").where(finite))  # one that diverged has no mean
    return rows[complete & (rows["metric"] == names[0])].assign(metric=metric)


def by_position(table: pd.DataFrame, quantities: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The rows `NAME/k` of these (NAME, evaluation set), as rows of NAME with k in the column `position`.

    Where the table has intervals over sequences, they are in the columns `from` and `to`.
    """
    at = names_at(table["metric"].unique())
    key = ["member", "step", "eval_set", "metric", POSITION]

    def of(end: str) -> pd.DataFrame:
        wanted = {f"{name}{end}": name for name, _ in quantities}
        rows = table[table["metric"].isin([metric for metric, (name, _) in at.items() if name in wanted])]
        place = rows["metric"].map({metric: k for metric, (_, k) in at.items()}).astype(int)
        name = rows["metric"].map({metric: wanted[name] for metric, (name, _) in at.items() if name in wanted})
        return pick(rows.assign(**{"metric": name, POSITION: place}), quantities)

    rows = of("")
    for end in LIMITS:
        if not (limit := of(f"_{end}")).empty:
            rows = rows.merge(limit[[*key, "value"]].rename(columns={"value": end}), on=key, how="left")
    return rows


@dataclasses.dataclass(frozen=True)
class Summary:
    """Mean, standard error and 95 % interval of one number per seed; NaN seeds are left out of all of them."""

    mean: float
    sem: float
    low: float
    high: float
    seeds: int


def summarize(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Summary:
    """Mean over seeds with its t-interval, mean ± t_{n-1} s / sqrt(n).

    With 3 to 5 seeds the t distribution is what keeps the interval honest (a bootstrap of 3 values covers some 70 %
    where it says 95 %). One seed has a mean and no interval: the other fields are NaN.
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        return Summary(float(values[0]) if n else math.nan, math.nan, math.nan, math.nan, n)
    if np.isinf(values).any():  # a switch that never came: so is the mean, and the interval unless all are alike
        mean, alike = float(values.mean()), bool(np.all(values == values[0]))
        return Summary(mean, math.nan, *((mean, mean) if alike else (math.nan, math.nan)), n)
    mean, sem = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
    half = student_t(confidence, n - 1) * sem
    return Summary(mean, sem, mean - half, mean + half, n)


def summarize_ratios(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Summary:
    """`summarize` of the logarithms, as ratios again: the geometric mean, which a / b and b / a agree on."""
    with np.errstate(divide="ignore"):
        logs = summarize(np.log(np.asarray(values, dtype=float)), confidence)
    with np.errstate(over="ignore"):
        mean, low, high = (float(np.exp(number)) for number in (logs.mean, logs.low, logs.high))
    return Summary(mean, logs.sem, low, high, logs.seeds)


@functools.cache
def student_t(confidence: float, df: int) -> float:
    """The t with P(|T| < t) = confidence for T of Student's distribution with `df` degrees of freedom.

    By bisection of the finite sums for whole degrees of freedom, with t = sqrt(df) tan(a) (Abramowitz and Stegun
    1964, 26.7.3 and 26.7.4).
    """

    def probability(a: float) -> float:
        odd = df % 2
        term, total = (math.cos(a) if odd else 1.0), 0.0
        for k in range(1 + odd, df, 2):  # df // 2 terms
            total += term
            term *= math.cos(a) ** 2 * k / (k + 1)
        return 2 / math.pi * (a + math.sin(a) * total) if odd else math.sin(a) * total

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < confidence else (low, middle)
    return math.sqrt(df) * math.tan((low + high) / 2)


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean and interval over seeds along `x`; NaN where a point has no seed, or one seed and so no interval."""

    x: tuple[Any, ...]
    mean: np.ndarray
    sem: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray


def curve(rows: pd.DataFrame, x: str) -> Curve:
    """`summarize` over seeds of all rows at each x, a column of the table such as "step" or a swept name.

    Where there is one seed, the interval is that over its sequences, if the rows have one (`by_position`).
    """
    groups = rows.groupby(x)
    points = groups["value"].agg(["mean", "std", "count"])
    seeds = points["count"].to_numpy()
    t = {n: student_t(0.95, n - 1) if n > 1 else math.nan for n in set(seeds.tolist())}
    mean, sem = points["mean"].to_numpy(), points["std"].to_numpy() / np.sqrt(np.maximum(seeds, 1))
    half = np.array([t[n] for n in seeds.tolist()]) * sem
    low, high = mean - half, mean + half
    if set(LIMITS) <= set(rows):
        limits = groups[list(LIMITS)].mean()
        low, high = (np.where(seeds == 1, limits[end], own) for end, own in zip(LIMITS, (low, high), strict=True))
    return Curve(tuple(points.index.tolist()), mean, sem, low, high, seeds)
