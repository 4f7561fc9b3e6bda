"""Figures: what is resolved from the table, and that what is drawn is what the table holds."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from icl_sim.studies import curves, drawing, figures
from icl_sim.studies.figures import AUTO, PREDICTOR, STEP, Heat, Lines, Quantity
from tests.studies import report_runs as runs

N = "task.num_sequences"
ONE = (Quantity("icl_error_low", label="ICL"),)


def named(table, task_kind="class_mixture"):
    return {spec.name: spec for spec in figures.chosen((), task_kind, table)}


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
    (quantity,) = named(rows, "regression")["results"].quantities
    assert (quantity.metric, quantity.eval_set) == ("cross_entropy", "pretraining")


def test_what_the_table_lacks_is_left_out():
    rows = runs.table(predictors=("transformer",))
    assert not any(isinstance(spec, Heat) for spec in named(rows).values())
    partly = figures.resolve(Lines(name="a", title="A", quantities=(*ONE, Quantity("nonsense"))), rows)
    assert partly is not None and partly.quantities == ONE
    assert figures.resolve(Lines(name="a", title="A", quantities=(Quantity("nonsense"),)), rows) is None


def test_json_round_trip():
    specs = (
        *figures.PRESETS["class_mixture"],
        Heat(name="h", title="H", quantities=ONE, where={"a": float("inf")}),
    )
    assert figures.from_json(json.loads(json.dumps(figures.to_json(specs), allow_nan=False))) == specs
    with pytest.raises(ValueError, match="Lines or Heat"):
        figures.from_json([3])


def test_colors_are_distinct_and_stay_with_a_name():
    names = ["transformer", "gated", "mine", "yours"]
    assert len(set(figures.colors(names).values())) == 4
    assert figures.colors(["gated"])["gated"] == figures.colors(names)["gated"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(2**20, "2²⁰"), (8, "8"), (float("inf"), "∞"), (0.1, "0.1"), (10_000, "10,000"), ("a", "a")],
)
def test_numbers_in_words(value, text):
    assert figures.number(value) == text


@pytest.mark.parametrize(
    "axes", [{"x": "nope"}, {"columns": "task.p_hihg"}, {"lines": None}, {"x": 5}, {"where": {"nope": 1}}]
)
def test_axes_that_the_study_does_not_have_are_named(axes):
    with pytest.raises(ValueError, match="'mine'.*allowed: task.num_sequences, seed"):
        figures.resolve(Lines(name="mine", title="A", quantities=ONE, **axes), runs.table())


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
        for spec in figures.chosen((), "class_mixture", rows):
            drawing.draw(spec, rows)


def test_curves_drawn_are_those_of_the_table():
    table = runs.table()
    spec = figures.resolve(Lines(name="a", title="A", quantities=ONE), table)
    axes = drawing.draw(spec, table).axes[0]
    drawn = [line for line in axes.lines if len(line.get_xdata()) == len(runs.SIZES)]
    # The loss falls with the step, so the last checkpoint is selected; the mean over seeds 0..2 is that of seed 1.
    for line, predictor in zip(drawn, ("transformer", "gated", "in_context"), strict=True):
        step = 0 if predictor == "in_context" else 100
        expected = [runs.error(predictor, "icl_error_low", size, step, seed=1) for size in runs.SIZES]
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)
        assert line.get_xdata().tolist() == list(runs.SIZES)  # a narrow range, so no logarithm
        assert line.get_color() == figures.colors([predictor])[predictor]


def test_what_trains_nothing_is_a_level_line_over_steps():
    table = runs.table(sizes=(64,))
    spec = figures.resolve(Lines(name="a", title="A", quantities=ONE, x=STEP), table)
    axes = drawing.draw(spec, table).axes[0]
    (level,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert level.get_ydata() == pytest.approx([runs.error("in_context", "icl_error_low", 64, 0, 1)] * 2)


def test_heat_map_shows_seed_means():
    table = runs.table()
    spec = figures.resolve(Heat(name="h", title="H", quantities=(Quantity("gate_mean", runs.GATES[0]),), y=STEP), table)
    mesh = drawing.draw(spec, table).axes[0].collections[0]
    steps = [step for step in runs.STEPS if step]
    np.testing.assert_allclose(mesh.get_array(), [[0.5 + step / 1000] * 3 for step in steps])


def test_small_print_states_seeds_steps_and_selection():
    table = runs.table(**{"task.p_high": (0.5, 0.9), "task.noise": (0.1, 0.2)})
    spec = figures.resolve(Lines(name="a", title="A", quantities=ONE), table)
    text = drawing.draw(spec, table).get_supxlabel()
    assert "3 seeds, 100 steps" in text and curves.RULES["lowest_loss"] in text and "noise = 0.2" in text


def test_saves_png_and_svg(tmp_path):
    table = runs.table(sizes=(64,), seeds=(0,), predictors=("transformer",))
    table.loc[table["step"] == 100, "value"] = np.nan
    spec = figures.resolve(Lines(name="a", title="A", quantities=ONE, x=AUTO), table)
    svg = drawing.save(drawing.draw(spec, table), tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.svg"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG") and "<svg" in svg
