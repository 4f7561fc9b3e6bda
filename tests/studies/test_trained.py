"""Trained predictors, read back from a run."""

import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest

import icl_sim as icl
from icl_sim.keys import stream
from icl_sim.predictors import GradientDescent, LeastSquares
from icl_sim.tasks import Regression

pytestmark = pytest.mark.fleet
POOLS = (4.0, 8.0)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    study = icl.Study(
        task=Regression(dim=2, context_length=3),
        predictors={"gd": GradientDescent(rate=0.1, learned=True), "ols": LeastSquares()},
        training=icl.Training(steps=30, batch_size=8, learning_rate=0.02),
        evaluation=icl.Evaluation(sequences=40, batch_size=40, points=1),
        sweep=icl.product({"task.function.pool": POOLS, "seed": (0, 3)}),
    )
    icl.simulate(study, folder)
    return folder


def test_answers_are_those_that_were_measured(workdir):
    model = icl.trained(workdir, "gd", {"task.function.pool": 8, "seed": 3})
    assert (model.step, model.point) == (30, {"task.function.pool": 8.0, "seed": 3})
    batch = model.task.evaluation_sets()["default"].sample(jax.random.fold_in(stream(3, "eval", 0), 0), 40)
    rows = icl.load(workdir)
    at = (rows["predictor"] == "gd") & (rows["task.function.pool"] == 8) & (rows["seed"] == 3) & (rows["step"] == 30)
    rows = rows[at & (rows["eval_set"] == "default") & (rows["metric"] == "squared_error")]
    error = np.mean(np.square(model(batch) - batch.targets))
    assert error == pytest.approx(rows["value"].item(), rel=1e-5)
    other = icl.trained(workdir, "gd", {"task.function.pool": 4, "seed": 3})
    assert not np.allclose(model(batch), other(batch))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(model.params))  # traced code indexes them
    assert dataclasses.asdict(other.predictor) == dataclasses.asdict(model.predictor)


def test_what_a_run_is_saving_is_left_to_it(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    (saved,) = (tmp_path / "run" / "checkpoints").glob("*/30")
    being_saved = saved.with_name("31.orbax-checkpoint-tmp-7")
    being_saved.mkdir()
    assert icl.trained(tmp_path / "run", "gd", {"task.function.pool": 8, "seed": 3}).step == 30
    assert being_saved.exists()


@pytest.mark.parametrize(
    ("predictor", "where", "sentence"),
    [
        ("dg", {}, "The predictor is 'dg'; allowed: gd, ols."),
        ("gd", {"task.pool": 4}, "A name of the sweep is 'task.pool'; allowed: task.function.pool, seed"),
        ("gd", {"seed": 1}, "No member of the run is at {'seed': 1}."),
        ("gd", {"seed": 0}, "2 members of the run fit; choose task.function.pool of 4.0, 8.0."),
        ("gd", ["seed"], "where is ['seed']; it must map swept names to values"),
        ("ols", {"seed": 0, "task.function.pool": 4}, "'ols' trains nothing, so "),
    ],
)
def test_impossible_choices_are_refused_in_a_sentence(workdir, predictor, where, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        icl.trained(workdir, predictor, where)


def test_a_run_that_has_not_come_so_far_is_told(workdir, tmp_path, monkeypatch):
    shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match="~/run holds no checkpoint of 'gd': the run has not come so far, or lost it"):
        icl.trained("~/run", "gd", {"task.function.pool": 8, "seed": 3})
