"""The command that says what a study will cost, as a user types it."""

from __future__ import annotations

import functools
import textwrap

import pytest

from tests.launch.test_run import CONFIG, told


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(textwrap.dedent(CONFIG))
    return path


@pytest.fixture
def call(nursery):
    return functools.partial(nursery.call, "plan.py")


@pytest.mark.fleet
def test_a_plan_on_an_accelerator_and_by_a_trial(call, config):
    done = call(f"--config={config}", "--sweep=seed=0..4", "--shards=2", "--on=v5e-4", "--trial")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10 members, 400 updates; groups (one training program each): 1\n")
    assert "10 x in_weight: 40 updates each of" in done.stdout and "shards       2, of 5 to 5 members" in done.stdout
    assert "on 4 chips of TPU v5e for the longest of 2 shards" in done.stdout
    assert "trial        group 1: " in done.stdout and "time here    0:00:" in done.stdout


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--on=v5"], "The accelerator is 'v5'; allowed: v4, v5e, v5p, v6e, a100, h100."),
        (["--on=v5e-0"], "The accelerator is 'v5e-0'; it must be NAME or NAME-COUNT"),
        (["--on=v5e", "--utilisation=2"], "--utilisation is 2; it must be above 0 and at most 1."),
        (["--utilisation=0.1"], "--utilisation is that of an accelerator; name it with --on"),
        (["--shards=0"], "--shards is 0; it must be from 1 to 100,000."),
        (["--config.task.p_high=1.2"], "p_high is 1.2; it must be above 0 and at most 1"),
        (["--config.task.p_hihg=1"], "task has no setting 'p_hihg'"),
        (["stray"], "Unknown argument 'stray'"),
    ],
)
def test_mistakes_are_one_sentence(call, config, args, sentence):
    told(call(f"--config={config}", *args), sentence)


def test_a_study_has_to_be_named(call):
    told(call(), "Give --config=FILE")
