"""Reports: complete, self-contained, and safe against what configs may hold."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("plotly")

from icl_sim.studies import claims, figures, report, resolution
from icl_sim.studies.claims import Claim, Value, below
from tests.studies import regression_runs
from tests.studies import report_runs as runs

HOSTILE = '</script><script>alert("1")</script><!--'
CLAIM = Claim(
    id="mine",
    statement="Errors are <small> & fine.",
    source="someone 2025",
    measure=Value(predictor="transformer", metric="icl_error_low", where={"task.num_sequences": 256}),
    condition=below(0.5),
    published=0.123,
    min_steps=100,
)
UNMEASURED = dataclasses.replace(CLAIM, id="other", measure=Value(predictor="absent", metric="icl_error_low"))
ONE = {"sizes": (64,), "seeds": (0,), "predictors": ("transformer",)}


class Outline(html.parser.HTMLParser):
    """The page's elements, its text outside of scripts, and the text of its scripts by id."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.scripts, self._inside = [], "", {}, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = (tag, dict(attrs).get("id"))

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside and self._inside[0] == "script":
            self.scripts[self._inside[1]] = self.scripts.get(self._inside[1], "") + data
        else:
            self.text += data


@pytest.fixture(scope="module")
def outline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    both = claims.to_json([UNMEASURED, CLAIM])
    runs.write(folder, runs.table(), name=HOSTILE, claims=both, command="python launch/run.py")
    report.write_report(folder)
    assert {p.name for p in folder.iterdir()} == {
        "study.json",
        "results.parquet",
        "verdicts.json",
        "figures",
        "report.html",
    }
    return Outline((folder / "report.html").read_text())


def test_hostile_names_are_only_text(outline):
    assert HOSTILE in outline.text
    assert [attrs.get("id") for tag, attrs in outline.elements if tag == "script"] == ["data", "plotly", None]


def test_verdicts_stand_beside_published_numbers(outline):
    assert CLAIM.statement in outline.text
    assert re.search(r"holds\s*0\.12\s*0\.\d\d\s*\[", outline.text)


def test_claims_that_a_run_cannot_measure_are_folded_away_below_the_others(outline):
    marked = [(tag, attrs) for tag, attrs in outline.elements if tag == "details" or "id" in attrs]
    order = [attrs["id"] if tag == "tr" else tag for tag, attrs in marked]
    assert order.index("claim-mine") < order.index("details") < order.index("claim-other")
    assert "1 claim about predictors, points or settings that this run does not have" in outline.text


def test_nothing_is_fetched(outline):
    sources = [attrs[name] for _, attrs in outline.elements for name in ("src", "href") if name in attrs]
    assert sources and all(source.startswith("data:") for source in sources)
    (policy,) = [attrs["content"] for _, attrs in outline.elements if "http-equiv" in attrs]
    assert policy.startswith("default-src 'none'")


def test_images_have_a_description(outline):
    images = [attrs for tag, attrs in outline.elements if tag == "img"]
    assert len(images) == 4 and all(len(attrs["alt"]) > 10 for attrs in images)


def test_data_of_the_chart(outline):
    """Every curve of the page is that of the table."""
    data = json.loads(outline.scripts["data"])
    labels = [q["label"] for q in data["quantities"]]
    assert [axis["text"] for axis in data["axes"]] == [["2⁶", "2⁸", "2¹⁰"]]
    quantity = labels.index("ICL error, rare classes")
    for predictor, point, q, (steps, mean, low, high, seeds), selected in data["series"]:
        if q == quantity:
            name, size = data["predictors"][predictor]["name"], runs.SIZES[point[0]]
            expected = [runs.error(name, "icl_error_low", size, step, seed=1) for step in steps]
            np.testing.assert_allclose(mean, expected, rtol=1e-3)
            np.testing.assert_allclose(np.subtract(high, low), 2 * 4.302653 * 0.001 / 3**0.5, rtol=0.1)
            assert selected[0] == mean[-1] and set(seeds) == {3}


@pytest.mark.parametrize(
    "rows",
    [
        runs.table(**ONE),
        runs.table(**ONE, steps=(0,)),
        runs.table(**ONE).assign(value=np.nan),
        runs.table(**ONE).query("eval_set == 'pretraining'"),
        runs.table(sizes=(64, 256), seeds=(0, 1), predictors=("transformer",)).replace(
            {"task.num_sequences": {64: float("inf")}}
        ),
        runs.table(**ONE, **{"task.relevant_law": (0, 1)}).replace(
            {"task.relevant_law": {0: "</script>", 1: "insert"}}
        ),
    ],
    ids=["one member", "nothing trained", "all diverged", "one measure", "online", "words"],
)
def test_any_table_can_be_reported(tmp_path, rows):
    runs.write(tmp_path, rows)
    assert report.write_report(tmp_path) == []
    outline = Outline((tmp_path / "report.html").read_text())
    assert "no claims" in outline.text and "NaN" not in outline.scripts["data"]
    json.loads(outline.scripts["data"])


def test_is_small(tmp_path):
    runs.write(tmp_path, runs.table(**ONE))
    report.write_report(tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 3e6


def test_what_cannot_be_read_is_a_sentence(tmp_path):
    with pytest.raises(report.ReportError, match="no folder"):
        report.read(tmp_path / "none")
    with pytest.raises(report.ReportError, match="study.json"):
        report.read(tmp_path)
    runs.write(tmp_path, runs.table(**ONE))
    whole = (tmp_path / "results.parquet").read_bytes()
    (tmp_path / "results.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(report.ReportError, match=r"results\.parquet is damaged"):
        report.read(tmp_path)
    (tmp_path / "results.parquet").unlink()
    with pytest.raises(report.ReportError, match="no results yet"):
        report.read(tmp_path)
    runs.write(tmp_path, runs.table(**ONE).drop(columns="seed"))
    with pytest.raises(report.ReportError, match="no column seed"):
        report.read(tmp_path)
    runs.write(tmp_path, runs.table(**ONE).iloc[:0])
    with pytest.raises(report.ReportError, match="no results yet"):
        report.read(tmp_path)


# ------------------------------------------------------------------------------- positions

REGRESSION = {"config": {"task": {"kind": "regression"}}}
DEPTH = "predictors.transformer.depth"


def data_of(rows):
    specs = resolution.chosen((), "regression", rows)
    return report.page_data(rows, report._quantities(rows, specs), specs)


def series(data, predictor, quantity, **point):
    """The series of a predictor and quantity at a point, by the texts of its axes."""
    labels = [q["label"] for q in data["quantities"]]
    names = [p["name"] for p in data["predictors"]]
    wanted = [axis["text"].index(point[axis["symbol"]]) if axis["symbol"] in point else None for axis in data["axes"]]
    (found,) = [s for s in data["series"] if s[:3] == [names.index(predictor), wanted, labels.index(quantity)]]
    return found


def test_positions_are_an_axis_of_the_chart():
    rows = regression_runs.table(depths=(2, 4), sets=("default", "skewed"), predictors=("transformer", "ols"))
    data = data_of(rows)
    depth, position = data["axes"]
    assert depth["text"] == ["2", "4"] and position["text"][:3] == ["mean of all", "0", "1"]
    assert position["at"][:3] == [None, 0.0, 1.0] and position["first"] == 0 and depth["first"] == 1
    *_, (steps, mean, _, _, seeds), selected = series(
        data, "transformer", "Normalized squared error", depth="4", k="3"
    )
    wanted = [regression_runs.error("transformer", 3, step, 1) for step in regression_runs.STEPS]
    assert list(steps) == list(regression_runs.STEPS) and set(seeds) == {3}
    np.testing.assert_allclose(mean, wanted, atol=0.011)
    assert selected[0] == mean[-1]
    *_, level = series(data, "ols", "Normalized squared error", k="mean of all")
    plain = rows[(rows["predictor"] == "ols") & (rows["metric"] == "normalized_error")]
    assert level[0] == pytest.approx(plain[plain["eval_set"] == "default"]["value"].mean(), rel=1e-3)
    assert [q["label"] for q in data["quantities"] if q["shown"]] == ["Normalized squared error"]
    assert {"spd ols, default", "normalized error, skewed"} <= {q["label"] for q in data["quantities"]}


def test_no_position_is_a_panel_of_its_own(tmp_path):
    rows = regression_runs.table(sets=("default", "skewed"))
    assert not any("/" in q["label"] for q in data_of(rows)["quantities"])
    runs.write(tmp_path, rows, **REGRESSION)
    report.write_report(tmp_path)
    outline = Outline((tmp_path / "report.html").read_text())
    assert "Normalized error: squared error" in outline.text and "NaN" not in outline.scripts["data"]


def test_steps_at_positions_are_left_out_of_a_page_that_would_be_too_large(monkeypatch):
    rows = regression_runs.table(predictors=("transformer",))
    whole = len(json.dumps(data_of(rows)))
    monkeypatch.setattr(report, "_MOST_CELLS", 100)
    data = data_of(rows)
    assert len(json.dumps(data)) < whole / 2
    *_, curve, selected = series(data, "transformer", "Normalized squared error", k="3")
    assert curve == [[]] * 5 and selected[3] == 3
    *_, curve, _ = series(data, "transformer", "Normalized squared error", k="mean of all")
    assert list(curve[0]) == list(regression_runs.STEPS)


def test_the_chart_cuts_at_0_and_1_what_is_a_share_by_its_name():
    asked = [figures.Quantity(name) for name in ("icl_error_low", "iwl_error_low", "mine")]
    rows = runs.table(**ONE).replace({"metric": {"icl_error_high": "mine"}})
    data = report.page_data(rows, asked, ())
    assert [quantity["unit"] for quantity in data["quantities"]] == [True, True, False]
