"""The Markdown of a run says what its table holds."""

import re

from icl_sim.studies import report, summary
from icl_sim.studies.verdicts import Verdict
from tests.studies import report_runs


def _run(folder, rows):
    told = {"command": "python launch/run.py --x", "versions": {"jax": "1.2.3"}}
    config = {"task": {"kind": "class_mixture"}, "name": "Made up", "description": "A test."}
    return report.read(report_runs.write(folder, rows, config=config, **told))


def _cells(text, title, metric):
    block = text.split(f"**{title}**\n\n")[1].split("\n\n")[0]
    return [cell.strip() for cell in re.search(rf"\| {metric} \|(.*)\|\n?", block)[1].split("|")]


def test_cells_are_means_and_half_intervals_at_the_selected_step(tmp_path):
    text = summary.to_markdown(_run(tmp_path, report_runs.table()), [])
    assert "    python launch/run.py --x\n" in text
    assert "27 members, 3 seeds, 100 steps, jax 1.2.3" in text
    # Seeds 0, 1, 2 differ by .001, so s = .001 and the half interval is 4.303 * .001 / sqrt(3) = .002.
    mean = sum(report_runs.error("transformer", "icl_error_low", 256, 100, seed) for seed in range(3)) / 3
    assert _cells(text, "transformer", "icl_error_low")[1] == f"{mean:.2f} ± 0.00"
    spread = report_runs.table(seeds=[0, 100, 200])
    text = summary.to_markdown(_run(tmp_path, spread), [])
    assert _cells(text, "transformer", "icl_error_low")[1].endswith("± 0.25")  # 4.303 * .1 / sqrt(3)


def test_a_second_swept_name_gives_a_table_per_value(tmp_path):
    rows = report_runs.table(**{"task.p_high": [0.5, 0.9]})
    text = summary.to_markdown(_run(tmp_path, rows), [])
    assert "**transformer**, task.p_high = 0.5\n" in text and "**gated**, task.p_high = 0.9\n" in text


def test_diverged_and_single_seeds_are_said_so(tmp_path):
    rows = report_runs.table(seeds=[0])
    rows.loc[(rows["task.num_sequences"] == 64) & (rows["eval_set"] == "summary"), "value"] = float("nan")
    cells = _cells(summary.to_markdown(_run(tmp_path, rows), []), "transformer", "icl_error_low")
    assert cells[0] == "diverged" and "±" not in cells[1]


def test_decided_verdicts_are_listed_and_the_others_counted(tmp_path):
    def verdict(name, found):
        return Verdict(
            id=name, statement="S", source="P", published=0.28, measured=0.3, interval=(0.25, 0.35), verdict=found,
            seeds=3, steps=100, reason="",
        )  # fmt: skip

    found = [verdict("a", "holds"), verdict("b", "fails"), verdict("c", "not enough data")]
    text = summary.to_markdown(_run(tmp_path, report_runs.table()), found)
    assert "Claims: 1 hold, 1 fail, 1 without enough data." in text
    assert "| a | S | 0.28 | 0.30 | 0.25 to 0.35 | **holds** |" in text
    assert "| c |" not in text
