"""The command that runs a language model's study, as a user types it."""

from __future__ import annotations

import functools
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import bench_lm
from tests.lm import tiny

SST2, CONFLICT = "--config=configs/lm/sst2.py:quick", "--config=configs/lm/conflict.py:quick"
MISSING = ("--config.task.data=sst2", "--config.task.folder=nowhere")
CONFIG = """
    import icl_sim as icl
    from icl_sim.lm.study import LabelledText, ZeroShot


    def get_config(arg=""):
        task = LabelledText(model="tiny", data="fixture", shots=2, queries=4)
        study = icl.Study(task=task, predictors={"zero_shot": ZeroShot()}, training=icl.Training(steps=0))
        return icl.config_of(study)
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(textwrap.dedent(CONFIG))
    return path


@pytest.fixture
def call(nursery) -> Callable[..., subprocess.CompletedProcess[str]]:
    return functools.partial(nursery.call, "lm.py")


def test_a_dry_run_tells_the_plan_and_writes_nothing(call, tmp_path):
    done = call(SST2, f"--workdir={tmp_path}/run", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "x finetuned, one calculation each" in done.stdout and "nothing to train" not in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.fleet
def test_a_run_prints_its_table_last(call, config, tmp_path):
    done = call(f"--config={config}", f"--workdir={tmp_path}/run", "--sweep=seed=1")
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition(f"The report is {tmp_path}/run/report.html.\n\n")[2]
    assert table.startswith("setting ") and table.splitlines()[2].startswith("zero shot ")
    assert "Queries" in (tmp_path / "run" / "appendix.html").read_text()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([SST2, "--workdir=w", "--config.task.data=sst3"], "data is 'sst3'"),
        ([SST2, "--workdir=w", "--config.task.model=../nothing"], "a folder or a .gguf file that exists"),
        ([SST2, "--workdir=w", "--config.task.shots=-1"], "task.shots is -1; it must be at least 0"),
        ([SST2, "--workdir=w", "--config.task.shots=x"], "--config.task.shots=x cannot be read"),
        ([SST2, "--workdir=w", "--config.task.shot=1"], "Did you mean 'shots'"),
        ([SST2, "--workdir=w", "--sweep=seed=-1"], "-1"),
        ([SST2, "--workdir=w", "--dry_run", *MISSING], "There is no nowhere/sst2/"),
        ([SST2, "--workdir=w", *MISSING], "There is no nowhere/sst2/"),
        (["--config=configs/lm/sst22.py", "--workdir=w"], "Did you mean configs/lm/sst2.py"),
        ([CONFLICT, "--workdir=w", "--config.predictors.finetuned.steps=0"], "steps is 0"),
        ([CONFLICT, "--workdir=w", "--config.predictors.finetuned.learning_rate=nan"], "learning_rate is nan"),
        ([CONFLICT, "--workdir=w", "stray"], "Unknown argument 'stray'"),
        ([CONFLICT], "Give --workdir=DIR"),
        ([], "Give --config=FILE"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_one(call, args, sentence, tmp_path):
    done = call(*(arg.replace("=w", f"={tmp_path}/w") for arg in args))
    assert done.returncode == 1 and sentence in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "w").exists()


def test_the_benchmark_of_a_model_measures_it_whole_and_in_context(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_lm, "QUERIES", 3)
    folder = tiny.write(tmp_path, tiny.golden("llama")["config"], tiny.tensors("llama"))
    told = bench_lm.measure(str(folder), rounds=1)
    assert told["tokens"] == [bench_lm.BATCH, bench_lm.TOKENS] and told["rounds"] == 1
    for name in ("tokens_per_s", "tokens_per_cpu_s", "in_context_s", "in_context_cpu_s", "load_s", "compile_s"):
        assert told[name] > 0, name
