"""What a study refuses, and what it is at a point."""

from __future__ import annotations

import pytest

from icl_sim.engine.settings import Training
from icl_sim.metrics import Distance
from icl_sim.predictors import Transformer
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import Sweep, product
from icl_sim.tasks import ClassMixture

PREDICTORS = {"transformer": Transformer(), "iw_baseline": Transformer()}


def study(**changes) -> Study:
    return Study(**{"task": ClassMixture(), "predictors": PREDICTORS} | changes)


def test_a_point_changes_what_it_names_and_nothing_else():
    base = study(sweep=product({"seed": range(2)}), trained_on={"iw_baseline": {"p_relevant": 0.0}})
    at = base.at({"task.inputs.noise": 0, "predictors.transformer.width": 32, "training.steps": 7, "seed": 3})
    assert at.task.inputs.noise == 0.0 and at.training == Training(steps=7) and at.seed == 3
    assert at.predictors == {"transformer": Transformer(width=32), "iw_baseline": Transformer()}
    assert len(at.sweep) == 1 and base.task == ClassMixture()
    assert (
        at.value("task.inputs.noise") == 0.0
        and at.value("predictors.transformer.width") == 32
        and at.value("seed") == 3
    )


def test_only_the_named_predictor_trains_on_a_changed_task():
    base = study(trained_on={"iw_baseline": {"p_relevant": 0}})
    assert base.training_task("iw_baseline").p_relevant == 0.0
    assert base.training_task("transformer") == base.task


def test_the_first_summaries_are_the_headline():
    assert study().shown == tuple(ClassMixture().summaries())[:3]
    assert study(headline=["control_low"]).shown == ("control_low",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "mixture"}, "task is 'mixture'; it must be a Task"),
        ({"predictors": {}}, "give at least one"),
        ({"predictors": {"My net": Transformer()}}, "'My net' must be lower-case"),
        ({"predictors": {"net": Transformer}}, "must be a Predictor"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"seed": None}, "seed is None; it must be a whole number"),
        ({"seed": float("inf")}, "seed is inf"),
        ({"sweep": product({"seed": [None]})}, "seed is None"),
        ({"sweep": Sweep(())}, "sweep has no points"),
        ({"claims": 5}, "claims are 5; they must be a list"),
        ({"claims": ["abc"]}, "claims hold 'abc'; each must be a Claim"),
        ({"figures": "ab"}, "figures are 'ab'"),
        ({"headline": [["a"]]}, r"headline hold \['a'\]; each must be a str"),
        ({"training": {"steps": 3}}, "must be a Training"),
        ({"trained_on": {"iw_baselin": {}}}, "Did you mean 'iw_baseline'"),
        ({"trained_on": {"iw_baseline": {"p_relevnt": 0}}}, "Did you mean 'p_relevant'"),
        ({"sweep": product({"task.p_hihg": [0.5]})}, "Did you mean 'p_high'"),
        ({"sweep": product({"task.p_high": ["x"]})}, r"task\.p_high is 'x'; it must be a number"),
        ({"sweep": product({"p_high": [0.5]})}, "'p_high' is no name that a study can sweep"),
        ({"sweep": product({"predictors.transfomer.width": [1]})}, "Did you mean 'transformer'"),
        ({"sweep": {"seed": [0]}}, "must be a Sweep"),
        ({"headline": ["icl_eror"]}, "Did you mean 'icl_error'"),
        ({"headline": ["icl_error"] * 4}, "at most 3"),
        ({"comparisons": {"far": Distance()}}, "comparisons are far, and it has no references to compare with"),
    ],
)
def test_mistakes_are_sentences(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        study(**changes)
