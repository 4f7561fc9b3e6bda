"""The Markdown of a run says what its table holds."""

import dataclasses
import re

from icl_sim.studies import figures, report, summary
from icl_sim.studies.claims import Claim, Value, below, near, to_json
from icl_sim.studies.figures import POSITION, QUANTITY, STEP, Lines, Quantity
from icl_sim.studies.verdicts import Verdict
from tests.studies import regression_runs, report_runs


def _run(folder, rows, **about):
    told = {"command": "python launch/run.py --x", "versions": {"jax": "1.2.3"}}
    config = {"task": {"kind": "class_mixture", "p_high": 0.9}, "name": "Made up", "description": "A test."}
    return report.read(report_runs.write(folder, rows, config=config, **told, **about))


def _cells(text, title, metric):
    block = text.split(f"**{title}\n\n")[1].split("\n\n")[0]
    return [cell.strip() for cell in re.search(rf"\| {metric} \|(.*)\|\n?", block)[1].split("|")]


def test_cells_are_means_and_half_intervals_at_the_selected_step(tmp_path):
    text = summary.to_markdown(_run(tmp_path, report_runs.table()), [])
    assert "    python launch/run.py --x\n" in text
    assert "27 members, 3 seeds, 100 steps, jax 1.2.3" in text
    # Seeds 0, 1, 2 differ by .001, so s = .001 and the half interval is 4.303 * .001 / sqrt(3) = .002.
    mean = sum(report_runs.error("transformer", "icl_error_low", 256, 100, seed) for seed in range(3)) / 3
    assert _cells(text, "transformer**", "icl_error_low")[1] == f"{mean:.2f} ± 0.00"
    spread = report_runs.table(seeds=[0, 100, 200])
    text = summary.to_markdown(_run(tmp_path, spread), [])
    assert _cells(text, "transformer**", "icl_error_low")[1].endswith("± 0.25")  # 4.303 * .1 / sqrt(3)


def test_devices_are_named_where_they_are_not_the_cpu(tmp_path):
    rows = report_runs.table(seeds=[0])
    for devices, told in ([["cpu", "cpu"], "jax 1.2.3. Mean"], [["H100", "H100"], "jax 1.2.3 on H100. Mean"]):
        assert told in summary.to_markdown(_run(tmp_path, rows, devices=devices), [])


def test_a_second_swept_name_gives_a_table_per_value(tmp_path):
    rows = report_runs.table(**{"task.p_high": [0.5, 0.9]})
    text = summary.to_markdown(_run(tmp_path, rows), [])
    assert "**transformer**, task.p_high = 0.5\n" in text and "**gated**, task.p_high = 0.9\n" in text


def test_diverged_and_single_seeds_are_said_so(tmp_path):
    rows = report_runs.table(seeds=[0])
    rows.loc[(rows["task.num_sequences"] == 64) & (rows["eval_set"] == "summary"), "value"] = float("nan")
    cells = _cells(summary.to_markdown(_run(tmp_path, rows), []), "transformer**", "icl_error_low")
    assert cells[0] == "diverged" and "±" not in cells[1]


def test_what_a_point_does_not_measure_has_not_diverged(tmp_path):
    rows = report_runs.table()
    absent = (rows["task.num_sequences"] == 64) & (rows["metric"] == "icl_error_low")
    cells = _cells(summary.to_markdown(_run(tmp_path, rows[~absent]), []), "transformer**", "icl_error_low")
    assert cells[0] == "–" and "±" in cells[1]


def _claim(id, size, published, condition, p_high=0.9):
    where = {"task.num_sequences": size, "task.p_high": p_high}
    measure = Value(predictor="transformer", metric="icl_error_low", where=where)
    return Claim(
        id=id, statement="S", source="P", measure=measure, condition=condition, published=published, min_steps=1
    )


def test_a_published_number_stands_below_the_measured_one_with_what_became_of_it(tmp_path):
    claims = [
        _claim("near", 64, 0.21, near(0.21, 0.05)),
        _claim("far", 256, 0.9, near(0.9, 0.05)),
        _claim("elsewhere", 1024, 0.3, near(0.3, 0.05), p_high=0.5),  # the run has p_high = 0.9
        _claim("statement", 1024, 0.05, below(0.1)),  # which a number near .05 is not all there is to
    ]
    run = _run(tmp_path, report_runs.table(), claims=to_json(claims))
    found = report.write_verdicts(run)
    assert [verdict.verdict for verdict in found] == ["holds", "fails", "not enough data", "fails"]
    text = summary.to_markdown(run, found)
    assert _cells(text, "transformer**", r"\*published\*") == ["*0.21* ✓", "*0.90* ✗", ""]
    assert text.count("*published*") == 1  # none for the other predictors and metrics
    assert "Claims: 1 hold, 2 fail, 0 measured but open." in text
    stated = [line for line in text.splitlines() if line.startswith("| statement |")]
    assert len(stated) == 1 and stated[0].endswith("| **fails** |") and "| near |" not in text


def test_published_numbers_stand_at_their_point_of_a_second_axis(tmp_path):
    claims = [_claim(f"at{p}", 64, p, near(0.2, 0.2), p_high=p) for p in (0.5, 0.9)]
    run = _run(tmp_path, report_runs.table(**{"task.p_high": [0.5, 0.9]}), claims=to_json(claims))
    text = summary.to_markdown(run, report.write_verdicts(run))
    for p in ("0.5", "0.9"):
        cells = _cells(text, f"transformer**, task.p_high = {p}", r"\*published\*")
        assert cells[0] == f"*{float(p):.2f}* ✓"


def test_open_statements_say_why(tmp_path):
    open_ = Verdict(
        id="c", statement="S", source="P", published=0.28, measured=0.3, interval=(0.25, 0.35),
        verdict="not enough data", seeds=3, steps=100, reason="100 steps, 50,000 needed",
    )  # fmt: skip
    text = summary.to_markdown(_run(tmp_path, report_runs.table()), [open_])
    assert "Claims: 0 hold, 0 fail, 1 measured but open." in text
    assert "| c | S | 0.28 | 0.30 | 0.25 to 0.35 | open: 100 steps, 50,000 needed |" in text


def test_images_and_gates_are_shown(tmp_path):
    text = summary.to_markdown(_run(tmp_path, report_runs.table()), [], {"a": "a.png"}, level=1)
    assert text.startswith("# Made up\n") and "![Made up](a.png)" in text
    assert _cells(text, "gated**", "gate_mean, eval-relevant-low_prob")[0] == "0.60 ± 0.00"
    assert "gate_mean" not in text.split("**transformer**")[1]


def _lines(text, head):
    """The table that begins so, as lists of cells."""
    block = next(part for part in text.split("\n\n") if part.startswith(f"| {head}"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]


def test_figures_over_positions_are_tables_too(tmp_path):
    own = Lines(name="a", title="A", quantities=(Quantity("normalized_error", "default"),), x=POSITION)
    sets = tuple(Quantity("normalized_error", name, name) for name in regression_runs.SETS)
    other = dataclasses.replace(own, name="b", title="B", quantities=sets, lines=QUANTITY, predictors=("ols",))
    steps = dataclasses.replace(own, name="c", title="C", lines=STEP)
    rows = regression_runs.table(sets=regression_runs.SETS)
    run = _run(tmp_path, rows, figures=figures.to_json([own, other, steps]))
    text = summary.to_markdown(run, [], {"a": "a.png", "c": "c.png"})
    head, _, *lines = _lines(text, "A: in-context examples k")
    assert head[1:] == ["0", "1", "2", "5", "10", "16"]
    told = {line[0]: line[1:] for line in lines}
    assert set(told) == {"transformer", "ols", "ridge", "knn"}
    # Seeds 0, 1, 2 differ by .01: s = .01, and half of the interval is 4.303 * .01 / sqrt(3) = .025.
    assert told["knn"][3] == f"{regression_runs.error('knn', 5, seed=1):.2f} ± 0.02"
    assert "| B" not in text and "| C" not in text
    lines = _lines(summary.to_markdown(run, [], {"b": "b.png"}), "B: in-context examples k")[2:]
    assert [line[0] for line in lines] == list(regression_runs.SETS)
    assert lines[2][1] == f"{regression_runs.error('ols', 0, seed=1, eval_set='orthants'):.2f} ± 0.02"


def test_of_what_was_not_trained_no_steps_are_told(tmp_path):
    run = _run(tmp_path, report_runs.table(predictors=("in_context",)))
    assert summary.size(run) == "9 members, 3 seeds"


def test_tables_have_what_the_figures_of_the_study_show_and_name_no_setting_of_another_predictor(tmp_path):
    own = Lines(name="a", title="A", quantities=(Quantity("cross_entropy", "pretraining"),), x="step")
    rows = report_runs.table(**{"predictors.gated.width": [8, 16]})
    rows.loc[rows["predictor"] != "gated", "predictors.gated.width"] = float("nan")
    text = summary.to_markdown(_run(tmp_path, rows, figures=figures.to_json([own])), [])
    assert "**gated**, predictors.gated.width = 16\n" in text and "**transformer**\n" in text
    plain = summary.to_markdown(_run(tmp_path, rows), [])
    assert "| cross_entropy, pretraining |" in text and "| cross_entropy, pretraining |" not in plain
