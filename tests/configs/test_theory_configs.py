"""The studies of the theory: they plan, their claims are distinct, Figure 1 holds, Algorithm 1 switches as counted."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math

import pytest

import icl_sim as icl
from configs.icl_iwl import figure1
from configs.sequences import nested_logits
from icl_sim.studies import claims as claims_module
from icl_sim.studies import codec, figures, report, verdicts
from icl_sim.studies.plan import plan
from icl_sim.studies.verdicts import HOLDS, UNDECIDED
from icl_sim.theory import bounds

VARIANTS = [
    ("figure1", "", 8 * 49 * 4),
    ("figure1", "exact", 8 * 49 * 4),
    ("algorithm1", "", 2 * 4 * 2 * 40 * 2),
    ("algorithm1", "quick", 2 * 4 * 2 * 5 * 2),
    ("switch", "", 5 * 5),
    ("switch", "quick", 5 * 3),
]


def config(name, words=""):
    return importlib.import_module(f"configs.icl_iwl.{name}").get_config(words)


def study(name, words=""):
    return codec.study_of(config(name, words))


@pytest.mark.parametrize(("name", "words", "members"), VARIANTS)
def test_plans(name, words, members):
    one = study(name, words)
    planned = plan(one)
    assert len(planned.entries) == members
    assert {entry.predictor for entry in planned.entries} == set(one.predictors)
    assert claims_module.check(one.claims) == one.claims
    assert bool(one.claims) == ((name, words) != ("figure1", "exact")) and one.figures
    plain = json.loads(json.dumps([claims_module.to_json(one.claims), figures.to_json(one.figures)], allow_nan=False))
    assert (claims_module.from_json(plain[0]), figures.from_json(plain[1])) == (one.claims, one.figures)


@pytest.mark.parametrize("name", ["figure1", "algorithm1", "switch"])
def test_a_wrong_word_is_a_sentence(name):
    with pytest.raises(ValueError, match="'quikc' is no variant; allowed: "):
        config(name, "quikc")


def test_exact_marks_the_best_case():
    (published,), (exact,) = (study("figure1", words).figures for words in ("", "exact"))
    assert published.marks[0].crossing.b.predictor == "in_context_lower"
    assert exact.marks[0].crossing.b.predictor == "in_context_best"


# ------------------------------------------------------------------------------- Figure 1


@pytest.fixture(scope="module")
def drawn_again(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure1")
    icl.run(study("figure1"), folder, quiet=True)
    report.write_verdicts(report.read(folder))
    return folder, {entry["id"]: entry for entry in json.loads((folder / "verdicts.json").read_text())}


def test_figure_1_crosses_where_it_was_published(drawn_again):
    _, found = drawn_again
    assert len(found) == 8 and {entry["verdict"] for entry in found.values()} == {HOLDS}
    for k, published in ((5, 23.2), (6, 15.4), (7, 11.7)):
        measured = found[f"crossing.k={k}"]["measured"]
        assert math.log2(measured) == pytest.approx(published, abs=0.05)
        exact = bounds.crossing(k, 8, label_noise=0.01, constant=10.0, factor=2.0)
        assert math.log2(measured) == pytest.approx(math.log2(exact), abs=0.05)
    for k in range(5):
        entry = found[f"crossing.k={k}"]
        assert (entry["measured"], entry["interval"], entry["seeds"]) == ("inf", None, 1)


def test_figure_1_has_the_bounds_in_its_rows(drawn_again):
    rows = icl.load(drawn_again[0])
    assert len(rows) == 8 * 49 * 4
    some = rows[(rows["task.irrelevant"] == 7) & (rows["task.exposures"] == 2.0**20)].set_index("predictor")["value"]
    assert some["in_weight_upper"] == pytest.approx(10 / 2**10 + float(bounds.label_noise_entropy(0.01)), rel=1e-6)
    odds = 7 * math.exp(-4)
    assert some["in_context_best"] == pytest.approx(math.log1p(odds), rel=1e-6)
    assert some["in_context_lower"] == pytest.approx(2 * odds / (1 + odds), rel=1e-6)
    assert some["in_context_upper"] == pytest.approx(math.log(8), rel=1e-6)


def test_a_figure_1_with_another_constant_fails_its_claims():
    one = study("figure1")
    weaker = {
        **one.predictors,
        "in_weight_upper": dataclasses.replace(one.predictors["in_weight_upper"], constant=11.0),
    }
    found = verdicts.evaluate(one.claims, icl.simulate(dataclasses.replace(one, predictors=weaker)))
    assert {v.id for v in found if v.verdict != HOLDS} == {f"crossing.k={k}" for k in figure1.PUBLISHED}


# ------------------------------------------------------------------------------- Algorithm 1

WHERE = {"task.p_relevant": 1.0, "task.num_relevant": 2, "task.label_noise": 0.0}


@pytest.fixture(scope="module")
def one_point():
    """Two seeds at the point where half of the labels of every context are right."""
    one = study("algorithm1")
    kept = [p for p in one.sweep if p["seed"] < 2 and all(p[name] == value for name, value in WHERE.items())]
    assert len(kept) == 2
    evaluation = icl.Evaluation(sequences=10, batch_size=10, points=1)  # which the online rows do not depend on
    one = dataclasses.replace(one, sweep=dataclasses.replace(one.sweep, points=tuple(kept)), evaluation=evaluation)
    return one, icl.simulate(one)


def read(rows, predictor, metric, step=200):
    there = (rows["predictor"] == predictor) & (rows["metric"] == metric) & (rows["eval_set"] == "online")
    return rows.loc[there & (rows["step"] == step), "value"].tolist()


@pytest.mark.fleet
def test_common_classes_switch_at_the_exposures_that_counting_takes(one_point):
    _, rows = one_point
    assert read(rows, "softmax", "switch_exposures_high") == [1702, 1702]
    assert read(rows, "uniform", "switch_exposures_high") == read(rows, "uniform", "switch_exposures_low") == [15, 15]


@pytest.mark.fleet
def test_rare_classes_are_to_switch_yet(one_point):
    _, rows = one_point
    assert read(rows, "softmax", "switch_exposures_low") == [math.inf] * 2
    assert all(gate < 0.5 for gate in read(rows, "softmax", "gate_low"))
    assert all(gate > 0.5 for gate in read(rows, "softmax", "gate_high"))
    # Each of the 5 rare classes is the query of one sequence in 50, each common one of 9.
    assert read(rows, "softmax", "exposures_low") == pytest.approx([400] * 2, rel=0.15)
    assert read(rows, "softmax", "exposures_high") == pytest.approx([3600] * 2, rel=0.05)


@pytest.mark.fleet
def test_claims_about_the_point_lack_but_seeds(one_point):
    one, rows = one_point
    found = verdicts.evaluate(one.claims, rows, codec.jsonable(codec.encode(one)))
    about = {v.id: v for v in found if v.measured is not None}
    published = {
        "exposures.high.softmax.p=1.matches=2.noise=0": 1702,
        "exposures.low.uniform.p=1.matches=2.noise=0": 15,
    }
    for name, measured in published.items():
        assert about[name].measured == pytest.approx(measured)
        assert about[name].verdict == UNDECIDED and "2 seeds, 3 needed" in about[name].reason
    assert about["ratio.exposures.uniform.p=1.matches=2.noise=0"].measured == pytest.approx(1)
    assert about["ratio.time.uniform.p=1.matches=2.noise=0"].measured == pytest.approx(9, abs=3.5)
    assert not [name for name in about if "p=0.9" in name or "persistent" in name]


# ------------------------------------------------------------------------- Nested logits


def test_nested_logits_drop_when_they_were_measured_to():
    one = codec.study_of(nested_logits.get_config())
    assert plan(one).groups and one.figures
    assert {v.verdict for v in verdicts.evaluate(one.claims, icl.simulate(one))} == {HOLDS}
