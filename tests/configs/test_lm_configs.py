"""The studies of language models plan, and speak of predictors and points of the sweep that they have."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from icl_sim.lm import conflict_study
from icl_sim.studies import claims as claims_module
from icl_sim.studies import codec
from icl_sim.studies.plan import plan
from icl_sim.studies.rehearsal import rehearse
from tests.configs.test_regression_configs import values_of
from tests.lm.test_conflict_study import table

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "lm"
NAMES = sorted({path.stem for path in FOLDER.glob("*.py")} - {"common", "momentum"})  # momentum trains its own networks


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, words) for name in NAMES for words in ("", "quick") if (name, words) != ("demo", "quick")),
        ("sst2", "grid"),
    ],
)
def test_studies_can_be_planned_and_speak_of_what_they_measure(name, words):
    plain = importlib.import_module(f"configs.lm.{name}").get_config(words)
    study = codec.study_of(plain)
    planned = plan(study)
    if words == "quick":
        assert rehearse(planned, study.figures) == ()
    assert claims_module.check(plain.claims) == tuple(plain.claims) and plain.figures
    assert bool(plain.claims) == (words != "quick" and name != "demo")
    points = list(study.sweep)
    seeds = {point["seed"] for point in points}
    for claim in plain.claims:
        assert len(seeds) >= claim.min_seeds
        for value in values_of(claim.measure):
            assert value.predictor in study.predictors
            assert all(value.where[key] in {point.get(key) for point in points} for key in value.where or {})


def test_what_the_claims_about_names_and_cities_measure_is_measured():
    shares = conflict_study._shares(table(8, 4))
    known = {*shares, *(f"base_{name}" for name in shares)}
    claims = importlib.import_module("configs.lm.conflict").CLAIMS
    assert {value.metric for claim in claims for value in values_of(claim.measure)} <= known
