"""Verdicts on tables whose answer is known."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pandas as pd
import pytest

from icl_sim.studies import verdicts
from icl_sim.studies.claims import (
    Claim,
    Difference,
    Largest,
    MinimumAt,
    Smallest,
    Trend,
    Value,
    above,
    below,
    near,
)
from icl_sim.studies.verdicts import FAILS, HOLDS, UNDECIDED

POINTS = (1, 2, 4, 8)


def table(value, seeds=range(3), points=POINTS, predictors=("p",), step=100, **extra):
    """Members with an error of `value(predictor, n, seed)` at their only step."""
    members = itertools.product(predictors, points, seeds)
    rows = [(i, step, p, "test", "error", value(p, n, s), n, s) for i, (p, n, s) in enumerate(members)]
    columns = ["member", "step", "predictor", "eval_set", "metric", "value", "task.n", "seed"]
    return pd.DataFrame(rows, columns=columns).assign(**extra)


def value(n=None, predictor="p", **changes):
    where = {} if n is None else {"task.n": n}
    return Value(**{"predictor": predictor, "metric": "error", "eval_set": "test", "where": where} | changes)


def judge(measure, condition, rows, settings=None, **claim):
    fields = {"min_seeds": 3, "min_steps": 100, "published": None} | claim
    one = Claim(id="a", statement="s", source="x", measure=measure, condition=condition, **fields)
    (verdict,) = verdicts.evaluate([one], rows, settings)
    return verdict


def spread(centre, half=0.01):
    """Three seeds around a centre, with a t-interval of centre ± 2.48 half."""
    return lambda p, n, s: centre + half * (s - 1)


def test_holds_fails_and_straddles():
    rows = table(spread(0.3))
    assert judge(value(2), below(0.45), rows).verdict == HOLDS
    assert judge(value(2), above(0.45), rows).verdict == FAILS
    assert judge(value(2), near(0.32, 0.1), rows).verdict == HOLDS
    assert judge(value(2), near(0.5, 0.1), rows).verdict == FAILS
    straddling = judge(value(2), below(0.31), rows)
    assert straddling.verdict == UNDECIDED and "straddles" in straddling.reason
    assert straddling.measured == pytest.approx(0.3)
    assert straddling.interval == pytest.approx((0.3 - 0.024841, 0.3 + 0.024841), abs=1e-6)


def test_too_few_seeds_or_steps_decide_nothing():
    few = judge(value(2), below(0.45), table(spread(0.3), seeds=range(2)))
    assert few.verdict == UNDECIDED and few.reason.startswith("2 seeds, 3 needed") and few.measured is not None
    early = judge(value(2), below(0.45), table(spread(0.3)), min_steps=101)
    assert early.verdict == UNDECIDED and "100 steps, 101 needed" in early.reason
    single = judge(value(2), below(0.45), table(spread(0.3), seeds=[0]), min_seeds=1)
    assert single.verdict == UNDECIDED and single.interval is None


def test_one_member_that_lags_behind_counts():
    rows = table(spread(0.3))
    rows.loc[rows["member"] == 4, "step"] = 50
    assert judge(value(2), below(0.45), rows).steps == 50


def test_a_seed_that_diverged_is_not_counted():
    rows = table(lambda p, n, s: float("nan") if s == 1 else 0.3, seeds=range(4))
    verdict = judge(value(2), below(0.45), rows)
    assert (verdict.verdict, verdict.seeds) == (HOLDS, 3) and "1 of 4 seeds" in verdict.reason
    everything = judge(value(2), below(0.45), table(lambda p, n, s: float("nan")))
    assert everything.verdict == UNDECIDED and everything.measured is None


def test_difference_is_paired_by_seed():
    """Seeds differ by far more than predictors do: only the paired interval is narrow."""
    rows = table(lambda p, n, s: s + (0.1 if p == "a" else 0.0) + 0.001 * s, predictors=("a", "b"))
    verdict = judge(Difference(value(2, "a"), value(2, "b")), near(0.1, 0.01), rows)
    assert verdict.verdict == HOLDS and verdict.measured == pytest.approx(0.1)


def test_extremes_along_a_name():
    rows = table(lambda p, n, s: n / 10 + 0.001 * s)
    assert judge(Largest(value(), "task.n", at_most=4), below(0.41), rows).measured == pytest.approx(0.401)
    assert judge(Smallest(value(), "task.n", at_least=2), above(0.19), rows).measured == pytest.approx(0.201)
    assert judge(Largest(value(), "task.n", at_least=9), below(1), rows).verdict == UNDECIDED


def test_words_have_no_order():
    rows = table(lambda p, n, s: 0.1, points=("a", "b"))
    assert "words" in judge(Largest(value(), "task.n"), below(1), rows).reason
    assert judge(value("a"), below(1), rows).verdict == HOLDS


def test_minimum_at():
    rows = table(lambda p, n, s: abs(n - 2) / 10 + 0.001 * s * n)
    assert judge(MinimumAt(value(), "task.n", (2,)), above(0), rows).verdict == HOLDS
    assert judge(MinimumAt(value(), "task.n", (1, 4)), above(0), rows).verdict == FAILS
    assert "lowest at 2" in judge(MinimumAt(value(), "task.n", (4,)), above(0), rows).reason
    assert judge(MinimumAt(value(), "task.n", (3,)), above(0), rows).verdict == UNDECIDED
    assert judge(MinimumAt(value(), "task.n", POINTS), above(0), rows).verdict == UNDECIDED


def test_trend():
    rows = table(lambda p, n, s: n / 10 + 0.001 * s * n)
    assert judge(Trend(value(), "task.n"), above(0), rows).verdict == HOLDS
    assert judge(Trend(value(), "task.n", rising=False), above(0), rows).verdict == FAILS
    bent = table(lambda p, n, s: 0.1 if n == 4 else n / 10)
    assert judge(Trend(value(), "task.n"), above(0), bent).measured == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        (value(2, metric="eror"), "metric"),
        (value(2, predictor="q"), "predictor"),
        (value(2, eval_set="tst"), "eval_set"),
        (value(3), "task.n = 3"),
        (value(), "leaves task.n open"),
        (value(2, where={"task.m": 1}), "task.m"),
        (Trend(value(2), "task.m"), "task.m is not swept"),
        (Largest(value(), "task.n", ends=(2, 64)), "the claim speaks of all task.n, and the table has none at 64"),
        (Smallest(value(), "task.n", ends=(0.5, 4)), "none at 0.5"),
        (MinimumAt(value(), "task.n", (2,), ends=(1, 32, 16)), "none at 32, 16"),
        (Trend(value(2), "task.n"), "one point only"),
    ],
)
def test_what_the_table_lacks_is_said(measure, reason):
    verdict = judge(measure, below(1), table(spread(0.3)))
    assert verdict.verdict == UNDECIDED and verdict.measured is None and reason in verdict.reason


def test_a_claim_says_nothing_about_a_study_with_other_settings():
    measure = value(where={"task.n": 2, "task.p": 0.9})
    rows = table(spread(0.3))
    assert judge(measure, below(0.45), rows, {"task": {"p": 0.9}}).verdict == HOLDS
    other = judge(measure, below(0.45), rows, {"task": {"p": 0.5}})
    assert other.verdict == UNDECIDED and "task.p = 0.5" in other.reason
    wide = value(where={"task.n": 2, "task.widths": (64, 64)})
    assert judge(wide, below(0.45), rows, {"task": {"widths": [64, 64]}}).verdict == HOLDS
    assert judge(wide, below(0.45), rows, {"task": {"widths": [64, 32]}}).verdict == UNDECIDED
    infinite = value(where={"task.n": 2, "task.p": float("inf")})
    assert judge(infinite, below(0.45), rows, {"task": {"p": "inf"}}).verdict == HOLDS


def test_verdicts_file_and_text(tmp_path):
    claims = [
        Claim(
            id=i,
            statement="It is so.",
            source="x",
            measure=value(n),
            condition=below(0.45),
            published=p,
            min_steps=1,
        )
        for i, n, p in (("first", 2, 0.28), ("second", 3, "≈ 1"))
    ]
    found = verdicts.evaluate(claims, table(spread(0.3)))
    verdicts.write(found, tmp_path / "verdicts.json")
    first, second = json.loads((tmp_path / "verdicts.json").read_text())
    assert {"id", "statement", "source", "published", "measured", "interval", "verdict"} <= set(first)
    assert (first["verdict"], second["verdict"], second["measured"]) == (HOLDS, UNDECIDED, None)
    text = verdicts.to_text(found)
    head, line = (line for line in text.splitlines() if line.startswith(("id", "first", "second")))
    assert line.startswith("first") and len(line) == len(head) and line.index(HOLDS) == head.index("verdict")
    assert "2 claims: 1 holds, 0 fails, 1 not enough data. Of these, 1 about predictors, points" in text
    assert "that this run does not have: the table has no task.n = 3 (1)." in text
    assert [p.name for p in tmp_path.iterdir()] == ["verdicts.json"]
    assert verdicts.evaluate([], table(spread(0.3))) == [] and "no claims" in verdicts.to_text([])


def test_where_nothing_moves_a_measure_a_single_seed_decides():
    rows = table(lambda p, n, s: 0.3, seeds=[0], step=0)
    found = judge(value(2), below(0.45), rows, exact=True, min_steps=0)
    assert (found.verdict, found.seeds, found.interval, found.measured) == (HOLDS, 1, None, pytest.approx(0.3))
    assert judge(value(2), above(0.45), rows, exact=True, min_steps=0).verdict == FAILS
    assert judge(value(2), below(0.45), rows, min_steps=0).reason == "1 seed, 3 needed"
    lost = judge(value(2), below(0.45), table(lambda p, n, s: math.nan, seeds=[0]), exact=True)
    assert lost.verdict == UNDECIDED and lost.reason.startswith("0 seeds, 1 needed")


def test_infinities_hold_and_fail_like_numbers_and_are_words_in_files(tmp_path):
    never = judge(value(2), above(100.0), table(lambda p, n, s: math.inf))
    assert never.verdict == HOLDS and never.interval == (math.inf, math.inf)
    assert judge(value(2), below(100.0), table(lambda p, n, s: math.inf)).verdict == FAILS
    some = judge(value(2), above(100.0), table(lambda p, n, s: math.inf if s else 5.0))
    assert some.verdict == UNDECIDED
    least = dataclasses.replace(never, measured=-math.inf, published=math.inf)
    verdicts.write([never, some, least], tmp_path / "verdicts.json")
    first, second, third = json.loads((tmp_path / "verdicts.json").read_text())
    assert (first["measured"], first["interval"], first["seeds"]) == ("inf", ["inf", "inf"], 3)
    assert (second["measured"], second["interval"]) == ("inf", [None, None])
    assert (third["measured"], third["published"]) == ("-inf", "inf")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1000.0, "1,000"),
        (1702.4, "1,702"),
        (-2500.6, "-2,501"),
        (1e7, "10,000,000"),
        (999.5, "999.50"),
        (0.125, "0.12"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (-0.001, "-0.001"),
        (1.234e-5, "1.2e-05"),
        (0.0412, "0.041"),
        (0.0999, "0.10"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_numbers_for_people(number, text):
    assert verdicts.two_digits(number) == text
