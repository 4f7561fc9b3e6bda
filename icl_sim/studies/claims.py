"""Claims: checkable statements about a study, as data.

A claim is a measure and the range that it must fall in. Every measure is *one number per seed*, read off the results
table, so that every verdict is the same comparison of an interval over seeds with a range:

    Claim(
        id="1a",
        statement="With 2^8 sequences the network looks rare classes up in its context.",
        source="Chan et al. 2025",
        measure=Value(predictor="transformer", metric="icl_error_low", where={"task.num_sequences": 2**8}),
        condition=below(0.45),
    )

`where` pins swept names, and names that the study holds fixed: those are compared with the study's settings, so that a
claim about p_high = 0.9 says nothing about a run with another p_high. Names that a table lacks are no error here, but
make the verdict "not enough data" there (`icl_sim.studies.verdicts`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from icl_sim.studies import records

Setting = float | int | bool | str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Value:
    """A metric of a predictor on an evaluation set, at one point of the sweep.

    `NAME/7` is the metric at the position 7, with 7 examples seen, and `NAME/1-7` its mean over the positions 1 to 7.
    """

    predictor: str
    metric: str
    eval_set: str = "summary"
    where: Mapping[str, Setting] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Difference:
    """a - b, paired by seed: a seed fixes the data, so what two predictors share of its luck cancels."""

    a: Value
    b: Value


@dataclasses.dataclass(frozen=True)
class Largest:
    """The largest value along "step", "position" or a swept name, for statements about all points in
    [at_least, at_most].

    `ends`: points that a table must have for it to speak of all, usually the first and the last that were published.
    """

    value: Value
    over: str
    at_least: float = -math.inf
    at_most: float = math.inf
    ends: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Smallest:
    """The smallest value, otherwise like `Largest`."""

    value: Value
    over: str
    at_least: float = -math.inf
    at_most: float = math.inf
    ends: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class MinimumAt:
    """How far the lowest value at the points `at` lies below the lowest value at all other points of `over`.

    Positive in a seed exactly when the minimum of that seed's curve is at one of these points. `ends`: as in `Largest`.
    """

    value: Value
    over: str
    at: tuple[float, ...]
    ends: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class LowestAt:
    """The point of `over`, "step", "position" or a swept name, at which a value is lowest; the first of equal ones.

    Over steps it is inf where that is the last one, since it may go on falling. For the step 0, as in `Crossing`, half
    of the next stands.
    """

    value: Value
    over: str = "step"


@dataclasses.dataclass(frozen=True)
class Lowest:
    """How far a value lies below the lowest of others, paired by seed: positive in a seed exactly when it is lowest.

    Lowest(of("spd_ols/1-7"), (of("spd_ridge/1-7"), of("spd_nearest/1-7"))) says which learner a network is nearest to.
    """

    value: Value
    others: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.others:
            raise ValueError("Lowest needs at least one other value to compare with.")


@dataclasses.dataclass(frozen=True)
class Trend:
    """The least favourable step between neighbours along `over`: the smallest rise, or fall if not `rising`.

    Positive in a seed exactly when that seed's curve is strictly monotone; require it `above(-0.05)` where the curve
    is flat at an end of its range.
    """

    value: Value
    over: str
    rising: bool = True


@dataclasses.dataclass(frozen=True)
class Crossing:
    """The point of `over`, "step", "position" or a swept name, from which on `a` stays below `b`, a value or a number.

    Interpolated between neighbours in the logarithm of `over`; inf where `a` is not below `b` at the end, and no
    value where it is below all along. With `summed`, their sums over all steps until there are compared. `ends`: as in
    `Largest`.
    """

    a: Value
    b: Value | float
    over: str = "step"
    summed: bool = False
    ends: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class At:
    """A value at the step of a crossing, interpolated between evaluations, for instance the exposures of a class there:

    At(Value(predictor=P, metric="exposures_low", eval_set="training"),
       Crossing(Value(predictor=P, metric="preference_low"), 0.0))
    """

    value: Value
    crossing: Crossing


@dataclasses.dataclass(frozen=True)
class Ratio:
    """a / b, paired by seed; mean and interval over seeds are those of its logarithm."""

    a: Value | Largest | Smallest | LowestAt | Crossing | At
    b: Value | Largest | Smallest | LowestAt | Crossing | At


Measure = Value | Difference | Largest | Smallest | MinimumAt | LowestAt | Lowest | Trend | Crossing | At | Ratio


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"A range needs low < high, not low = {self.low} and high = {self.high}.")


def below(bound: float) -> Range:
    return Range(high=bound)


def above(bound: float) -> Range:
    return Range(low=bound)


def near(value: float, tolerance: float) -> Range:
    return Range(value - tolerance, value + tolerance)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement, where it was published, and what would make it hold here.

    Attributes:
      id: short and unique within a study.
      statement: a sentence for people.
      source: where it was stated.
      measure: what is read off the table, one number per seed.
      condition: the range in which the interval over seeds must lie.
      published: the published number or a short text, None if there is none.
      min_seeds: seeds below which the verdict is "not enough data".
      min_steps: training steps below which it is "not enough data"; 0 for predictors that train nothing.
      exact: whether no seed moves the measure, so that a single one decides.
    """

    id: str
    statement: str
    source: str
    measure: Measure
    condition: Range
    published: float | str | None = None
    min_seeds: int = 3
    min_steps: int = 0
    exact: bool = False


_KINDS = {c.__name__: c for c in (Claim, Range, *get_args(Measure))}


def to_json(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """Claims as plain JSON, as kept in a run's `study.json`."""
    return records.encode(tuple(claims))


def from_json(plain: Sequence[Any]) -> tuple[Claim, ...]:
    """Undoes `to_json`. Raises ValueError for anything that is not a list of claims with distinct ids."""
    claims = records.decode(plain, _KINDS)
    if not isinstance(claims, tuple) or not all(isinstance(claim, Claim) for claim in claims):
        raise ValueError("Claims must be a list of records of kind Claim.")
    return check(claims)


def check(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """The claims as a tuple. Raises ValueError when two share an id."""
    claims = tuple(claims)
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise ValueError(f'Two claims have the id "{claim.id}": ids must be unique within a study.')
        seen.add(claim.id)
    return claims
