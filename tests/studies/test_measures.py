"""Measures along steps and swept names, on tables whose crossings are known."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from icl_sim.studies import curves, measures, verdicts
from icl_sim.studies.claims import At, Claim, Crossing, Largest, Lowest, LowestAt, Ratio, Smallest, Trend, Value, near
from icl_sim.studies.measures import Unanswerable

NAN, INF = math.nan, math.inf
COLUMNS = ["member", "step", "predictor", "eval_set", "metric", "value", "task.n", "seed"]
A, B = Value(predictor="a", metric="loss", eval_set="test"), Value(predictor="b", metric="loss", eval_set="test")
SEEN = Value(predictor="a", metric="seen", eval_set="training")


def table(curves_, n=1, first=0):
    """Members from (predictor, metric, eval_set, seed) -> {step: value}; those of one predictor and seed are one."""
    numbers = {who: first + i for i, who in enumerate(dict.fromkeys((p, seed) for p, _, _, seed in curves_))}
    rows = [
        (numbers[predictor, seed], step, predictor, eval_set, metric, value, n, seed)
        for (predictor, metric, eval_set, seed), curve in curves_.items()
        for step, value in curve.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def of(*losses, steps=(0, 1, 4, 16, 64), predictor="a", metric="loss", eval_set="test"):
    """One curve for each seed 0, 1, ... at these steps."""
    return {
        (predictor, metric, eval_set, seed): dict(zip(steps, values, strict=True)) for seed, values in enumerate(losses)
    }


def read(measure, rows, settings=None):
    found = measures.read(measure, curves.select(rows), curves.with_last_step(rows), settings or {})
    return found.per_seed.tolist(), found


# ------------------------------------------------------------------------------- crossings


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((9, 3, 3, 1, 1), 8.0),  # half way between 4 and 16 in the logarithm
        ((9, 5, 1, 1, 1), 4**0.75),
        ((9, 1, 3, 1, 0), 8.0),  # the last crossing counts
        ((1, 3, 3, 3, 3), INF),
        ((1, 1, 1, 1, 2), INF),  # equal is not below
        ((1, 1, 1, 1, 1), NAN),  # below throughout: there is nothing to cross
        ((9, 3, 3, 1, NAN), NAN),
    ],
)
def test_crossing_of_a_number(losses, expected):
    values, found = read(Crossing(A, 2.0), table(of(losses)))
    assert values == pytest.approx([expected], nan_ok=True) and found.steps == 64 and not found.is_ratio


def test_crossings_are_of_each_seed():
    rows = table(of((9, 3, 3, 1, 1), (9, 3, 1, 1, 1), (9, 3, 3, NAN, NAN), (9, 9, 9, 9, 9)))
    values, _ = read(Crossing(A, 2), rows)
    assert values == pytest.approx([8, 2, NAN, INF], nan_ok=True)


def test_crossing_of_another_predictor():
    rows = table({**of((9, 3, 3, 2, 0), (0, 0, 0, 0, 5)), **of((9, 2, 2, 3, 3), (0, 1, 1, 1, 1), predictor="b")})
    values, _ = read(Crossing(A, B), rows)
    assert values == pytest.approx([8, INF])
    assert read(Crossing(B, A), rows)[0] == pytest.approx([INF, 16 * 4 ** (1 / 5)])


def test_what_trains_nothing_is_the_same_all_along():
    rows = table({**of((9, 3, 3, 1, 1), (9, 5, 1, 1, 1)), **of((2.0,), (4.0,), steps=(0,), predictor="b")})
    values, found = read(Crossing(A, B), rows)
    assert values == pytest.approx([8, 4**0.25]) and found.steps == 64


def test_seeds_that_one_of_the_two_lacks_are_left_out():
    rows = table({**of((9, 3, 3, 1, 1), (9, 5, 1, 1, 1)), **of((2.0,), steps=(0,), predictor="b")})
    assert read(Crossing(A, B), rows)[0] == pytest.approx([8])


def test_crossing_over_a_swept_name_is_of_selected_checkpoints():
    """Over n = 1, 4, 16 the last losses are 3, 3, 1; earlier ones would cross elsewhere."""
    frames = [
        table({**of((0, last), steps=(0, 5)), **of((9, 2), steps=(0, 5), predictor="b")}, n=n, first=10 * n)
        for n, last in ((1, 3), (4, 3), (16, 1))
    ]
    rows = pd.concat(frames)
    assert read(Crossing(A, B, "task.n"), rows)[0] == pytest.approx([8])
    assert read(Crossing(A, 2.5, over="task.n"), rows)[0] == pytest.approx([4 * 4**0.25])
    with pytest.raises(Unanswerable, match="leaves task.n open"):
        read(Crossing(A, B), rows)
    there = Crossing(*(Value(predictor=p, metric="loss", eval_set="test", where={"task.n": 4}) for p in "ab"))
    assert read(there, rows.assign(step=rows["step"] + 1))[0] == [INF]


# g loses 2 more a step than h until step 1, 2 less from 3 on: sums of 0, 2, 2, -10.
AHEAD = of((4, 4, 0, 0), steps=(0, 1, 3, 9))


@pytest.mark.parametrize("other", [2.0, B])
def test_summed_losses_cross_later(other):
    rows = table({**AHEAD, **of((2.0,), steps=(0,), predictor="b")})
    assert read(Crossing(A, other), rows)[0] == pytest.approx([3**0.5])
    assert read(Crossing(A, other, summed=True), rows)[0] == pytest.approx([3 ** (7 / 6)])


def test_sums_start_at_the_first_point():
    rows = table(of((4, 0, 0), steps=(1, 3, 9)))  # sums of 0, 0, -12
    assert read(Crossing(A, 2.0, summed=True), rows)[0] == pytest.approx([3])
    assert read(Crossing(A, 5.0, summed=True), rows)[0] == pytest.approx([1])  # sums of 0, -6, -36
    assert read(Crossing(A, 0.0, summed=True), rows)[0] == [INF]


def test_a_seed_that_diverged_has_no_crossing_of_sums():
    rows = table(of((9, 3, 0, 0, 0), (9, 3, 0, 0, NAN), (9, 3, NAN, 0, 0)))
    assert read(Crossing(A, 2.0), rows)[0][:2] == pytest.approx([4 ** (1 / 3), NAN], nan_ok=True)
    first, *lost = read(Crossing(A, 2.0, summed=True), rows)[0]
    assert 4 < first < 16 and all(math.isnan(value) for value in lost)  # sums of 4, 2.5, -21.5


# ------------------------------------------------------------------------------- at and ratio


def test_at_is_interpolated_between_evaluations():
    seen = of((0, 10, 40, 160, 640), (0, 5, 20, 80, 320), metric="seen", eval_set="training")
    rows = table({**of((9, 3, 3, 1, 1), (9, 3, 3, 3, 1)), **seen})
    values, found = read(At(SEEN, Crossing(A, 2.0)), rows)
    assert values == pytest.approx([80, 160]) and found.steps == 64  # at steps 8 and 32


def test_at_what_never_comes():
    seen = of(*[(0, 10, 40, 160, 640)] * 3, metric="seen", eval_set="training")
    rows = table({**of((9, 9, 9, 9, 9), (9, 3, 3, 1, NAN), (1, 1, 1, 1, 1)), **seen})
    assert read(At(SEEN, Crossing(A, 2.0)), rows)[0] == pytest.approx([INF, NAN, NAN], nan_ok=True)


def test_at_leaves_out_seeds_without_a_crossing():
    seen = of(*[(0, 10, 40, 160, 640)] * 2, metric="seen", eval_set="training")
    rows = table({**of((9, 3, 3, 1, 1)), **seen})
    values, found = read(At(SEEN, Crossing(A, 2.0)), rows)
    assert values == pytest.approx([80]) and found.per_seed.index.tolist() == [0]


def test_ratio_is_paired_by_seed():
    rows = table(
        {
            **of((9, 3, 3, 1, 1), (9, 3, 1, 1, 1), (9, 3, 3, 3, NAN), (9, 3, 3, 3, 1)),
            **of((9, 3, 1, 1, 1), (9, 3, 3, 1, 1), (9, 3, 3, 1, 1), predictor="b"),
        }
    )
    values, found = read(Ratio(Crossing(A, 2.0), Crossing(B, 2.0)), rows)
    assert values == pytest.approx([8 / 2, 2 / 8, NAN], nan_ok=True) and found.is_ratio  # b has no fourth seed
    assert read(Ratio(Crossing(A, 2.0), B), rows)[0][:2] == pytest.approx([8, 2])  # the last losses of b are 1
    never = table({**of((9, 9, 9, 9, 9)), **of((9, 3, 1, 1, 1), predictor="b")})
    assert read(Ratio(Crossing(A, 2.0), Crossing(B, 2.0)), never)[0] == [INF]
    assert read(Ratio(Crossing(B, 2.0), Crossing(A, 2.0)), never)[0] == [0]


def test_a_verdict_on_a_ratio_is_about_its_logarithm():
    """Ratios 9/2, 9 and 18 have the geometric mean 9, and the arithmetic mean 10.5."""
    rows = table({**of((4.5,), (9.0,), (18.0,), steps=(5,)), **of((1.0,), (1.0,), (1.0,), steps=(5,), predictor="b")})
    for measure, wanted in ((Ratio(A, B), 9.0), (Ratio(B, A), 1 / 9)):
        claim = Claim(id="r", statement="s", source="x", measure=measure, condition=near(9.0, 3.5))
        (verdict,) = verdicts.evaluate([claim], rows)
        assert verdict.measured == pytest.approx(wanted)
        half = 4.302653 * math.log(2) / math.sqrt(3)
        assert verdict.interval == pytest.approx((wanted * math.exp(-half), wanted * math.exp(half)))


# ------------------------------------------------------------------------------- what is missing


def other(**changes):
    return Value(**{"predictor": "a", "metric": "loss", "eval_set": "test"} | changes)


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        (Crossing(other(metric="los"), 2.0), 'the table has no metric "los" for this claim'),
        (Crossing(A, other(predictor="q")), 'no predictor "q"'),
        (Crossing(A, 2.0, "task.m"), "task.m is not swept by this study"),
        (Crossing(A, other(where={"task.m": 1})), "the study has no task.m"),
        (Crossing(other(where={"task.n": 2}), 0.0), "no task.n = 2"),
        (Crossing(A, 2.0, "task.n"), "task.n at one point only, a crossing needs two"),
        (At(other(metric="exposures"), Crossing(A, 2.0)), 'no metric "exposures"'),
        (At(SEEN, Crossing(A, other(predictor="q"))), 'no predictor "q"'),
        (Ratio(A, other(eval_set="tset")), 'no eval_set "tset"'),
        (Ratio(Crossing(A, B), A), 'no predictor "b"'),
    ],
)
def test_what_the_table_lacks_is_said(measure, reason):
    seen = of((0, 10, 40, 160, 640), metric="seen", eval_set="training")
    with pytest.raises(Unanswerable) as caught:
        read(measure, table({**of((9, 3, 3, 1, 1)), **seen}), {"task": {"n": 1}})
    assert reason in str(caught.value)


def test_untrained_predictors_alone_have_no_crossing_over_steps():
    rows = table({**of((3.0,), steps=(0,)), **of((2.0,), steps=(0,), predictor="b")})
    with pytest.raises(Unanswerable, match="step at one point only"):
        read(Crossing(A, B), rows)


def test_words_have_no_order():
    rows = pd.concat([table(of((3.0,), steps=(5,)), n=n, first=i) for i, n in enumerate("xyz")])
    with pytest.raises(Unanswerable, match="task.n is swept over words, which have no order"):
        read(Crossing(A, 2.0, "task.n"), rows)


def test_pinned_leaves_its_own_names_and_its_axis_alone():
    crossing = Crossing(other(where={"task.k": 3}), B, "task.n", summed=True)
    found = measures.pinned(crossing, {"task.k": 5, "task.n": 7, "task.l": 1})
    assert found.a.where == {"task.k": 3, "task.l": 1} and found.b.where == {"task.k": 5, "task.l": 1}
    assert (found.over, found.summed) == ("task.n", True)
    assert measures.pinned(Crossing(A, 0.5), {"task.k": 5}).b == 0.5


def test_a_crossing_right_after_the_start_is_one():
    """Above at step 0 and below from step 1 on: between the two, where half of the first step stands for 0."""
    assert read(Crossing(A, 2.0), table(of((3, 1, 1, 1, 1))))[0] == pytest.approx([0.5 * 2**0.5])


# ------------------------------------------------------------------------------- the lowest, and positions


def of_metric(metric, **where):
    return Value(predictor="a", metric=metric, eval_set="test", where=where)


def test_lowest_at_is_the_step_of_each_seed():
    rows = table(of((9, 3, 1, 2, 4), (9, 8, 7, 6, 5), (2, 2, 2, 2, 2), (9, 1, NAN, 2, 3)))
    values, found = read(LowestAt(A), rows)
    assert values == pytest.approx([4, INF, 0.5, NAN], nan_ok=True) and found.steps == 64


def test_lowest_at_over_a_swept_name_is_of_selected_checkpoints():
    rows = pd.concat([table(of((0, 0, 0, 0, loss)), n=n, first=n) for n, loss in ((1, 3), (2, 1), (3, 2))])
    assert read(LowestAt(A, "task.n"), rows)[0] == [2]


def test_extremes_and_trends_along_steps():
    rows = table(of((9, 3, 1, 2, 4)))
    assert read(Smallest(A, "step"), rows)[0] == [1] and read(Largest(A, "step", at_least=1), rows)[0] == [4]
    assert read(Trend(A, "step", rising=False), rows)[0] == [-2]
    values, found = read(Ratio(A, Smallest(A, "step")), rows)  # how far it rose from its lowest
    assert values == [4] and found.is_ratio


def test_lowest_is_the_margin_to_the_nearest_other():
    rows = table({
        **of((3,), (3,), (3,), (3,), steps=(0,)),
        **of((5,), (2,), (NAN,), steps=(0,), metric="x"),
        **of((4,), (9,), (9,), (9,), steps=(0,), metric="y"),
    })  # fmt: skip
    values, found = read(Lowest(of_metric("loss"), (of_metric("x"), of_metric("y"))), rows)
    assert values == pytest.approx([1, -1, NAN], nan_ok=True)  # the fourth seed has no x
    assert found.remark == "the lowest mean is that of metric = loss"
    values, found = read(Lowest(of_metric("y"), (of_metric("loss"), of_metric("x"))), rows)
    assert values == pytest.approx([-1, -7, NAN], nan_ok=True)
    with pytest.raises(Unanswerable, match='no metric "z"'):
        read(Lowest(of_metric("loss"), (of_metric("z"),)), rows)


def test_lowest_tells_predictors_and_points_apart():
    rows = pd.concat([table(of((v,), steps=(0,)), n=n, first=10 * n) for n, v in ((1, 3), (4, 2), (16, 5))])
    at = [of_metric("loss", **{"task.n": n}) for n in (1, 4, 16)]
    values, found = read(Lowest(at[0], tuple(at[1:])), rows)
    assert values == [-1] and found.remark == "the lowest mean is that of task.n = 4"


def positions(*seeds, name="loss", predictor="a"):
    """Values at the positions 0, 1, ... for each seed."""
    return {
        (predictor, f"{name}/{k}", "test", seed): {0: value}
        for seed, values in enumerate(seeds)
        for k, value in enumerate(values)
    }


def test_measures_over_positions():
    rows = table({**positions((9, 3, 3, 3, 1), (9, 8, 7, 6, 5)), **positions((0,) * 5, name="loss_from")})
    assert read(of_metric("loss/2"), rows)[0] == [3, 7]
    assert read(of_metric("loss/1-3"), rows)[0] == [3, 7]
    assert read(Largest(A, "position", at_least=1), rows)[0] == [3, 8]
    assert read(Smallest(A, "position", at_most=3), rows)[0] == [3, 6]
    assert read(Trend(A, "position", rising=False), rows)[0] == [0, 1]
    assert read(Crossing(A, 2.0, "position"), rows)[0] == pytest.approx([3 * (4 / 3) ** 0.5, INF])
    for claim in (Trend(of_metric("nothing"), "position"), of_metric("loss/1-9")):
        with pytest.raises(Unanswerable, match="the table has no metric"):
            read(claim, rows)
    with pytest.raises(Unanswerable, match="at positions"):
        read(Trend(A, "position"), table(of((9, 3), steps=(0, 1))))


def test_a_setting_of_another_predictor_leaves_it_the_same_all_along():
    """b is 2 whatever is swept; a over n = 1, 4, 16 is 3, 3, 1."""
    frames = [table(of((last,), steps=(5,)), n=n, first=10 * n) for n, last in ((1, 3), (4, 3), (16, 1))]
    rows = pd.concat([*frames, table(of((2,), steps=(0,), predictor="b"), n=None, first=99)])
    assert read(Crossing(A, B, "task.n"), rows)[0] == pytest.approx([8])
    there = Value(predictor="b", metric="loss", eval_set="test", where={"task.n": 4})
    assert read(there, rows)[0] == [2]
