"""The studies of class sequences plan, are answered by what they measure, and ask for what was said."""

from __future__ import annotations

import dataclasses
import importlib

import jax
import numpy as np
import pytest

from icl_sim import metrics
from icl_sim.studies import claims as claims_module
from icl_sim.studies import codec
from icl_sim.studies.plan import plan
from icl_sim.studies.rehearsal import rehearse
from icl_sim.studies.table import Line, tabulated
from tests.configs.test_regression_configs import firsts, values_of

NAMES = (
    "abrupt_transition",
    "burstiness",
    "coopetition",
    "induction_heads",
    "label_multiplicity",
    "num_classes",
    "recurrent",
    "reddy_phase_diagram",
    "transience",
    "within_class_variation",
    "zipf",
)
STUDIES = [(name, words) for name in NAMES for words in ("", "quick")]
STUDIES += [("induction_heads", words) for words in ("clamps", "data")]
STUDIES += [("abrupt_transition", "head"), ("coopetition", "icl_only"), ("coopetition", "restart")]


def config(name, words=""):
    return importlib.import_module(f"configs.sequences.{name}").get_config(words)


@pytest.mark.parametrize(("name", "widest"), [("transformer", 34_000), ("lstm", 68_000), ("gru", 51_000)])
def test_recurrent_networks_have_at_least_the_transformers_parameters(name, widest):
    study = codec.study_of(config("recurrent"))

    def parameters():
        batch = study.task.sample(jax.random.key(0), 2)
        return study.predictors[name].init(jax.random.key(1), batch)

    layers = {n: part for n, part in jax.eval_shape(parameters).items() if n in ("blocks", "layers", "norm")}
    count = sum(leaf.size for leaf in jax.tree.leaves(layers))
    assert 32_000 < count < widest


def points_of(study):
    """The points of a study as its results spell them."""
    members = [{"predictor": "network", "point": point} for point in study.sweep]
    return tabulated([Line(tuple(range(len(members))), 0, {("icl", "error"): np.zeros(len(members))})], members)


def reported(study):
    """Names of the measures of predictors' own."""

    def measures():
        batch = study.task.sample(jax.random.key(0), 2)
        reports = []
        for predictor in study.predictors.values():
            params = predictor.init(jax.random.key(1), batch)
            reports.append(dict(predictor.report(predictor.apply(params, batch, record=True), batch)))
        return reports

    return {name for report in jax.eval_shape(measures) for name in report}


@pytest.mark.parametrize(("name", "words"), STUDIES)
def test_studies_can_be_planned_and_speak_of_what_they_measure(name, words):
    plain = config(name, words)
    study = codec.study_of(plain)
    planned = plan(study)
    if words:
        assert rehearse(dataclasses.replace(planned, groups=firsts(planned)), study.figures) == ()
    sets = study.task.evaluation_sets()
    known = {*metrics.CLASSIFICATION, *study.task.measured, *reported(study)}
    assert claims_module.check(plain.claims) == tuple(plain.claims)
    seeds = {point["seed"] for point in study.sweep}
    swept = {(name, value) for name in study.sweep.names for value in points_of(study)[name]}
    for claim in plain.claims:
        assert all(v.predictor in study.predictors and v.eval_set in sets for v in values_of(claim.measure))
        assert all(v.metric in known for v in values_of(claim.measure))
        assert words or all(at in swept for v in values_of(claim.measure) for at in v.where.items())
        assert claim.min_steps <= codec.study_of(config(name)).training.steps
        assert words or len(seeds) >= claim.min_seeds
    for figure in plain.figures:
        assert all(q.metric in known and q.eval_set in sets for q in figure.quantities)


def test_a_wrong_word_is_a_sentence():
    with pytest.raises(ValueError, match="is no variant; allowed: |Did you mean"):
        config("transience", "quikc")
