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
