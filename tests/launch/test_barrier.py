"""The command line of the loss barrier."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import icl_sim as icl
from icl_sim.predictors import GradientDescent
from icl_sim.tasks import Regression

pytestmark = pytest.mark.fleet
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("barrier") / "run"
    study = icl.Study(
        task=Regression(dim=2, context_length=3),
        predictors={"gd": GradientDescent(rate=0.1, learned=True)},
        training=icl.Training(steps=20, batch_size=8, learning_rate=0.02),
        evaluation=icl.Evaluation(sequences=40, batch_size=40, points=1),
        sweep=icl.product({"seed": (0, 1)}),
    )
    icl.simulate(study, folder)
    return folder


def _run(*args):
    command = [sys.executable, str(ROOT / "launch" / "barrier.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_loss_of_one_rate_is_convex_and_has_no_barrier(workdir):
    done = _run(f"--workdir={workdir}", "--predictor=gd", "--a=seed=0", "--b=seed=1", "--sequences=64")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"loss of a \d\S*, of b \d\S*, barrier 0\n", done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--a=seed=0,1", "--b=seed=1"), "--a is 'seed=0,1', which names 2 networks; give every name one value."),
        (("--a=", "--b=seed=1"), "2 members of the run fit; choose seed of 0, 1."),
        (("--a=seed=0", "--b=seed=1", "--eval_set=tru"), "The evaluation set is 'tru'; allowed: default."),
    ],
)
def test_wrong_choices_are_refused_in_a_sentence(workdir, nursery, args, sentence):
    done = nursery.call("barrier.py", f"--workdir={workdir}", "--predictor=gd", *args)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence + "\n")
