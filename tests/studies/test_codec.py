"""A study as config and as JSON, and back."""

from __future__ import annotations

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from ml_collections import config_flags

from icl_sim.engine.settings import Evaluation, Training
from icl_sim.kernels import Periodic
from icl_sim.metrics import COMPARISONS
from icl_sim.predictors import (
    PREDICTORS,
    DiscreteMMSE,
    GaussianProcessPosterior,
    GradientDescentPlusPlus,
    LeastSquares,
    Transformer,
)
from icl_sim.studies import codec
from icl_sim.studies.claims import Claim, Value, below
from icl_sim.studies.figures import Lines
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import chain, product
from icl_sim.tasks import (
    INPUTS,
    REGRESSION_PARTS,
    SEQUENCE_INPUTS,
    BurstySequences,
    ClassMixture,
    Glyphs,
    Omniglot,
    Regression,
)
from icl_sim.tasks.regression import Curriculum, Function, Law, Shift
from icl_sim.types import Leaf, Predictor, setting, static


@setting
class Constant(Predictor):
    """A predictor that no registry knows."""

    value: Leaf = 0.5
    shape: tuple[int, ...] = static((1, 2))


STUDY = Study(
    name="everything",
    task=ClassMixture(num_sequences=math.inf, seed=3, inputs=Glyphs(noise=0.3)),
    predictors={"z": Transformer(width=32), "a": Transformer(), "own": Constant(shape=(3,))},
    training=Training(steps=7, learning_rate=1e-2),
    evaluation=Evaluation(points=2),
    trained_on={"a": {"p_relevant": 0.0, "inputs.noise": 0.0}},
    sweep=chain(product({"task.num_sequences": [64, math.inf], "seed": range(2)}), {"task.p_high": [0.5]}),
    seed=5,
)


def through_json(study: Study) -> Study:
    text = json.dumps(codec.jsonable(codec.encode(study)), allow_nan=False)
    return codec.decode(codec.from_json(json.loads(text)))


def through_config(study: Study) -> Study:
    return codec.study_of(codec.config_of(study).lock())


@pytest.mark.parametrize("through", [through_json, through_config])
def test_a_study_survives_the_round_trip(through):
    back = through(STUDY)
    assert back == STUDY
    assert list(back.predictors) == ["z", "a", "own"]  # in order, for figures
    assert codec.fingerprint(back) == codec.fingerprint(STUDY)


@pytest.mark.parametrize("through", [through_json, through_config])
@pytest.mark.parametrize("kind", PREDICTORS.values(), ids=PREDICTORS)
def test_every_predictor_survives(kind, through):
    study = Study(task=ClassMixture(), predictors={"p": kind()})
    assert through(study) == study


@pytest.mark.parametrize("through", [through_json, through_config])
@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_every_kind_of_inputs_survives(inputs, through):
    study = Study(task=ClassMixture(inputs=inputs()), predictors={"p": Transformer()})
    assert through(study) == study


@pytest.mark.parametrize("through", [through_json, through_config])
@pytest.mark.parametrize("inputs", SEQUENCE_INPUTS.values(), ids=SEQUENCE_INPUTS)
def test_every_kind_of_inputs_of_bursty_sequences_survives(inputs, through):
    study = Study(task=BurstySequences(inputs=inputs(), bursts=(4, 2, 1)), predictors={"p": Transformer()})
    assert through(study) == study


@pytest.mark.parametrize("through", [through_json, through_config])
@pytest.mark.parametrize("part", REGRESSION_PARTS.values(), ids=REGRESSION_PARTS)
def test_every_part_of_a_regression_survives(part, through):
    kinds = {"function": Function, "inputs": Law, "shift": Shift, "curriculum": Curriculum}
    (field,) = (field for field, kind in kinds.items() if issubclass(part, kind))
    study = Study(task=Regression(**{field: part()}), predictors={"p": LeastSquares()})
    assert through(study) == study


@pytest.mark.parametrize("through", [through_json, through_config])
@pytest.mark.parametrize("kind", COMPARISONS.values(), ids=COMPARISONS)
def test_every_comparison_survives(kind, through):
    study = Study(
        task=Regression(curriculum=Curriculum()),
        predictors={"p": LeastSquares()},
        references={"gp": GaussianProcessPosterior(kernel=Periodic())},
        comparisons={"c": kind()},
    )
    assert through(study) == study


def test_nested_settings_that_are_none_by_default_survive():
    plain = codec.encode(Study(task=ClassMixture(), predictors={"p": Transformer()}))
    assert plain["task"]["seed"] is None and plain["predictors"]["p"]["encoder"] is None


def test_claims_travel_in_the_config_untouched():
    claim = Claim(id="a", statement="s", source="x", measure=Value(predictor="p", metric="m"), condition=below(1))
    figure = Lines(name="a", title="A")
    study = codec.study_of(codec.config_of(dataclasses.replace(STUDY, claims=(claim,), figures=(figure,))))
    assert study.claims == (claim,) and study.figures == (figure,)


def test_names_and_claims_do_not_make_another_study_but_numbers_do():
    figures = (Lines(name="a", title="A"),)
    same = dataclasses.replace(STUDY, name="other", description="x", figures=figures, headline=("control_low",))
    assert codec.fingerprint(same) == codec.fingerprint(STUDY)
    other = STUDY.at({"training.steps": 8, "task.inputs.noise": 0.1})
    other = dataclasses.replace(other, sweep=STUDY.sweep)
    assert codec.fingerprint(other) != codec.fingerprint(STUDY)
    assert codec.differences(codec.encode(STUDY), codec.encode(other)) == (
        "task.inputs.noise",
        "training.steps",
    )


def overridden(study: Study, *flags: str) -> Study:
    """The study after command-line flags, parsed by ml_collections itself."""
    from absl import flags as absl_flags

    values = absl_flags.FlagValues()
    argv = ["run.py", *flags]
    holder = config_flags.DEFINE_config_dict("config", codec.config_of(study), flag_values=values, sys_argv=argv)
    values(argv)
    return codec.study_of(holder.value)


@pytest.mark.parametrize(
    ("flag", "name", "value"),
    [
        ("task.p_high=1", "task.p_high", 1.0),
        ("task.p_high=.5", "task.p_high", 0.5),
        ("task.num_sequences=inf", "task.num_sequences", math.inf),
        ("task.num_sequences=1024", "task.num_sequences", 1024.0),
        ("task.relevant_law=insert", "task.relevant_law", "insert"),
        ("task.seed=9", "task.seed", 9),
        ("training.steps=9", "training.steps", 9),
        ("predictors.z.width=16", "predictors.z.width", 16),
        ("predictors.own.shape=(4, 5)", "predictors.own.shape", (4, 5)),
        ("task.inputs={'kind': 'prototypes', 'dim': 8}", "task.inputs.dim", 8),
        ("seed=2", "seed", 2),
    ],
)
def test_any_value_can_be_overridden(flag, name, value):
    read = overridden(STUDY, f"--config.{flag}").value(name)
    assert read == value and type(read) is type(value)


def test_a_value_that_is_none_can_be_overridden():
    study = Study(task=ClassMixture(), predictors={"p": Transformer(), "q": DiscreteMMSE(noise=0.5)})
    assert overridden(study, "--config.task.seed=4").task.seed == 4
    assert overridden(study, "--config.predictors.q.pool=inf").predictors["q"].pool == math.inf
    with pytest.raises(ValueError, match=r"predictors\.q\.seed is inf; it must be finite"):
        overridden(study, "--config.predictors.q.seed=inf")


@pytest.mark.parametrize(
    ("flag", "value"),
    [("rate=(0.5, 0.25)", (0.5, 0.25)), ("rate=0.5", 0.5), ("shrink=0.5", 0.5), ("shrink=(1, -0.5)", (1, -0.5))],
)
def test_numbers_per_step_can_be_given_and_overridden(flag, value):
    learner = GradientDescentPlusPlus(steps=2, shrink=(0.1, 0.2))
    study = Study(task=Regression(dim=2, context_length=3), predictors={"p": learner})
    assert through_json(study) == through_config(study) == study
    changed = overridden(study, f"--config.predictors.p.{flag}")
    assert changed.value(f"predictors.p.{flag.partition('=')[0]}") == value
    assert np.all(np.isfinite(changed.predictors["p"].apply({}, study.task.sample(jax.random.key(0), 2)).values))


def test_what_a_predictor_is_trained_on_can_be_overridden():
    changed = overridden(STUDY, "--config.trained_on.a.inputs.noise=0.7")
    assert changed.trained_on["a"] == {"p_relevant": 0.0, "inputs.noise": 0.7}


def test_omniglot_dir_is_short_for_the_folder_of_the_inputs():
    study = Study(task=ClassMixture(inputs=Omniglot()), predictors={"p": Transformer()})
    assert codec.study_of(codec.config_of(study)) == study
    assert overridden(study, "--config.task.omniglot_dir=some/where").task.inputs.dir == "some/where"


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("task.p_hihg=0.5", 'Did you mean "p_high"'),
        ("training.stpes=5", 'Did you mean "steps"'),
        ("task.omniglot_dir=x", "omniglot_dir"),  # without Omniglot inputs
    ],
)
def test_unknown_keys_are_refused_with_the_nearest(flag, sentence):
    with pytest.raises((AttributeError, KeyError), match=sentence):
        overridden(STUDY, f"--config.{flag}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": {"kind": "class_mixtur"}}, "Did you mean 'class_mixture'"),
        ({"task": {"kind": "transformer"}}, r"task\.kind is 'transformer'; allowed: class_mixture"),
        ({"task": {"p_high": 0.5}}, "must name its kind"),
        ({"task": {"kind": "class_mixture", "inputs": {"kind": "glyps"}}}, "Did you mean 'glyphs'"),
        ({"task": {"kind": "class_mixture", "inputs": {"kind": "glyphs", "dim": 3}}}, "no field 'dim'"),
        ({"predictors": {"p": {"kind": "transfomer"}}}, r"predictors\.p\.kind.*Did you mean 'transformer'"),
        ({"predictors": {"p": {"kind": "nowhere:Thing"}}}, "cannot be imported"),
        ({"predictors": {"p": {"kind": "icl_sim.tasks:ClassMixture"}}}, "is no Predictor"),
        ({"trainning": {}}, "Did you mean 'training'"),
        ({"training": {"steps": "many"}}, r"training\.steps is 'many'"),
    ],
)
def test_plain_data_that_is_no_study_is_refused(changes, sentence):
    plain = codec.encode(Study(task=ClassMixture(), predictors={"p": Transformer()}))
    with pytest.raises(ValueError, match=sentence):
        codec.decode(plain | changes)


def test_a_study_needs_a_task():
    with pytest.raises(ValueError, match="no task"):
        codec.decode({"predictors": {}})


@pytest.mark.parametrize(
    "name, value", [("sweep", 3), ("sweep", (3,)), ("headline", 3), ("trained_on", {"transformer": 5})]
)
def test_parts_of_the_wrong_shape_are_refused_in_a_sentence(name, value):
    plain = codec.encode(Study(task=ClassMixture(), predictors={"transformer": Transformer()}))
    with pytest.raises(ValueError, match="must"):
        codec.decode({**plain, name: value})
