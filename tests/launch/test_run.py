"""The command that runs a study, as a user types it."""

from __future__ import annotations

import functools
import json
import os
import runpy
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from icl_sim.studies import codec
from icl_sim.studies.plan import plan
from icl_sim.studies.store import Store
from tests.conftest import QUICKLY
from tests.launch.conftest import load
from tests.studies.fake_engine import STUDY

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
    from icl_sim.engine.settings import Evaluation, Training
    from icl_sim.predictors import InWeightMLP
    from icl_sim.studies.codec import config_of
    from icl_sim.studies.study import Study
    from icl_sim.studies.sweep import product
    from icl_sim.tasks import ClassMixture, Prototypes


    def get_config(variant="quick"):
        if variant != "quick":
            raise ValueError(f"The variant {variant!r} does not exist; allowed: quick.")
        return config_of(
            Study(
                name="tiny",
                task=ClassMixture(inputs=Prototypes(dim=8)),
                predictors={"in_weight": InWeightMLP(hidden=(8,))},
                training=Training(steps=40, batch_size=4),
                evaluation=Evaluation(sequences=8, batch_size=8, points=4),
                sweep=product({"task.num_sequences": [64, 256]}),
            )
        )
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(textwrap.dedent(CONFIG))
    return path


@pytest.fixture
def call(nursery) -> Callable[..., subprocess.CompletedProcess[str]]:
    return functools.partial(nursery.call, "run.py")


def call_anew(*args: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, from its first line."""
    command = [sys.executable, str(ROOT / "launch" / "run.py"), *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": QUICKLY}  # test_kill.py's are compiled as its users' are
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


def test_help_is_quick():
    started = os.times()
    done = call_anew("--help")
    ended = os.times()
    assert "--sweep" in done.stdout and "--workdir" in done.stdout
    cpu = ended.children_user + ended.children_system - started.children_user - started.children_system
    assert cpu < 1.5


@pytest.mark.fleet
def test_a_run_its_record_and_the_same_line_again(call, config, tmp_path):
    line = (f"--config={config}:quick", f"--workdir={tmp_path}/run", "--config.training.batch_size=2")
    done = call_anew(*line, "--sweep=seed=0..1; task.num_sequences=64")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert set(table["seed"]) == {0, 1} and set(table["task.num_sequences"]) == {64}
    about = json.loads((tmp_path / "run" / "study.json").read_text())
    assert about["config"]["training"]["batch_size"] == 2 and "--sweep=seed=0..1" in about["command"]
    changed = "Changed on the command line: training.batch_size = 2; swept seed=0..1; task.num_sequences=64."
    assert about["description"] == changed
    assert (tmp_path / "run" / "checkpoints").is_dir()
    again = call(*line, "--sweep=seed=0..1; task.num_sequences=64")
    assert again.returncode == 0 and "All is done" in again.stdout
    other = call(*line)
    assert other.returncode == 1 and "they differ in sweep" in other.stderr


@pytest.mark.fleet
def test_parts_of_a_study_and_the_last_one_reports(call, config, tmp_path):
    line = (f"--config={config}", f"--workdir={tmp_path}/run")
    first = call(*line, "--shard", "2/2", "--stopped_exit_code=75")
    assert first.returncode == 0 and first.stdout.strip() == "Shard 2/2 is done; the last to finish writes the report."
    second = call(*line, "--shard", "1/2", "--stopped_exit_code=75")
    assert second.returncode == 0 and f"The report is {tmp_path}/run/report.html" in second.stdout
    assert set(pd.read_parquet(tmp_path / "run" / "results.parquet")["task.num_sequences"]) == {64, 256}
    command = json.loads((tmp_path / "run" / "study.json").read_text())["command"]
    assert command == f"python {ROOT}/launch/run.py --config={config} --workdir={tmp_path}/run"  # makes the whole
    whole = call(*line)
    assert whole.returncode == 0 and "All is done" in whole.stdout


@pytest.mark.fleet
def test_a_profile_goes_before_the_run(call, config, tmp_path):
    done = call(f"--config={config}", f"--workdir={tmp_path}/run", "--profile", "--config.training.steps=80")
    assert done.returncode == 0, done.stderr
    (trace,) = (tmp_path / "run" / "profile").glob("plugins/profile/*/*.trace.json.gz")
    assert done.stdout.startswith(f"The trace is {trace}: open it on ui.perfetto.dev.\nwhere the time of the training")
    assert "The report is" in done.stdout


def test_a_dry_run_tells_the_plan_and_writes_nothing(call, config, tmp_path):
    done = call(f"--config={config}", f"--workdir={tmp_path}/run", "--dry_run", "--sweep=seed=0..4")
    assert done.returncode == 0 and "10 x in_weight, 40 steps" in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [("--dry_run",), pytest.param((), marks=pytest.mark.fleet)])
def test_a_full_disk_under_the_log_changes_no_exit_code(nursery, config, tmp_path, more):
    line, full = (f"--config={config}", f"--workdir={tmp_path}/run", *more), Path("/dev/full")
    for known, code in ((), 0), (("--sweep=seed=x",), 1):
        nursery.start("run.py", *line, *known, out=full, err=full, env={"XLA_FLAGS": QUICKLY})
        assert nursery.exit_code() == code
    assert (tmp_path / "run" / "report.html").exists() == (not more)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--workdir=w", "--config.task.p_hihg=0.5"], "task has no setting 'p_hihg'; allowed: kind, "),
        (["--workdir=w", "--config.task.zzz.x=1"], "task has no setting 'zzz'; allowed: kind, "),
        (["--workdir=w", "--config.task.p_high.x=1"], "p_high is 0.9, which has no 'x'; give --config.task.p_high"),
        (["--workdir=w", "--config.training.steps=x"], "--config.training.steps=x cannot be read: it must be a whole"),
        (["--workdir=w", "--config.task.inputs=x"], "inputs=x cannot be read: it must name its kind and fields"),
        (["--workdir=w", "--config.task.p_high=1.2"], "p_high is 1.2; it must be above 0 and at most 1"),
        (["--workdir=w", "--config.task.p_high=x"], "--config.task.p_high=x"),
        (["--workdir=w", "--config.task.num_sequences=9"], "swept by this study; use --sweep"),
        (["--workdir=w", "--sweep=task.num_sequences=4"], "num_sequences is 4"),
        (["--workdir=w", "--sweep=task.p_hihg=1"], "Did you mean 'p_high'"),
        (["--workdir=w", "--config.predictors.in_weight.kind=in_wait"], "Did you mean 'in_weight'"),
        (["--workdir=w", "--config.task.seed=1.5"], "task.seed is 1.5; it must be a whole number"),
        (["--workdir=w", "--config.predictors.in_weight.hidden=(1.5,)"], "must be a tuple of whole numbers"),
        (["--workdir=w", "--config.evaluation.points=10000000000"], "evaluation.points is 10000000000"),
        (["--workdir=w", "--shard=3/2"], "The shard is '3/2'; it must be i/n with i from 1 to n"),
        (["--workdir=w", "--data_parallel=64"], "--data_parallel is 64; it must be at most "),
        (["--workdir=w", "--data_parallel=64", "--dry_run"], "--data_parallel is 64; it must be at most "),
        (["--workdir=~nosuchuser/w"], "~nosuchuser/w cannot be found: there is no user 'nosuchuser' here."),
        (["--workdir=w", "--profile=~nosuchuser"], "~nosuchuser cannot be found: there is no user"),
        (["--log=tensorbord", "--dry_run"], "--log is 'tensorbord'; allowed: tensorboard, wandb. Did you mean"),
        (["--workdir=w", "--log=tensorbord"], "--log is 'tensorbord'; allowed: tensorboard, wandb. Did you mean"),
        pytest.param(
            ["--workdir=w", "--profile", "--config.training.steps=20"],
            "training.steps is 20, too few to profile",
            marks=pytest.mark.fleet,
        ),
        (["--workdr=w"], "Did you mean: workdir"),
        (["--workdir=w", "stray"], "Unknown argument 'stray'"),
        ([], "Give --workdir=DIR"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_one(call, config, args, sentence, tmp_path):
    told(call(f"--config={config}", *(arg.replace("=w", f"={tmp_path}/w") for arg in args)), sentence)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("more", [(), ("--shard=1/2",)])
@pytest.mark.parametrize("is_other", [True, False])
def test_a_folder_of_others_is_refused_before_anything_is_written_there(call, config, tmp_path, more, is_other):
    study = STUDY if is_other else codec.study_of(runpy.run_path(str(config))["get_config"]())
    sentence = "holds the study 'study'" if is_other else f"Process {os.getpid()} of "
    line = (f"--config={config}", f"--workdir={tmp_path}", "--log=tensorboard", "--profile", *more)
    with Store(tmp_path, study, plan(study)):
        before = {*tmp_path.rglob("*")}
        told(call(*line), sentence)
        assert {*tmp_path.rglob("*")} == before


def test_a_study_that_does_not_fit_into_memory_is_a_sentence(call, config, tmp_path):
    done = call(f"--config={config}", f"--workdir={tmp_path}/w", f"--config.task.inputs.dim={2 * 10**9}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "does not fit into this machine's memory" in done.stderr.splitlines()[-1]


def test_not_every_number_that_is_too_large_is_a_size():
    is_too_large = load("run")._is_too_large
    for size in (lambda: bytes(2**64), lambda: len(range(2**64))):
        with pytest.raises(OverflowError) as raised:
            size()
        assert is_too_large(raised.value)
    with pytest.raises(OverflowError) as raised:
        int(float("inf"))
    assert not is_too_large(raised.value)


def test_mistakes_about_the_study_file_are_one_sentence(call, config):
    told(call("--workdir=w"), "Give --config=FILE")
    told(call(f"--config={config.parent}/tinny.py", "--workdir=w"), f"Did you mean {config}?")
    told(call(f"--config={config}:qick", "--workdir=w"), "The variant 'qick' does not exist")
    told(call("--config=", "--workdir=w"), "--config is empty; give a study file")
    broken = config.parent / "broken.py"
    broken.write_text("def get_config():\n    return 3\n")
    told(call(f"--config={broken}", "--workdir=w"), "get_config of the study file must return icl_sim.config_of(study)")
    broken.write_text("def get_config():\n    return {}['boo']\n")
    told(call(f"--config={broken}", "--workdir=w"), f"KeyError: boo ({broken}, line 2).")


def told(done, sentence):
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.fleet
def test_the_end_of_a_run_tells_of_answers_that_are_not_finite(call, config, tmp_path):
    done = call(f"--config={config}", "--config.task.inputs.noise=1e38", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0
    assert "The predictor 'in_weight' has no finite answers on " in done.stderr
    assert ", first at step 0 (2 of 2 members): they or their errors are NaN or infinite.\n" in done.stderr
