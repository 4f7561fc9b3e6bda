"""The studies of repeated tokens, of GINC and of momentum plan, run in a rehearsal, and speak of what they measure."""

from __future__ import annotations

import importlib

import pytest

from icl_sim import metrics
from icl_sim.studies import claims as claims_module
from icl_sim.studies import codec
from icl_sim.studies.plan import plan
from icl_sim.studies.rehearsal import rehearse
from tests.configs.test_regression_configs import values_of

NAMES = ("sequences.repeats", "sequences.ginc", "lm.momentum")


@pytest.mark.parametrize(
    ("name", "words"),
    [(name, words) for name in NAMES for words in ("", "quick")]
    + [("lm.momentum", "classes"), ("lm.momentum", "classes,quick")],
)
def test_studies_can_be_planned_and_speak_of_what_they_measure(name, words):
    plain = importlib.import_module(f"configs.{name}").get_config(words)
    study = codec.study_of(plain)
    planned = plan(study)
    if words:
        assert rehearse(planned, study.figures) == ()
    sets = {**study.task.evaluation_sets(), "pretraining": study.task}
    known = {*metrics.CLASSIFICATION, *study.task.measured}
    assert claims_module.check(plain.claims) == tuple(plain.claims) and plain.claims
    asked = [(v.predictor, v.metric, v.eval_set) for claim in plain.claims for v in values_of(claim.measure)]
    shown = [quantity for figure in plain.figures for quantity in figure.quantities]
    drawn = [(next(iter(study.predictors)), quantity.metric, quantity.eval_set) for quantity in shown]
    for predictor, metric, eval_set in asked + drawn:
        metric, _, position = metric.partition("/")
        assert predictor in study.predictors and eval_set in sets and metric in known
        assert not position or not sets[eval_set].positions() or int(position) in sets[eval_set].positions()
    seeds = {point["seed"] for point in study.sweep}
    assert words or all(len(seeds) >= claim.min_seeds for claim in plain.claims)
