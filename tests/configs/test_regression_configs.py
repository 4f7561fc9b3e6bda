"""The studies of regression: what they sweep, and that claims and figures speak of what they measure."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib

import pytest

from icl_sim.engine.group import Group
from icl_sim.predictors import Tuned
from icl_sim.studies import codec
from icl_sim.studies.claims import At, Crossing, Difference, Lowest, Ratio, Value
from icl_sim.studies.plan import plan
from icl_sim.studies.rehearsal import rehearse

WORDS = {
    "lsa_is_gd": ("", "quick,layers", "untied", "lengths", "softmax", "interleaved", "prompts", "sine"),
    "bayes_noise": ("", "reference", "quick"),
    "depth_phases": ("", "reference", "quick"),
    "probe_layers": ("", "reference", "quick"),
    "shifts": ("", "reference", "quick"),
    "task_diversity": ("", "paper_small", "reference", "quick", "threshold", "reference,decay"),
    "ablations": ("", "reference", "quick,weights", "prompts"),
    "function_classes": (
        "",
        "reference",
        *(f"quick,{part}" for part in ("sparse", "tree", "relu", "quadratic", "classification", "mixture", "sine")),
        "quick,gaussian_process",
    ),
}
STUDIES = [(name, words) for name, many in WORDS.items() for words in many]
OF_COMPARISONS = {
    "Distance": ("spd", "mspd", "delta"),
    "ImpliedWeights": ("ilwd", "linearity"),
    "Sensitivity": ("sensitivity_cosine", "sensitivity_difference", "prediction_difference"),
    "GradientAlignment": ("gradient_cosine", "projected_gradient_cosine"),
    "Interpolation": ("interpolation_loss",),
    "Rollout": ("rollout_loss",),
    "CopySensitivity": ("sensitivity_own", "sensitivity_next", "sensitivity_other"),
}


def config(name, words=""):
    return importlib.import_module(f"configs.regression.{name}").get_config(words)


def metrics_of(study) -> set[str]:
    """Names of metrics without positions."""
    told = {"squared_error", "normalized_error", "clean_error", "error"}
    for comparison in study.comparisons.values():
        for reference in comparison.references or study.references:
            told |= {f"{measure}_{reference}" for measure in OF_COMPARISONS[type(comparison).__name__]}
    for predictor in study.predictors.values():
        if isinstance(predictor, Tuned):
            told |= {"rate", "shrink"}
        for target in getattr(predictor, "targets", ()):
            told |= {f"probe_{target}_error", f"probe_{target}_attention_y"}
    return told


def values_of(measure) -> list[Value]:
    """The values that a measure is made of."""
    match measure:
        case Value():
            return [measure]
        case Difference(a, b) | Ratio(a, b) | Crossing(a, b):
            return [*values_of(a), *values_of(b)]
        case At(value, crossing):
            return [*values_of(value), *values_of(crossing)]
        case Lowest(value, others):
            return [value, *others]
        case float() | int():
            return []
    return values_of(measure.value)


def firsts(planned) -> tuple[Group, ...]:
    """The first group of every predictor: the sizes of one network meet the same comparisons."""
    predictors = {entry.id: entry.predictor for entry in planned.entries}
    return tuple({predictors[group.ids[0]]: group for group in reversed(planned.groups)}.values())


@pytest.mark.parametrize(("name", "words"), STUDIES)
def test_studies_can_be_planned_and_speak_of_what_they_measure(name, words):
    plain = config(name, words)
    study = codec.study_of(plain)
    planned = plan(study)
    assert planned.entries
    if "quick" in words and "tree" not in words:  # one scale is enough, and scikit-learn is an extra
        rehearse(dataclasses.replace(planned, groups=firsts(planned)), study.figures)
    seeds = {point["seed"] for point in study.sweep}
    if "quick" not in words:
        assert all(len(seeds) >= max(2, claim.min_seeds) for claim in plain.claims)
    sets, metrics = {"summary", "parameters", *study.task.evaluation_sets()}, metrics_of(study)
    for claim in plain.claims:
        for value in values_of(claim.measure):
            assert value.predictor in study.predictors
            assert value.eval_set in sets
            assert value.metric.partition("/")[0] in metrics
            assert set(value.where) <= {n for n in study.sweep.names} | {"task.context_length"}
            for swept, wanted in value.where.items():
                assert wanted in {point[swept] for point in study.sweep}
    for figure in plain.figures:
        for quantity in figure.quantities:
            assert any(fnmatch.fnmatch(metric, quantity.metric.partition("/")[0]) for metric in metrics), quantity
            assert any(fnmatch.fnmatch(one, quantity.eval_set) for one in sets), quantity


def test_the_five_settings_of_the_bayes_experiment_with_their_penalties():
    study = codec.study_of(config("bayes_noise", "reference"))
    points = {(point["task.noise"], point["task.function.scale"]) for point in study.sweep}
    ratios = sorted(noise**2 / scale**2 for noise, scale in points)
    assert ratios == pytest.approx([0, 1 / 16, 1 / 9, 1 / 4, 4 / 9])
    assert sorted(ridge.penalty for ridge in study.references.values()) == pytest.approx(ratios)
    assert len(plan(study).entries) == 5 * 2


def test_scales_of_the_papers():
    lsa = codec.study_of(config("lsa_is_gd"))
    assert (lsa.task.dim, lsa.task.context_length, lsa.training.batch_size) == (10, 10, 2048)
    assert lsa.predictors["gd"].rate == pytest.approx(6.0606, rel=1e-4)
    garg = codec.study_of(config("function_classes"))
    assert (garg.task.dim, garg.task.context_length) == (20, 40)
    assert garg.task.at(2000 * 15).active_dims == 20
    raventos = codec.study_of(config("task_diversity"))
    assert (raventos.task.dim, raventos.task.context_length, raventos.task.noise) == (8, 15, 0.5)
    assert max(point["task.function.pool"] for point in raventos.sweep) == 2**20
    phases = codec.study_of(config("depth_phases"))
    deepest = dataclasses.replace(phases.predictors["transformer"])
    assert (deepest.depth, deepest.width, deepest.heads) == (16, 512, 4)


def test_unknown_words_name_the_nearest():
    with pytest.raises(ValueError, match="'spars' is no variant; .* Did you mean 'sparse'?"):
        config("function_classes", "quick,spars")
