"""The studies of regression: what they sweep, and that claims and figures speak of what they measure."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib
import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from icl_sim.engine.group import Group
from icl_sim.predictors import Tuned
from icl_sim.studies import codec
from icl_sim.studies.claims import At, Crossing, Difference, Lowest, Ratio, Value
from icl_sim.studies.plan import plan
from icl_sim.studies.rehearsal import rehearse

WORDS = {
    "lsa_is_gd": ("", "quick,layers", "untied", "recurrent", "lengths", "softmax", "interleaved", "prompts", "sine"),
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
    "Readout": ("readout_error",),
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
        assert rehearse(dataclasses.replace(planned, groups=firsts(planned)), study.figures) == ()
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


def test_the_laplace_law_of_the_documentation():
    """The command of docs/regression.md names every dMMSE of the study, without which none answers."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "regression.md").read_text()
    laws = re.findall(r"--config\.(\S+\.law)=laplace", page)
    assert len(laws) == 4
    for missing in (None, *laws[1:]):
        changed = config("task_diversity", "quick")
        changed.update_from_flattened_dict({law: "laplace" for law in laws if law != missing})
        planned = plan(codec.study_of(changed))
        if missing is None:
            rehearse(dataclasses.replace(planned, groups=firsts(planned)))
        else:
            with pytest.raises(ValueError, match=r"MMSE is 'normal', and that of the task's pool 'laplace'"):
                rehearse(dataclasses.replace(planned, groups=firsts(planned)))


def test_the_five_settings_of_the_bayes_experiment_with_their_penalties():
    study = codec.study_of(config("bayes_noise", "reference"))
    points = {(point["task.noise"], point["task.function.scale"]) for point in study.sweep}
    ratios = sorted(noise**2 / scale**2 for noise, scale in points)
    assert ratios == pytest.approx([0, 1 / 16, 1 / 9, 1 / 4, 4 / 9])
    assert sorted(ridge.penalty for ridge in study.references.values()) == pytest.approx(ratios)
    assert len(plan(study).entries) == 5 * 2


def test_the_constructed_layers_are_two_steps_of_the_best_plus_plus():
    """Half the loss is the published .110, of GD++ with one rate and one shrinkage (4 standard errors)."""
    study = codec.study_of(config("lsa_is_gd", "layers"))
    constructed = study.references["constructed"]
    batch = jax.jit(study.task.sample, static_argnums=1)(jax.random.key(0), 20_000)
    answers_B = jax.jit(lambda: constructed.apply(constructed.init(jax.random.key(0), batch), batch).values)()[:, -1]
    half_B = np.square(answers_B - batch.targets[:, -1]) / 2
    assert half_B.mean() == pytest.approx(0.110, abs=float(4 * half_B.std() / len(half_B) ** 0.5 + 0.0005))
    network, trained = constructed.network, study.predictors["lsa_2"]
    assert (network.depth, network.tied) == (trained.depth, trained.tied) == (2, True)


def test_bounds_at_the_scale_of_the_papers_are_near_the_published_numbers():
    claims = {claim.id: claim for name in ("function_classes", "shifts") for claim in config(name).claims}
    found = {
        id: claim.condition.high / claim.published
        for id, claim in claims.items()
        if isinstance(claim.published, float)
    }
    assert set(found) == {"C1.d", "C1.2d", "C2.matching", "C2.orthants", "C2.subspace"}
    assert all(2 <= ratio < 3.001 for ratio in found.values()), found
    assert "below .0015" in claims["C1.2d"].statement and "below .0015" in claims["C2.matching"].statement
    for words, low, high in (("threshold", 2**14, 2**15), ("paper_small,threshold", 2**11, 2**12)):
        [threshold] = [claim for claim in config("task_diversity", words).claims if claim.id == "D1.threshold"]
        assert (threshold.condition.low, threshold.condition.high) == (low / 2, 2 * high)
        assert f"2^{math.log2(low) - 1:g} to 2^{math.log2(high) + 1:g}" in threshold.statement


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
