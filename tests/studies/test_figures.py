"""Figures: what is resolved from the table, and that what is drawn is what the table holds."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

from icl_sim.studies import curves, drawing, figures, palette, presets, quantities, resolution, wording
from icl_sim.studies.figures import AUTO, POSITION, PREDICTOR, QUANTITY, STEP, Closest, Heat, Lines, Mark, Quantity
from tests.studies import regression_runs
from tests.studies import report_runs as runs

N = "task.num_sequences"
ONE = (Quantity("icl_error_low", label="ICL"),)
GATE = Quantity("gate_mean", runs.GATES[0])


def named(table, task_kind="class_mixture"):
    return {spec.name: spec for spec in resolution.chosen((), task_kind, table)}


def test_axes_come_from_what_varies():
    specs = named(runs.table(**{"task.p_high": (0.5, 0.9)}))
    assert (specs["errors"].x, specs["errors"].columns, specs["errors"].lines) == (
        N,
        "task.p_high",
        PREDICTOR,
    )
    assert (specs["steps"].x, specs["steps"].lines, specs["steps"].predictors) == (STEP, N, ("transformer",))
    assert (specs["gate"].x, specs["gate"].y) == (N, "task.p_high")
    assert (specs["gate_steps"].x, specs["gate_steps"].y, specs["gate_steps"].predictors) == (
        N,
        STEP,
        ("gated",),
    )
    assert specs["gate_steps"].where == {"task.p_high": 0.9}


def test_a_figure_that_a_single_sweep_makes_twice_is_drawn_once():
    specs = named(runs.table())
    assert list(specs) == ["errors", "steps", "gate_curves", "gate"] and specs["gate"].y == STEP


def test_a_single_run_is_shown_over_steps():
    specs = named(runs.table(sizes=(64,), seeds=(0,), predictors=("transformer",)))
    assert [spec.x for spec in specs.values()] == [STEP]
    gated = named(runs.table(sizes=(64,), seeds=(0,), predictors=("gated",)))
    assert {name: spec.x for name, spec in gated.items()} == {"errors": STEP, "gate_curves": STEP}


def test_other_families_get_the_default_figures():
    rows = runs.table().query("eval_set == 'pretraining'")
    (quantity,) = named(rows, "something else")["results"].quantities
    assert (quantity.metric, quantity.eval_set) == ("cross_entropy", "pretraining")


def test_class_sequences_are_shown_as_errors_as_a_head_and_as_phases():
    bursts, numbers, sets = ("1, 1, 1, 1", "2, 2"), (64, 256, 1024), ("icl", "iwl", "swap")
    points = list(enumerate(itertools.product(bursts, numbers, range(2))))
    measures = [(name, "error") for name in sets] + [("icl", "previous_token")]
    rows = [
        (member, step, "network", *measure, (member + step) / 100, *point)
        for member, point in points
        for step in (0, 10)
        for measure in measures
    ]
    swept = ["task.bursts", "task.num_classes", "seed"]
    table = pd.DataFrame(rows, columns=["member", "step", "predictor", "eval_set", "metric", "value", *swept])
    specs = named(table, "bursty")
    assert list(specs) == ["errors", "steps", "mechanism", "phases"]
    assert [q.eval_set for q in specs["errors"].quantities] == [q.eval_set for q in specs["phases"].quantities]
    assert sorted(q.eval_set for q in specs["errors"].quantities) == sorted(sets)
    assert (specs["mechanism"].x, specs["mechanism"].lines) == (STEP, QUANTITY)
    assert (specs["phases"].x, specs["phases"].y) == ("task.num_classes", "task.bursts")
    axes = drawing.draw(specs["phases"], table).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["4 × 1", "2 × 2"]
    np.testing.assert_allclose(axes.collections[0].get_array(), [[0.105, 0.125, 0.145], [0.165, 0.185, 0.205]])


def test_what_every_family_shows_is_explained():
    assert set(presets.PRESETS) == set(presets.MEANINGS)


def test_what_the_table_lacks_is_left_out():
    rows = runs.table(predictors=("transformer",))
    assert not any(isinstance(spec, Heat) for spec in named(rows).values())
    partly = resolution.resolve(Lines(name="a", title="A", quantities=(*ONE, Quantity("nonsense"))), rows)
    assert partly is not None and partly.quantities == ONE
    assert resolution.resolve(Lines(name="a", title="A", quantities=(Quantity("nonsense"),)), rows) is None


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (Lines(name="a", title="", quantities=ONE), ""),
        (Lines(name="a", title="", quantities=ONE, where={N: 5}), f"it shows what has {N} = 5, and here it is 2⁶"),
        (Lines(name="a", title="", quantities=(GATE,), predictors=("transformer",)), "none of its predictors, transf"),
        (Lines(name="a", title="", quantities=ONE, x=STEP, predictors=("in_context",)), "it is over training steps"),
        (Heat(name="a", title="", quantities=ONE, predictors=("in_context",)), "it is over training steps"),
        (Heat(name="a", title="", quantities=ONE, x="seed", y="seed"), "a map has two axes, and both are seed"),
        (Heat(name="a", title="", quantities=ONE, where={N: 64, "seed": 0}), "a map has two axes, and nothing var"),
    ],
)
def test_of_a_figure_that_is_not_drawn_it_is_said_why(spec, why):
    rows = runs.table()
    told = resolution.undrawn(spec, rows)
    assert [sentence.startswith(f"The figure 'a' is not drawn: {why}") for sentence in told] == [True] * bool(why), told
    assert (resolution.resolve(spec, rows) is None) == bool(why)


def test_predictors_among_what_is_swept_are_told_their_field():
    spec = Closest(name="mine", title="", quantities=ONE, where={"predictor": "gated"})
    told = "where = {'predictor': 'gated'}; the predictors of a figure are its field, as in predictors=\\('gated',\\)."
    with pytest.raises(ValueError, match=told):
        figures.check_axes(spec, [N])


def test_json_round_trip():
    specs = (
        *presets.PRESETS["class_mixture"],
        *presets.PRESETS["regression"],
        *presets.PRESETS["bursty"],
        Heat(name="h", title="H", quantities=ONE, where={"a": float("inf")}),
        Closest(name="c", title="C", quantities=ONE, y=STEP),
        Lines(name="m", title="M", marks=(Mark(8.0, "k = d"),), limits=(0.0, 1.5), x=POSITION, lines=QUANTITY),
    )
    assert figures.from_json(json.loads(json.dumps(figures.to_json(specs), allow_nan=False))) == specs
    with pytest.raises(ValueError, match="Lines or Heat"):
        figures.from_json([3])


def test_colors_are_distinct_and_stay_with_a_name():
    names = ["transformer", "gated", "mine", "yours"]
    assert len(set(palette.colors(names).values())) == 4
    assert palette.colors(["gated"])["gated"] == palette.colors(names)["gated"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(2**20, "2²⁰"), (8, "8"), (float("inf"), "∞"), (0.1, "0.1"), (10_000, "10,000"), ("a", "a")]
    + [("2, 2, 2, 2", "4 × 2"), ("3, 3, 1", "2 × 3, 1"), ("3, 1", "3, 1"), ("a, b", "a, b")],
)
def test_numbers_in_words(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(
    "axes", [{"x": "nope"}, {"columns": "task.p_hihg"}, {"lines": None}, {"x": 5}, {"where": {"nope": 1}}]
)
def test_axes_that_the_study_does_not_have_are_named(axes):
    with pytest.raises(ValueError, match="'mine'.*allowed: task.num_sequences, seed"):
        resolution.resolve(Lines(name="mine", title="A", quantities=ONE, **axes), runs.table())


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/x", "a/b", "", "a" * 81])
def test_names_of_figures_stay_in_their_folder(name):
    with pytest.raises(ValueError, match="names of files are 1 to 80 letters"):
        Lines(name=name, title="A")


@pytest.mark.parametrize(
    "changes",
    [{"title": 5}, {"predictors": "abc"}, {"quantities": ["a"]}, {"where": [1]}, {"x": None}, {"kind": ["x"]}],
)
def test_records_with_values_of_another_type_are_refused(changes):
    plain = figures.to_json([Lines(name="a", title="A", quantities=ONE)])
    assert figures.from_json(plain)
    with pytest.raises(ValueError, match="A Lines has .*; it must be |Unknown kind"):
        figures.from_json([plain[0] | changes])


def test_swept_words_and_truths_can_be_drawn():
    for values in ((True, False), ("a", "b")):
        rows = runs.table(**{"task.p_high": (0.5, 0.9)})
        rows["task.p_high"] = rows["task.p_high"].map(dict(zip((0.5, 0.9), values, strict=True)))
        for spec in resolution.chosen((), "class_mixture", rows):
            drawing.draw(spec, rows)


def test_curves_drawn_are_those_of_the_table():
    table = runs.table()
    spec = resolution.resolve(Lines(name="a", title="A", quantities=ONE), table)
    axes = drawing.draw(spec, table).axes[0]
    drawn = [line for line in axes.lines if len(line.get_xdata()) == len(runs.SIZES)]
    # The loss falls with the step, so the last checkpoint is selected; the mean over seeds 0..2 is that of seed 1.
    for line, predictor in zip(drawn, ("transformer", "gated", "in_context"), strict=True):
        step = 0 if predictor == "in_context" else 100
        expected = [runs.error(predictor, "icl_error_low", size, step, seed=1) for size in runs.SIZES]
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)
        assert line.get_xdata().tolist() == list(runs.SIZES)  # a narrow range, so no logarithm
        assert line.get_color() == palette.colors([predictor])[predictor]


def test_what_trains_nothing_is_a_level_line_over_steps():
    table = runs.table(sizes=(64,))
    spec = resolution.resolve(Lines(name="a", title="A", quantities=ONE, x=STEP), table)
    axes = drawing.draw(spec, table).axes[0]
    (level,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert level.get_ydata() == pytest.approx([runs.error("in_context", "icl_error_low", 64, 0, 1)] * 2)


def test_heat_map_shows_seed_means():
    table = runs.table()
    heat = Heat(name="h", title="H", quantities=(Quantity("gate_mean", runs.GATES[0]),), y=STEP)
    spec = resolution.resolve(heat, table)
    mesh = drawing.draw(spec, table).axes[0].collections[0]
    steps = [step for step in runs.STEPS if step]
    np.testing.assert_allclose(mesh.get_array(), [[0.5 + step / 1000] * 3 for step in steps])


def test_ticks_whose_labels_would_touch_are_left_out():
    rows = regression_runs.table(ks=(1, 2, 5, 10, 50))
    spec = resolution.resolve(Lines(name="f", title="F", quantities=(ERROR,), x=POSITION), rows)
    axes = drawing.draw(spec, rows).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "10", "50"]


@pytest.mark.parametrize(
    ("metric", "values", "ends", "low"),
    [
        ("gate_mean", (0.3, 0.5), (0, 1), "#0072b2"),
        ("icl_error_low", (0.3, 0.5), (0, 1), "#0072b2"),
        ("iwl_error_low", (0.3, 0.5), (0, 1), "#d55e00"),
        ("preference_low", (-0.3, 0.5), (-1, 1), "#d55e00"),
        ("preference_low", (0.3, 0.5), (-1, 1), "#d55e00"),
        ("error", (0.3, 0.5), (0, 1), "#440154"),
        ("error", (0.01, 0.05), (0.01, 0.05), "#440154"),
        ("squared_error", (0.3, 0.5), (0.3, 0.5), "#440154"),
        ("kendall", (0.3, 0.5), (0.3, 0.5), "#440154"),
    ],
)
def test_heat_maps_are_as_wide_as_what_they_show_and_blue_where_the_context_answers(metric, values, ends, low):
    points = [(size, share) for size in (64, 256) for share in (0.5, 0.9)]
    rows = [(i, 0, "a", "summary", metric, values[i % 2], *point, 0) for i, point in enumerate(points)]
    columns = ["member", "step", "predictor", "eval_set", "metric", "value", N, "task.p_high", "seed"]
    table = pd.DataFrame(rows, columns=columns)
    spec = resolution.resolve(Heat(name="h", title="H", quantities=(Quantity(metric),)), table)
    mesh = drawing.draw(spec, table).axes[0].collections[0]
    assert mesh.get_clim() == ends and to_hex(mesh.cmap(0.0)) == low


def test_small_print_states_seeds_steps_and_selection():
    table = runs.table(**{"task.p_high": (0.5, 0.9), "task.noise": (0.1, 0.2)})
    spec = resolution.resolve(Lines(name="a", title="A", quantities=ONE), table)
    text = drawing.draw(spec, table).get_supxlabel()
    assert "3 seeds, 100 steps" in text and curves.RULES["lowest_loss"] in text and "σ = 0.2" in text


def test_saves_png_and_svg(tmp_path):
    table = runs.table(sizes=(64,), seeds=(0,), predictors=("transformer",))
    table.loc[table["step"] == 100, "value"] = np.nan
    spec = resolution.resolve(Lines(name="a", title="A", quantities=ONE, x=AUTO), table)
    svg = drawing.save(drawing.draw(spec, table), tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.svg"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG") and "<svg" in svg


# ------------------------------------------------------------------------------- positions, quantities as lines

DEPTH, ERROR = "predictors.transformer.depth", Quantity("normalized_error", "default")
SPD = Quantity("spd_*", "default", "*")


def resolved(table, **changes):
    fields = {"name": "f", "title": "F", "quantities": (ERROR,), "x": POSITION} | changes
    return resolution.resolve(Lines(**fields), table)


def test_what_is_swept_together_with_an_axis_is_not_held():
    rows = runs.table(predictors=("transformer",))
    together = rows.assign(**{"task.num_low": rows["task.num_sequences"] * 2})
    spec = Lines(name="a", title="a", quantities=(Quantity("icl_error_high"),), x="step", lines=N, columns=None)
    assert resolution.resolve(spec, together).where == {}
    apart = resolution.resolve(dataclasses.replace(spec, lines="predictor"), together)
    assert apart.where == {"task.num_sequences": 256, "task.num_low": 512}
    crossed = runs.table(predictors=("transformer",), **{"task.num_low": (1, 2)})
    assert resolution.resolve(spec, crossed).where == {"task.num_low": 2}


def test_figures_of_any_regression_study():
    rows = regression_runs.table(sets=regression_runs.SETS, depths=(2, 4, 6))
    specs = named(rows, "regression")
    assert list(specs) == ["positions", "errors", "steps", "positions_steps", "shifts", "distances", "distances_steps"]
    assert (specs["positions"].x, specs["positions"].lines, specs["positions"].columns) == (POSITION, PREDICTOR, DEPTH)
    assert [q.text for q in specs["shifts"].quantities] == list(regression_runs.SETS)
    assert [(q.metric, q.text) for q in specs["distances"].quantities] == [
        ("spd_ols", "ols"),
        ("spd_ridge", "ridge"),
        ("spd_knn", "knn"),
    ]
    assert specs["distances"].predictors == specs["shifts"].predictors == ("transformer",)
    for spec in specs.values():
        drawing.draw(spec, rows)


def test_one_evaluation_set_is_not_compared_with_itself():
    assert "shifts" not in named(regression_runs.table(), "regression")


def test_without_positions_there_are_no_figures_over_them():
    rows = regression_runs.table()
    rows = rows[~rows["metric"].str.contains("/")]
    specs = named(rows, "regression")
    assert list(specs) == ["errors", "distances_steps"] and specs["errors"].x == STEP
    assert resolved(rows) is None


def test_a_single_number_at_each_position_is_drawn_over_them():
    rows = regression_runs.table(seeds=(0,), steps=(10,), predictors=("transformer",))
    spec = resolved(rows)
    assert spec is not None and (spec.x, spec.lines) == (POSITION, PREDICTOR)
    assert resolved(rows[rows["step"] > 10]) is None


def test_a_star_stands_for_what_the_table_has():
    rows = regression_runs.table(sets=regression_runs.SETS)

    def names(quantity, **changes):
        return [(q.metric, q.eval_set, q.label) for q in resolved(rows, quantities=(quantity,), **changes).quantities]

    assert names(Quantity("*_ols", "skewed", "to * on")) == [("spd_ols", "skewed", "to spd on")]
    assert names(Quantity("normalized_*", "default", "*")) == [("normalized_error", "default", "error")]  # no limits
    found = names(Quantity("spd_*", "*", "*"), x=STEP)
    assert len(found) == 9 and found[0] == ("spd_ols", "default", "ols, default")
    scaled = rows.replace({"eval_set": {"skewed": "x_scale:1/3", "orthants": "pretraining"}})
    everywhere = Lines(name="f", title="F", quantities=(Quantity("normalized_error", "*", "*"),), x=POSITION)
    assert [q.text for q in resolution.resolve(everywhere, scaled).quantities] == ["default", "x scale:1/3"]
    again = resolved(rows, quantities=(Quantity("spd_ols", "default", "mine"), SPD)).quantities
    assert [q.label for q in again] == ["mine", "ridge", "knn"]


def test_metrics_over_a_range_of_positions_are_there_if_all_positions_are():
    rows = regression_runs.table(ks=range(1, 8))
    wanted = tuple(Quantity(metric, "default") for metric in ("spd_ols/1-7", "spd_ols/0-7", "spd_ols/3", "spd_ols/8"))
    spec = resolved(rows, quantities=wanted, x=STEP)
    assert [q.metric for q in spec.quantities] == ["spd_ols/1-7", "spd_ols/3"]


def test_the_setting_of_one_predictor_is_swept():
    """Other predictors have no value of it: they are drawn as level lines, and never stand for the one that has."""
    rows = regression_runs.table(depths=(2, 4, 6), predictors=("ols", "transformer"))
    spec = resolved(rows, x=AUTO)
    assert (spec.x, spec.predictors) == (DEPTH, ("ols", "transformer"))
    level, curve = drawing.draw(spec, rows).axes[0].lines[:2]
    expected = np.mean([regression_runs.error("ols", k, seed=1) for k in range(17)])
    np.testing.assert_allclose(level.get_ydata(), expected, atol=0.011)
    assert level.get_linestyle() == "--" and curve.get_xdata().tolist() == [2, 4, 6]
    names = {"transformer": "mine", "ols": "transformer"}
    mine = rows.assign(predictor=rows["predictor"].map(names))
    assert resolved(mine, lines=DEPTH).predictors == ("mine",)
    assert resolved(mine, x=POSITION, columns=None).where == {DEPTH: 4}
    heat = resolution.resolve(Heat(name="h", title="H", quantities=(ERROR,), x=DEPTH, y=POSITION), mine)
    assert heat.predictors == ("mine",)


def test_the_closest_of_references_needs_two():
    rows = regression_runs.table(depths=(2, 4)).replace({"metric": {"spd_ols": "mspd_ols", "spd_knn": "mspd_knn"}})
    spec = named(rows, "regression")["closest"]
    assert (spec.x, spec.y, [q.text for q in spec.quantities]) == (DEPTH, STEP, ["ols", "knn"])
    assert "closest" not in named(rows[rows["metric"] != "mspd_knn"], "regression")


def test_networks_stand_before_explicit_learners():
    rows = regression_runs.table(predictors=("ols", "transformer", "knn"))
    for name in ("transformer", "lsa"):
        changed = rows.replace({"predictor": {"transformer": name}})
        assert resolved(changed, lines=QUANTITY).predictors == (name,)
        assert resolved(changed, lines=QUANTITY, columns=PREDICTOR).predictors == ("ols", name, "knn")


def test_headlines_are_numbers_of_whole_sequences():
    rows = regression_runs.table(sets=("default", "skewed"))
    assert [(q.metric, q.eval_set) for q in quantities.headlines(quantities.pairs(rows))] == [
        ("normalized_error", "default"),
        ("normalized_error", "skewed"),
    ]
    others = rows[~rows["metric"].str.startswith("normalized")]
    found = quantities.headlines(quantities.pairs(others))
    assert [q.metric for q in found] == ["spd_ols", "spd_ridge", "spd_knn", "spd_ols"]
    assert quantities.headlines(quantities.pairs(rows[rows["metric"] == "spd_ols/3"]))[0].metric == "spd_ols/3"


@pytest.mark.parametrize(
    ("name", "label", "symbol"),
    [
        ("task.noise", "noise of targets σ", "σ"),
        ("task.function.pool", "pretraining tasks M", "M"),
        ("predictors.transformer.depth", "depth", "depth"),
        ("predictors.lsa.attention.num_heads", "attention num heads", "attention num heads"),
        ("position", "in-context examples k", "k"),
    ],
)
def test_names_in_words(name, label, symbol):
    assert (wording.axis_label(name), wording.symbol(name)) == (label, symbol)


def test_a_distance_has_the_colour_of_its_learner():
    learners = palette.colors(["ols", "ridge", "knn"])
    wanted = [Quantity(f"spd_{name}/1-7") for name in learners]
    assert palette.quantity_colors(wanted) == list(learners.values())
    ridges = palette.colors(["ridge", "ridge_large", "transformer"])
    assert len(set(ridges.values())) == 3 and ridges["ridge"] == learners["ridge"]
    same = palette.quantity_colors([Quantity("error", name) for name in "abc"])
    assert len(set(same)) == 3
    assert len(set(palette.quantity_colors([Quantity(f"spd_{i}") for i in range(12)]))) == 12


@pytest.mark.parametrize("limits", [(1.0,), (1.0, 0.0), (0.0, 1.0, 2.0)])
def test_limits_are_two_rising_numbers(limits):
    with pytest.raises(ValueError, match="two rising numbers"):
        Lines(name="a", title="A", limits=limits)
