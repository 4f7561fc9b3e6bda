"""Checkpoint selection and intervals, on tables whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from icl_sim.studies import curves


def table(losses, values, member=0, seed=0, **extra):
    """One member with a loss on the training set and an error at steps 0, 10, 20, ..."""
    rows = []
    for i, (loss, value) in enumerate(zip(losses, values, strict=True)):
        rows += [(10 * i, "pretraining", "cross_entropy", loss), (10 * i, "test", "error", value)]
    frame = pd.DataFrame(rows, columns=["step", "eval_set", "metric", "value"])
    return frame.assign(member=member, predictor="p", seed=seed, **extra)


def error_of(rows):
    return rows.loc[rows["metric"] == "error", "value"].tolist()


def test_selects_the_lowest_loss_and_the_latest_on_ties():
    assert error_of(curves.select(table([3, 1, 2], [0.1, 0.2, 0.3]))) == [0.2]
    assert error_of(curves.select(table([3, 1, 1, 2], [0.1, 0.2, 0.3, 0.4]))) == [0.3]
    assert error_of(curves.select(table([3, 1, 2], [0.1, 0.2, 0.3]), "last")) == [0.3]


def test_losses_that_float32_cannot_tell_apart_are_ties():
    assert error_of(curves.select(table([3e-8, 1e-8, 5e-8], [0.1, 0.2, 0.3]))) == [0.3]
    assert error_of(curves.select(table([3e-8, 1e-8, 2e-6], [0.1, 0.2, 0.3]))) == [0.2]


def test_each_member_is_selected_on_its_own():
    both = pd.concat([table([1, 2], [0.1, 0.2]), table([2, 1], [0.3, 0.4], member=1, seed=1)])
    assert error_of(curves.select(both)) == [0.1, 0.4]
    assert curves.select(both)["last_step"].unique().tolist() == [10]


def test_without_a_loss_the_last_checkpoint_is_read():
    rows = table([1, 2], [0.1, 0.2])
    assert error_of(curves.select(rows[rows["metric"] == "error"])) == [0.2]


def test_a_member_that_diverged_has_no_result():
    assert math.isnan(error_of(curves.select(table([1, 0.5, math.nan], [0.1, 0.2, math.nan])))[0])


def test_training_rows_do_not_count_as_evaluations():
    rows = table([1, 2], [0.1, 0.2])
    late = rows.iloc[:1].assign(step=99, eval_set="training", metric="loss")
    assert curves.select(pd.concat([rows, late]))["last_step"].max() == 10


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="lowest_loss, last"):
        curves.select(table([1], [1]), "best")


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 10, 31])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_student_t_is_the_quantile(df, confidence):
    expected = scipy.stats.t.ppf((1 + confidence) / 2, df)
    assert curves.student_t(confidence, df) == pytest.approx(expected, rel=1e-9)


def test_interval_is_that_of_the_t_distribution():
    values = [0.1, 0.4, 0.25]
    summary = curves.summarize([*values, math.nan])
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert (summary.low, summary.high, summary.seeds) == (pytest.approx(low), pytest.approx(high), 3)
    assert summary.sem == pytest.approx(scipy.stats.sem(values))


def test_one_seed_has_a_mean_and_no_interval():
    summary = curves.summarize([0.5])
    assert summary.mean == 0.5 and math.isnan(summary.low) and summary.seeds == 1
    assert math.isnan(curves.summarize([]).mean)


def test_interval_covers_the_mean_19_times_in_20():
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    covered = [s.low <= 0 <= s.high for s in map(curves.summarize, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_curve_is_the_summary_at_each_point():
    frames = [table([1], [v], seed=s, n=n) for n in (4, 2) for s, v in enumerate((0.1 * n, 0.2 * n, 0.0))]
    rows = pd.concat(frames)
    curve = curves.curve(rows[rows["metric"] == "error"], "n")
    assert curve.x == (2, 4)
    for i, n in enumerate(curve.x):
        one = curves.summarize([0.1 * n, 0.2 * n, 0.0])
        assert [curve.mean[i], curve.sem[i], curve.low[i], curve.high[i]] == pytest.approx(
            [one.mean, one.sem, one.low, one.high]
        )
    assert curve.seeds.tolist() == [3, 3]


def test_picks_pairs_and_matches_values():
    rows = table([1, 2], [0.1, 0.2], n=math.inf, word="a")
    assert len(curves.pick(rows, [("error", "test")])) == 2
    assert curves.pick(rows, [("error", "pretraining")]).empty
    assert len(curves.where(rows, {"n": math.inf, "word": "a"})) == 4
    assert curves.where(rows, {"n": 3}).empty and curves.where(rows, {"word": 3}).empty


def test_swept_names_come_by_number_of_values():
    rows = pd.concat([table([1], [1], a=1, b=b) for b in range(3)])
    assert curves.swept_names(rows) == ("b", "a")


def test_a_member_that_learns_online_is_read_at_its_last_step():
    """Its regret is about all of its steps, however well it did before; members beside it keep to the rule."""
    online = table([3, 1, 2], [0.1, 0.2, 0.3])
    regret = [(step, "online", "regret", step / 10) for step in (0, 10, 20)]
    more = pd.DataFrame(regret, columns=["step", "eval_set", "metric", "value"])
    online = pd.concat([online, more.assign(member=0, predictor="p", seed=0)])
    other = table([3, 1, 2], [0.4, 0.5, 0.6], member=1, seed=1)
    selected = curves.select(pd.concat([online, other]))
    assert error_of(selected) == [0.3, 0.5]
    assert selected.loc[selected["metric"] == "regret", "value"].tolist() == [2.0]
    assert error_of(curves.select(table([3, 1, 2], [0.1, 0.2, 0.3]))) == [0.2]


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([INF, INF, INF], (INF, INF, INF, 3)),
        ([-INF, -INF], (-INF, -INF, -INF, 2)),
        ([1.0, INF], (INF, NAN, NAN, 2)),
        ([1.0, 2.0, -INF], (-INF, NAN, NAN, 3)),
        ([INF, NAN, INF], (INF, INF, INF, 2)),
        ([INF], (INF, NAN, NAN, 1)),
    ],
)
def test_means_of_what_never_came(values, expected):
    one = curves.summarize(values)
    assert (one.mean, one.low, one.high, one.seeds) == pytest.approx(expected, nan_ok=True)


def test_one_that_never_came_and_one_that_always_was_have_no_mean():
    with np.errstate(invalid="ignore"):
        one = curves.summarize([INF, -INF])
    assert math.isnan(one.mean) and math.isnan(one.low) and one.seeds == 2


def test_ratios_are_summarized_by_their_logarithms():
    """1/4 and 4 balance at 1; the mean of 8 and 2 is 4, with mean ± t s / sqrt(2) = log 4 ± 12.706 log 2."""
    assert curves.summarize_ratios([0.25, 4.0]).mean == pytest.approx(1)
    one = curves.summarize_ratios([8.0, 2.0])
    half = scipy.stats.t.ppf(0.975, 1) * math.log(2)
    assert (one.mean, one.low, one.high) == pytest.approx((4, 4 * math.exp(-half), 4 * math.exp(half)))
    inverse = curves.summarize_ratios([1 / 8, 1 / 2])
    assert (inverse.mean, inverse.low, inverse.high) == pytest.approx((1 / one.mean, 1 / one.high, 1 / one.low))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], (3, NAN, NAN, 1)),
        ([INF, INF], (INF, INF, INF, 2)),
        ([0.0, 0.0], (0, 0, 0, 2)),
        ([2.0, INF], (INF, NAN, NAN, 2)),
        ([NAN, 2.0], (2, NAN, NAN, 1)),
    ],
)
def test_ratios_of_what_never_came(values, expected):
    one = curves.summarize_ratios(values)
    assert (one.mean, one.low, one.high, one.seeds) == pytest.approx(expected, nan_ok=True)


X = np.array([1.0, 4.0, 16.0, 64.0])


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        ([1.0, 1.0, -1.0, -1.0], 8.0),  # half way between 4 and 16 in the logarithm
        ([3.0, -1.0, -1.0, -1.0], 4**0.75),
        ([1.0, -1.0, 1.0, -1.0], 32.0),  # the last crossing counts
        ([-1.0, -1.0, -1.0, 1.0], INF),
        ([-1.0, -1.0, -1.0, 0.0], INF),  # equal is not below
        ([1.0, 0.0, -1.0, -1.0], 4.0),
        ([-1.0, -1.0, -1.0, -1.0], NAN),  # there is nothing to cross
        ([1.0, 1.0, -1.0, NAN], NAN),
        ([1.0, 1.0, 1.0, INF], INF),
    ],
)
def test_crossing_of_a_curve_with_zero(gap, expected):
    assert curves.crossing(X, np.array(gap)) == pytest.approx(expected, nan_ok=True)


def test_ratios_too_large_for_numbers_are_infinite():
    summary = curves.summarize_ratios([1e-25, 1e25])
    assert summary.mean == pytest.approx(1.0) and summary.low < 1e-300 and summary.high == math.inf


# ------------------------------------------------------------------------------- positions


def at_positions(values, member=0, seed=0, metric="error", step=5, **extra):
    """One member with values at the positions 0, 1, ..."""
    rows = [(step, "test", f"{metric}/{k}", value) for k, value in enumerate(values)]
    frame = pd.DataFrame(rows, columns=["step", "eval_set", "metric", "value"])
    return frame.assign(member=member, predictor="p", seed=seed, **extra)


def test_positions_become_a_column():
    values = [[k * 10 + seed for k in range(12)] for seed in range(2)]
    rows = pd.concat([at_positions(v, member=i, seed=i, n=7) for i, v in enumerate(values)])
    other = rows.assign(eval_set="other", value=-1.0)
    plain = rows.iloc[:1].assign(metric="error", value=-1.0)
    shown = curves.by_position(pd.concat([rows, other, plain]), [("error", "test")])
    assert set(shown["metric"]) == {"error"} and set(shown["eval_set"]) == {"test"} and "from" not in shown
    found = shown.set_index(["seed", "position"])["value"]
    assert {key: found[key] for key in found.index} == {(s, k): values[s][k] for s in (0, 1) for k in range(12)}
    assert curves.swept_names(shown) == ("n",)
    assert curves.by_position(rows, [("nothing", "test")]).empty


def test_limits_stand_beside_their_values():
    rows = pd.concat([
        at_positions([1.0, 2.0, 3.0]),
        at_positions([0.5, 1.5, 2.5], metric="error_from"),
        at_positions([1.25, 2.25, 3.25], metric="error_to"),
        at_positions([9.0, 9.0, 9.0], step=6),  # whose interval nobody took
        at_positions([7.0, 7.0, 7.0], metric="loss"),
    ])  # fmt: skip
    shown = curves.by_position(rows, [("error", "test"), ("loss", "test")])
    assert len(shown) == 9
    here = shown[(shown["metric"] == "error") & (shown["step"] == 5)]
    assert (here["from"] - here["value"]).tolist() == [-0.5] * 3 and (here["to"] - here["value"]).tolist() == [0.25] * 3
    assert shown[(shown["metric"] == "loss") | (shown["step"] == 6)]["from"].isna().all()
    curve = curves.curve(here, "position")
    assert curve.low.tolist() == [0.5, 1.5, 2.5] and curve.high.tolist() == [1.25, 2.25, 3.25]
    two = curves.curve(pd.concat([here, here.assign(seed=1, value=here["value"] + 1)]), "position")
    half = curves.student_t(0.95, 1) * 0.5
    np.testing.assert_allclose(two.high, two.mean + half)
    np.testing.assert_allclose(two.low, two.mean - half)


def test_a_metric_over_a_range_is_the_mean_of_its_positions():
    rows = pd.concat([
        at_positions([9.0, 1.0, 2.0, 6.0, 9.0]),
        at_positions([9.0, 4.0, 5.0, 6.0, 9.0], step=6),
        at_positions([9.0, 1.0, math.nan, 6.0], member=1, seed=1),
        at_positions([9.0, 1.0, 2.0], member=2, seed=2),  # too short
        at_positions([9.0, 7.0, 7.0, 7.0], member=3, seed=3).assign(eval_set="other"),
    ])  # fmt: skip
    found = curves.pick(rows, [("error/1-3", "test"), ("error/1", "test")])
    means = found[found["metric"] == "error/1-3"].set_index(["member", "step"])["value"].to_dict()
    assert means == pytest.approx({(0, 5): 3.0, (0, 6): 5.0, (1, 5): math.nan}, nan_ok=True)
    assert len(found[found["metric"] == "error/1"]) == 4
    assert curves.parts("a_b/2-4") == ("a_b/2", "a_b/3", "a_b/4") and curves.parts("a/2") == ("a/2",)


def test_what_is_set_for_others_is_the_same_for_every_value():
    rows = pd.concat([table([1], [1], n=2.0), table([1], [1], member=1, n=4.0), table([1], [1], member=2, n=None)])
    assert set(curves.where(rows, {"n": 2})["member"]) == {0, 2}


def test_the_rule_in_words_is_the_one_that_decides():
    rows = table([3, 1, 2], [0.1, 0.2, 0.3])
    assert curves.rule_told(rows) == curves.RULES["lowest_loss"]
    assert curves.rule_told(rows, "last") == curves.rule_told(rows[rows["metric"] == "error"]) == curves.RULES["last"]
