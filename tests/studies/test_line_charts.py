"""What lines look like: wrapped panels, marks where curves cross, logarithmic axes, and labels beside their curves."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib")

from icl_sim.studies import curves, drawing, figures, palette, resolution
from icl_sim.studies.claims import Crossing, Value
from icl_sim.studies.figures import POSITION, QUANTITY, STEP, Lines, Mark, Quantity
from icl_sim.studies.quantities import known_range
from tests.studies import regression_runs as regression

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
    resolved = resolution.resolve(spec, rows)
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


def test_every_lowest_panel_says_what_its_axis_is():
    rows = table(flat, ks=(0,), metrics=("loss", "error", "third"))
    quantities = tuple(Quantity(name) for name in ("loss", "error", "third"))
    found = panels(drawn(lines(quantities=quantities, columns=None), rows))
    told = {place: (axes.get_xlabel(), axes.xaxis.get_tick_params()["labelbottom"]) for place, axes in found.items()}
    assert told == {(0, 0): ("", False), (0, 1): ("x", True), (1, 0): ("x", True)}


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


BANDS = {"error": (0, 1), "preference_low": (-1, 1), "mine": (-math.inf, math.inf)}
BANDS |= dict.fromkeys(("squared_error", "sensitivity_next_gd"), (0, math.inf))


@pytest.mark.parametrize(("metric", "ends"), BANDS.items())
def test_bands_of_all_lines_are_cut_where_the_range_of_the_metric_ends(metric, ends):
    rows = table(flat, ks=(0,), seeds=(0, 1, 2), metrics=(metric,))
    rows["value"] = np.where(rows["seed"] == 0, 0.9, 0.0) + np.where(rows["predictor"] == "b", 0.11, 0.0)
    (axes,) = panels(drawn(lines(columns=None, quantities=(Quantity(metric),)), rows)).values()
    bands = [band.get_paths()[0].vertices[:, 1] for band in axes.collections]
    half = 4.303 * 0.9 / math.sqrt(3) / math.sqrt(3)
    for middle, heights in zip((0.3, 0.41), bands, strict=True):
        wanted = np.clip((middle - half, middle + half), *ends)
        np.testing.assert_allclose((heights.min(), heights.max()), wanted, rtol=1e-3)
    low, high = axes.get_ylim()
    assert low < min(map(min, bands)) and high > max(map(max, bands))  # and all is seen


def test_an_axis_from_0_to_1_has_room_for_all_bands_of_its_row():
    rows = table(lambda predictor, k, x, step: 0.5, seeds=(0, 1), ks=(0, 1), predictors=("a",))
    rows["value"] += np.where(rows["seed"] == 0, 0.1, -0.1) * (rows["task.k"] == 0)
    for axes in panels(drawn(lines(), rows)).values():
        half = 12.706 * 0.1
        margin = 0.04 * 2 * half
        assert axes.get_ylim() == pytest.approx((0.5 - half - margin, 0.5 + half + margin), rel=1e-3)
    rows["value"] = 0.5
    for axes in panels(drawn(lines(), rows)).values():
        assert axes.get_ylim() == pytest.approx((-0.04, 1.04))


def test_what_is_an_error_of_regressions_has_no_upper_end():
    known = {("error", "summary"): (0, 1), ("error_skewed", "summary"): (-math.inf, math.inf)}
    assert {pair: known_range(Quantity(*pair), {"error"}) for pair in known} == known
    assert {known_range(Quantity(*pair), {"normalized_error"}) for pair in known} == {(0, math.inf)}
    assert known_range(Quantity("error", "default"), {"normalized_error"}) == (0, 1)
    assert known_range(Quantity("clean_error/1-7"), ()) == known_range(Quantity("spd_ols/3"), ()) == (0, math.inf)


def test_on_a_log_axis_bands_that_reach_0_go_to_the_edge():
    rows = table(flat, ks=(0,), predictors=("a", "b"), seeds=(0, 1))
    spread = np.where(rows["predictor"] == "a", 0.2, 1e-3)  # t = 12.7
    rows["value"] += np.where(rows["seed"] == 0, spread, -spread)
    figure = drawn(lines(columns=None, log_y=True), rows)
    (axes,) = panels(figure).values()
    wide, narrow = (band.get_paths()[0].vertices[:, 1] for band in axes.collections)
    assert wide.min() == axes.get_ylim()[0] and wide.max() == pytest.approx(0.3 + 12.706 * 0.2, rel=1e-3)
    assert narrow.min() == pytest.approx(0.6 - 12.706 * 1e-3, rel=1e-3)
    assert axes.get_ylim()[0] > 0.2  # the axis is that of what has a place on it
    assert "intervals that reach 0 or below go to the edge" in figure.get_supxlabel().replace("\n", " ")
    rows = rows[rows["predictor"] == "b"]
    assert "edge" not in drawn(lines(columns=None, log_y=True), rows).get_supxlabel()


def test_limits_that_would_hide_most_of_a_figure_are_left_out():
    for high, kept in ((1.0, True), (5.0, False)):
        rows = table(lambda *at, high=high: high, ks=(0,))
        (axes,) = panels(drawn(lines(columns=None, limits=(0.0, 1.25)), rows)).values()
        assert (axes.get_ylim()[1] == 1.25) == kept


# ------------------------------------------------------------------------------- as data


def test_marks_and_logarithmic_axes_survive_json():
    crossing = Crossing(value("a", **{"task.k": 3}), 0.5, "task.x", summed=True)
    spec = lines(marks=(Mark(crossing, "m", "loss"), Mark(Crossing(value("a"), value("b")), "n")), log_y=True)
    plain = json.loads(json.dumps(figures.to_json([spec]), allow_nan=False))
    assert figures.from_json(plain) == (spec,)
    plain[0]["marks"][0]["crossing"] = {"kind": "Quantity", "metric": "loss"}
    with pytest.raises(ValueError, match="A Mark has crossing = Quantity.*; it must be claims.Crossing"):
        figures.from_json(plain)
    with pytest.raises(ValueError, match="A Lines has log_y = 3"):
        figures.from_json([figures.to_json([spec])[0] | {"log_y": 3}])


# ------------------------------------------------------------------------------- positions, quantities as lines

ERROR = Quantity("normalized_error", "default", "error")
SPD = tuple(Quantity(f"spd_{name}", "default", name) for name in regression.LEARNERS)
KS = range(2 * regression.D + 1)


def over_positions(rows, **changes):
    fields = {"name": "f", "title": "F", "quantities": (ERROR,), "x": POSITION, "columns": None}
    return drawn(Lines(**fields | changes), rows)


def curves_of(axes, least=2):
    return [line for line in axes.lines if len(line.get_xdata()) > least]


def band(collection):
    """(low, high) at the first and the last point of a band."""
    x, y = collection.get_paths()[0].vertices.T
    return [(y[x == end].min(), y[x == end].max()) for end in (x.min(), x.max())]


def test_errors_over_positions_are_those_of_the_table():
    rows = regression.table()
    figure = over_positions(rows)
    (axes,) = panels(figure).values()
    for line, name in zip(curves_of(axes), ("transformer", "ols", "ridge", "knn"), strict=True):
        assert line.get_xdata().tolist() == list(KS)
        wanted = [regression.error(name, k, regression.STEPS[-1], 1) for k in KS]
        np.testing.assert_allclose(line.get_ydata(), wanted, atol=0.011)
    assert axes.get_xlabel() == "in-context examples k" and all(t == round(t) for t in axes.get_xticks())
    text = figure.get_supxlabel()
    assert "95 % t-interval over 3 seeds" in text and "bootstrap" not in text and curves.RULES["last"] in text
    half = curves.student_t(0.95, 2) * 0.01 / 3**0.5
    low, high = band(axes.collections[0])[0]
    assert high - low == pytest.approx(2 * half, rel=1e-6)


def test_an_x_axis_can_have_a_label_of_its_own():
    (axes,) = panels(over_positions(regression.table(predictors=("ols",)), x_label="slot")).values()
    assert axes.get_xlabel() == "slot"


def test_positions_are_evenly_spaced_without_a_zero_too():
    (axes,) = panels(over_positions(regression.table(ks=range(1, 41), predictors=("ols",)))).values()
    assert curves_of(axes)[0].get_xdata().tolist() == list(range(1, 41))


def test_one_seed_has_the_interval_over_its_sequences():
    figure = over_positions(regression.table(seeds=(0,)))
    (axes,) = panels(figure).values()
    line = curves_of(axes)[-1]
    ends = [line.get_ydata()[i] for i in (0, -1)]
    assert band(axes.collections[-1]) == [pytest.approx((y - 0.02, min(y + 0.03, math.inf))) for y in ends]
    assert "Mean over 1 seed" in figure.get_supxlabel()
    assert "bands: 90 % bootstrap interval over its sequences" in figure.get_supxlabel().replace("\n", " ")
    without = over_positions(regression.table(seeds=(0,), limits=False))
    assert "bootstrap" not in without.get_supxlabel()
    assert len(panels(without)[0, 0].lines) == len(axes.lines)


def test_a_mark_at_a_number():
    spec = {"marks": (Mark(8.0, "k = d"), Mark(3, "elsewhere", "other")), "log_y": True}
    (axes,) = panels(over_positions(regression.table(), **spec)).values()
    assert verticals(axes) == [8.0] and "k = d" in {t.get_text() for t in axes.texts}
    (axes,) = panels(drawn(lines(columns=None, marks=(Mark(8, "m"),)), table(flat, ks=(0,)))).values()
    assert verticals(axes) == [3.0]  # log2 of 8


def test_quantities_as_lines_of_one_panel():
    rows = regression.table()
    (axes,) = panels(over_positions(rows, quantities=SPD, lines=QUANTITY)).values()
    for line, name in zip(curves_of(axes), regression.LEARNERS, strict=True):
        wanted = [regression.distance(name, k, regression.STEPS[-1], 4, 1) for k in KS]
        np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-12)
        assert line.get_color() == palette.colors([name])[name]
    assert list(labels(axes)) == ["ridge", "knn", "ols"]  # from below: a depth of 4 is at 3 / 7
    deep = regression.table(depths=(1, 8))
    found = panels(over_positions(deep, quantities=SPD, lines=QUANTITY, columns="predictors.transformer.depth"))
    assert [axes.get_title("left") for axes in found.values()] == ["depth = 1", "depth = 8"]


def test_a_line_for_every_evaluation_set():
    rows = regression.table(sets=regression.SETS, seeds=(0,))
    quantity = Quantity("normalized_error", "*", "*")
    figure = over_positions(rows, quantities=(quantity,), lines=QUANTITY, limits=(0.0, 1.0))
    (axes,) = panels(figure).values()
    for line, name in zip(curves_of(axes), regression.SETS, strict=True):
        wanted = [regression.error("transformer", k, regression.STEPS[-1], 0, name) for k in KS]
        np.testing.assert_allclose(line.get_ydata(), wanted, atol=0.011)
    assert set(labels(axes)) == set(regression.SETS) and axes.get_ylim() == pytest.approx((-0.04, 1.0))


def test_a_line_per_step_and_a_line_per_position():
    rows = regression.table(predictors=("transformer",))
    figure = over_positions(rows, lines=STEP)
    (axes,) = panels(figure).values()
    for line, step in zip(curves_of(axes), regression.STEPS, strict=True):
        wanted = [regression.error("transformer", k, step, 1) for k in KS]
        np.testing.assert_allclose(line.get_ydata(), wanted, atol=0.011)
    assert set(labels(axes)) == {"0", "100", "1,000", "10,000"}
    assert "every checkpoint as it was" in figure.get_supxlabel()
    (axes,) = panels(over_positions(rows, x=STEP, lines=POSITION)).values()
    assert sorted(map(int, labels(axes))) == [0, 3, 5, 8, 11, 13, 16]  # evenly spaced ones


def test_a_logarithmic_axis_does_not_show_rounding():
    def rounding(predictor, k, x, step):
        return 1.0 if predictor == "a" else 1e-13

    (axes,) = panels(drawn(lines(columns=None, log_y=True), table(rounding, ks=(0,)))).values()
    low, high = axes.get_ylim()
    assert high / low == pytest.approx(1e6) and labels(axes)["b"] == pytest.approx(0, abs=0.03)


def test_long_titles_and_small_print_stay_inside(tmp_path):
    import matplotlib.image

    rows = regression.table(seeds=(0,))
    figure = over_positions(rows, title="a title that goes on " * 6, lines=STEP)
    drawing.save(figure, tmp_path, "f")
    image = matplotlib.image.imread(tmp_path / "f.png")[..., :3].min(axis=2)
    assert image[:, -4:].min() == 1 and image[-4:].min() == 1  # nothing touches the edges
    assert max(map(len, figure.get_suptitle().split("\n"))) < 60
