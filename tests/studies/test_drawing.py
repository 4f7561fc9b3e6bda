"""What lines look like: wrapped panels, marks where curves cross, logarithmic axes, and labels beside their curves."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib")

from icl_sim.studies import drawing, figures
from icl_sim.studies.claims import Crossing, Value
from icl_sim.studies.figures import STEP, Lines, Mark, Quantity

X = (1.0, 4.0, 16.0, 64.0)
LOSS = Quantity("loss", label="loss")


def table(value, ks=range(8), xs=X, predictors=("a", "b"), seeds=(0,), steps=(0,), metrics=("loss",)):
    """Summary rows of `value(predictor, k, x, step)`, over k and x."""
    rows, member = [], 0
    for predictor in predictors:
        for k in ks:
            for x in xs:
                for seed in seeds:
                    rows += [
                        (member, step, predictor, "summary", metric, value(predictor, k, x, step), k, x, seed)
                        for step in steps
                        for metric in metrics
                    ]
                    member += 1
    columns = ["member", "step", "predictor", "eval_set", "metric", "value", "task.k", "task.x", "seed"]
    return pd.DataFrame(rows, columns=columns)


def lines(**changes):
    return Lines(**{"name": "f", "title": "F", "quantities": (LOSS,), "x": "task.x", "columns": "task.k"} | changes)


def drawn(spec, rows):
    resolved = figures.resolve(spec, rows)
    assert resolved is not None
    return drawing.draw(resolved, rows)


def panels(figure):
    """(row, column) -> axes, of those that are seen."""
    found = {}
    for axes in figure.axes:
        if axes.get_visible():
            place = axes.get_subplotspec()
            found[place.rowspan.start, place.colspan.start] = axes
    return found


def verticals(axes):
    """Where vertical lines stand."""
    return [
        line.get_xdata()[0]
        for line in axes.lines
        if len(line.get_xdata()) == 2
        and line.get_xdata()[0] == line.get_xdata()[1]
        and list(line.get_ydata()) == [0, 1]
    ]


def labels(axes):
    """Names at the ends of curves -> height as a share of the panel."""
    return {t.get_text(): t.get_position()[1] for t in axes.texts if t.get_transform() is axes.transAxes}


def flat(predictor, k, x, step):
    return {"a": 0.3, "b": 0.6}[predictor] + k / 100


@pytest.mark.parametrize(("count", "rows", "columns"), [(8, 2, 4), (6, 2, 4), (9, 3, 4), (4, 1, 4), (2, 1, 2)])
def test_one_quantity_over_many_columns_is_wrapped_in_rows_of_four(count, rows, columns):
    found = panels(drawn(lines(), table(flat, ks=range(count))))
    assert list(found) == [(i // columns, i % columns) for i in range(count)]
    assert max(row for row, _ in found) == rows - 1
    for number, (place, axes) in enumerate(found.items()):
        assert axes.get_title("left") == f"k = {number}"
        assert (axes.get_ylabel() == "loss") == (place[1] == 0)
        curve = next(line for line in axes.lines if len(line.get_xdata()) == len(X))
        np.testing.assert_allclose(curve.get_ydata(), 0.3 + number / 100)
        assert bool(labels(axes)) == (place[1] == columns - 1 or number == count - 1)


def test_two_quantities_keep_a_row_each():
    rows = table(flat, ks=range(6), metrics=("loss", "error"))
    found = panels(drawn(lines(quantities=(LOSS, Quantity("error"))), rows))
    assert set(found) == {(i, j) for i in range(2) for j in range(6)}


# ------------------------------------------------------------------------------- marks


def crossing_at_k(predictor, k, x, step):
    """a falls below b half way between 4^(k-1) and 4^k in the logarithm, that is at 2^(2k-1), and never for k > 3."""
    return 1.0 if predictor == "b" else 0.5 if x >= 4.0**k else 1.5


def value(predictor, **where):
    return Value(predictor=predictor, metric="loss", where=where)


def test_marks_are_where_curves_cross_in_the_panels_where_they_do():
    spec = lines(marks=(Mark(Crossing(value("a"), value("b"), "task.x"), "here"),))
    found = panels(drawn(spec, table(crossing_at_k, ks=range(1, 7))))
    for k, axes in enumerate(found.values(), 1):
        # The axis shows log2 of x, which spans a factor of 64.
        assert verticals(axes) == (pytest.approx([2 * k - 1]) if k <= 3 else [])
        assert [t.get_text() for t in axes.texts if t.get_text() == "here"] == ["here"] * (k <= 3)


def test_a_mark_of_one_metric_is_in_its_panels_alone():
    rows = table(crossing_at_k, ks=(2,), metrics=("loss", "error"))
    crossing = Crossing(value("a"), 0.75, "task.x")  # from 1.5 to 0.5: three quarters of the way
    spec = lines(quantities=(LOSS, Quantity("error")), columns=None, marks=(Mark(crossing, "m", "error"),))
    loss, error = panels(drawn(spec, rows)).values()
    assert verticals(loss) == [] and verticals(error) == pytest.approx([2 + 2 * 0.75])


def test_a_mark_is_the_geometric_mean_over_the_seeds_that_have_one():
    rows = pd.concat(
        [table(crossing_at_k, ks=(k,), seeds=(seed,)).assign(**{"task.k": 0}) for seed, k in enumerate((1, 2, 5))]
    )
    rows["member"] = np.arange(len(rows))
    spec = lines(columns=None, marks=(Mark(Crossing(value("a"), value("b"), "task.x"), "m"),))
    (axes,) = panels(drawn(spec, rows)).values()
    assert verticals(axes) == pytest.approx([2])  # of 2^1 and 2^3; the third never crosses
    assert "m (2 of 3 seeds)" in {t.get_text() for t in axes.texts}


def test_marks_over_steps_and_of_what_the_table_lacks():
    def falling(predictor, k, x, step):
        return 1.0 if predictor == "b" else 2.0 - step / 16

    rows = table(falling, ks=(0,), xs=(1.0,), steps=(0, 4, 16, 64))
    spec = lines(
        x=STEP,
        columns=None,
        marks=(
            Mark(Crossing(value("a"), value("b")), "crossing"),
            Mark(Crossing(value("nobody"), 1.0), "missing"),
            Mark(Crossing(value("b"), value("a")), "never"),
        ),
    )
    (axes,) = panels(drawn(spec, rows)).values()
    assert verticals(axes) == pytest.approx([4])  # at step 16, as log2
    assert {t.get_text() for t in axes.texts} >= {"crossing"} and "missing" not in {t.get_text() for t in axes.texts}


def test_a_mark_on_an_axis_with_infinity_stands_between_its_neighbours():
    rows = table(crossing_at_k, ks=(2,), xs=(*X, math.inf))
    spec = lines(columns=None, marks=(Mark(Crossing(value("a"), value("b"), "task.x"), "m"),))
    (axes,) = panels(drawn(spec, rows)).values()
    assert all(1 <= at <= 2 for at in verticals(axes))  # 8 lies between 4, of rank 1, and 16, of rank 2


# ------------------------------------------------------------------------------- axes and labels


def falling(predictor, k, x, step):
    return {"a": 100.0, "b": 0.1}[predictor] / x


def test_logarithmic_y():
    spec = lines(columns=None, log_y=True)
    (axes,) = panels(drawn(spec, table(falling, ks=(0,)))).values()
    assert axes.get_yscale() == "log"
    curves_ = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == len(X)]
    np.testing.assert_allclose(curves_, [[100 / x for x in X], [0.1 / x for x in X]])
    low, high = np.log10(axes.get_ylim())
    for name, top in (("a", 100), ("b", 0.1)):
        assert labels(axes)[name] == pytest.approx((math.log10(top / 64) - low) / (high - low), abs=0.03)
    (linear,) = panels(drawn(lines(columns=None), table(falling, ks=(0,)))).values()
    assert linear.get_yscale() == "linear"


def test_a_linear_label_stands_at_the_end_of_its_curve():
    def rising(predictor, k, x, step):
        return {"a": 3.0, "b": 30.0}[predictor] * math.log2(2 * x)

    (axes,) = panels(drawn(lines(columns=None), table(rising, ks=(0,)))).values()
    low, high = axes.get_ylim()
    for name, end in (("a", 21.0), ("b", 210.0)):
        assert labels(axes)[name] == pytest.approx((end - low) / (high - low), abs=0.03)


def test_a_label_stands_at_the_end_of_what_was_drawn_last_and_highest():
    """A level line, of what trains nothing, far above the curve that was drawn before."""

    def rising(predictor, k, x, step):
        return 30.0 if predictor == "b" else 1.0 + step / 64

    rows = table(rising, ks=(0,), xs=(1.0,), steps=(0, 4, 16, 64))
    rows = rows[(rows["predictor"] == "a") | (rows["step"] == 0)]
    (axes,) = panels(drawn(lines(x=STEP, columns=None), rows)).values()
    low, high = axes.get_ylim()
    for name, end in (("a", 2.0), ("b", 30.0)):
        assert labels(axes)[name] == pytest.approx((end - low) / (high - low), abs=0.03)


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("count", [2, 9, 20])
def test_names_at_the_ends_stay_inside_and_apart(log_y, count):
    names = [f"p{i}" for i in range(count)]

    def alike(predictor, k, x, step):
        return 1000.0 + 1e-3 * names.index(predictor)  # all ends are at one point

    rows = table(alike, ks=range(5), predictors=names)
    found = panels(drawn(lines(log_y=log_y), rows))
    for place in ((0, 3), (1, 0)):
        heights = sorted(labels(found[place]).values())
        assert len(heights) == count and heights[0] >= 0 and heights[-1] <= 1
        assert np.diff(heights).min() > 0.6 * min(0.085, 1 / count)


@pytest.mark.parametrize(
    ("low", "high", "limits"), [(0.1, 0.9, (-0.04, 1.04)), (-0.9, 0.9, (-1.08, 1.08)), (-0.1, 0.1, None), (0, 5, None)]
)
def test_shares_and_preferences_are_shown_on_their_whole_range(low, high, limits):
    def ends(predictor, k, x, step):
        return low if predictor == "a" else high

    (axes,) = panels(drawn(lines(columns=None), table(ends, ks=(0,)))).values()
    found = axes.get_ylim()
    if limits:
        assert found == pytest.approx(limits)
    else:
        assert low - 0.5 <= found[0] < low and high < found[1] <= high + 0.5


# ------------------------------------------------------------------------------- as data


def test_marks_and_logarithmic_axes_survive_json():
    crossing = Crossing(value("a", **{"task.k": 3}), 0.5, "task.x", summed=True)
    spec = lines(marks=(Mark(crossing, "m", "loss"), Mark(Crossing(value("a"), value("b")), "n")), log_y=True)
    plain = json.loads(json.dumps(figures.to_json([spec]), allow_nan=False))
    assert figures.from_json(plain) == (spec,)
    plain[0]["marks"][0]["crossing"] = {"kind": "Quantity", "metric": "loss"}
    with pytest.raises(ValueError, match="A Mark has crossing = Quantity.*; it must be Crossing"):
        figures.from_json(plain)
    with pytest.raises(ValueError, match="A Lines has log_y = 3"):
        figures.from_json([figures.to_json([spec])[0] | {"log_y": 3}])
