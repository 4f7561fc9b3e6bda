"""Studies in shapes only: what does not fit is told before anything is written."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

import icl_sim as icl
from icl_sim.engine import devices
from icl_sim.metrics import ImpliedWeights
from icl_sim.predictors import (
    DiscreteMMSE,
    GradientDescent,
    InWeightMLP,
    KernelCopy,
    LeastSquares,
    LinearAttention,
    Ridge,
    Transformer,
)
from icl_sim.studies import runner
from icl_sim.studies.figures import Closest, Lines, Quantity
from icl_sim.studies.plan import plan
from icl_sim.studies.rehearsal import rehearse
from icl_sim.tasks import ClassMixture, Regression
from icl_sim.tasks.regression import Linear, LinearClassification, Quadratic
from icl_sim.types import Outputs, Predictor, setting, static

TASK = Regression(dim=2, context_length=3)
FEW = icl.Evaluation(sequences=4, batch_size=4)


@setting
class Median(Predictor):
    """Forgets that every slot is asked."""

    def apply(self, params, batch, *, record=False):
        return Outputs(values=jnp.median(batch.targets[:, :-1], axis=1))


@setting
class Broken(Predictor):
    """Fails as code does that did not think of this task."""

    def apply(self, params, batch, *, record=False):
        return Outputs(values=batch.targets / (1 // batch.num_classes))


@setting
class Mute(Predictor):
    """Forgets to answer."""

    def apply(self, params, batch, *, record=False):
        return None


@setting
class Peeking(Predictor):
    """Off by one: answers with the mean of the targets up to its own, which only a number of its own can undo."""

    own: float = 1.0

    def apply(self, params, batch, *, record=False):
        slots = batch.targets.shape[1]
        weights_SS = jnp.tri(slots, k=-1) + self.own * jnp.eye(slots)
        values = batch.targets @ weights_SS.T / jnp.maximum(weights_SS.sum(1), 1)[None]
        return Outputs(values=values if batch.weights is not None else values[:, -1])


def _study(predictor, task=TASK, **kwargs):
    return icl.Study(task=task, predictors={"mine": predictor}, evaluation=FEW, **kwargs)


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        (_study(KernelCopy()), "h copies labels, but the targets of the batch are numbers"),
        (_study(InWeightMLP()), "g names classes, but the targets of the batch are numbers"),
        (_study(Broken()), "It cannot answer these sequences: ZeroDivisionError"),
        (_study(Mute()), "Its apply returns None; it must return icl_sim.types.Outputs."),
        (_study(Ridge(), references={"r": Ridge(penalty=-1.0)}), "at least 0. (The reference 'r'.)"),
        (_study(Transformer(tokens="concatenated")), "The batch asks about every slot"),
        (_study(Ridge(), TASK.replace(function=Quadratic())), "Ridge takes its penalty from the task's latent 'w"),
        (_study(LeastSquares(), ClassMixture()), "classes"),
        (
            _study(DiscreteMMSE(), TASK.replace(function=Linear(pool=4.0, law="laplace"))),
            "The law of DiscreteMMSE is 'normal', and that of the task's pool 'laplace'; they must be the same.",
        ),
        (
            _study(InWeightMLP(), TASK.replace(function=LinearClassification())),
            "The task asks every slot, and the predictor answers with the class of the query alone.",
        ),
        (
            _study(
                LeastSquares(),
                references={"ols": LeastSquares()},
                comparisons={"weights": ImpliedWeights(queries=8, positions=(9,))},
            ),
            "a prompt has 3 exemplars",
        ),
        (_study(LinearAttention(), references={"h": KernelCopy()}), "h copies labels"),
        (_study(Median()), "answers with an array of shape [4]; regression wants [4, P], P at most 4: an answer for"),
        (
            _study(LeastSquares(), Regression(dim=10**9, context_length=3)),
            "The largest array is evaluation.inputs of shape [4, 4, 1000000000].",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_predictor_and_leaves_no_folder(study, sentence, tmp_path):
    with pytest.raises(ValueError, match=f"{re.escape(sentence)}.*\\(The predictor 'mine'.\\)"):
        icl.run(study, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_predictor_that_reads_the_answer_is_refused():
    sentence = r"What {} answers at a slot s changes with targets\[:, s:\], .* \(The predictor 'mine'.\)"
    with pytest.raises(ValueError, match=sentence.format("it")):
        rehearse(plan(_study(Peeking())))
    rehearse(plan(_study(Peeking(own=0.0))))
    with pytest.raises(ValueError, match=sentence.format("the reference 'r'")):
        rehearse(plan(_study(LeastSquares(), references={"r": Peeking()})))


def test_a_label_of_the_query_that_is_read_is_found_too():
    @setting
    class Reading(Predictor):
        last: int = static(-1)

        def apply(self, params, batch, *, record=False):
            return Outputs(values=jax.nn.one_hot(batch.targets[:, self.last], batch.num_classes))

    with pytest.raises(ValueError, match="What it answers at a slot s changes"):
        rehearse(plan(_study(Reading(), ClassMixture())))
    rehearse(plan(_study(Reading(last=0), ClassMixture())))


def test_code_of_ones_own_that_fails_is_told_with_its_line():
    line = Broken.apply.__code__.co_firstlineno + 1
    with pytest.raises(ValueError, match=rf"ZeroDivisionError: .* \({re.escape(__file__)}, line {line}\)"):
        rehearse(plan(_study(Broken())))
    with pytest.raises(ValueError) as raised:  # what fails in jax for a network of the package names no line
        rehearse(plan(_study(KernelCopy())))
    assert "line" not in str(raised.value)


def test_what_members_on_all_devices_hold_must_fit_into_memory(monkeypatch):
    study = _study(GradientDescent(learned=True), sweep=icl.product({"seed": range(1000)}))
    monkeypatch.setattr(devices, "memory", lambda: 2**14)  # not for a thousand at once, which go in waves
    rehearse(plan(study))
    monkeypatch.setattr(devices, "memory", lambda: 2**6)
    with pytest.raises(ValueError, match=r"parameters of 2 members take"):
        rehearse(plan(study))


def test_the_largest_seed_is_rehearsed():
    rehearse(plan(_study(LeastSquares(), seed=2**32 - 1)))


def _shown(metric, eval_set="summary", **kwargs):
    return Lines(name="mine", title="", quantities=(Quantity(metric, eval_set),), **kwargs)


def _closest(*metrics):
    return Closest(name="mine", title="", quantities=tuple(Quantity(metric, "default") for metric in metrics))


@pytest.mark.parametrize(
    ("figure", "sentence"),
    [
        (
            _shown("normalized_error"),
            "normalized_error on summary, which this study does not measure there; it is on: default, pretraining.",
        ),
        (_shown("spd_*"), "spd_* on summary, which this study does not measure there; it is on: default, pretrain"),
        (_shown("error", "default"), "error on default, which this study does not measure there; it is on: summ"),
        (_shown("normalised_error", "default"), "does not measure; allowed: .*Did you mean 'normalized_error'?"),
        (_shown("normalized_error/4", "default"), "normalized_error/4 on default, which"),
        (_shown("mspd_ols", "default", x="position"), "which this study does not measure at positions; allowed: "),
        (_closest("spd_*"), "the lowest, and this study measures a single one, spd_ols on default."),
    ],
)
def test_a_figure_with_nothing_to_show_is_told_before_anything_is_trained(figure, sentence):
    study = _study(LeastSquares(), references={"ols": LeastSquares()}, figures=[figure])
    sentence = ".*".join(map(re.escape, f"Note: The figure 'mine' shows .*{sentence}".split(".*")))
    (note,) = runner.checked(study).notes
    assert re.match(sentence, note)
    assert runner.checked(study).describe().endswith(f"\n{note}")


@pytest.mark.parametrize(
    "figure",
    [
        _shown("normalized_error", "default", x="position"),
        _shown("normalized_error/1-3", "default"),
        _shown("normalized_error_from/3", "pretraining"),
        _shown("error"),
        _shown("spd_*", "*"),
        _shown("loss", "training"),
        _closest("spd_ols", "normalized_error"),
        Lines(name="some", title="", quantities=(Quantity("error"), Quantity("error", "default"))),
        Lines(name="headlines", title=""),
    ],
)
def test_a_figure_with_something_to_show_passes(figure):
    study = _study(LeastSquares(), references={"ols": LeastSquares()}, figures=[figure])
    study = dataclasses.replace(study, evaluation=dataclasses.replace(FEW, bootstrap=4))
    assert rehearse(plan(study), study.figures) == ()


def test_figures_of_classes_know_preferences_and_counts():
    asked = [("preference", "summary"), ("preference", "eval-relevant-none-flip_label"), ("exposures_low", "training")]
    figures = [Lines(name=f"f{i}", title="", quantities=(Quantity(*pair),)) for i, pair in enumerate(asked)]
    study = _study(KernelCopy(), ClassMixture(context_length=2), figures=figures)
    assert rehearse(plan(study), study.figures) == ()
    (told,) = rehearse(plan(study), [_shown("preference", "eval-relevant-none")])
    assert re.search("preference on eval-relevant-none, which .* there; it is on: eval-relevant-", told)
