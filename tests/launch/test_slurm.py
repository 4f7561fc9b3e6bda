"""Studies submitted to Slurm: to a real one of one node, which the test starts, where it can be started."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from icl_sim.studies import codec
from icl_sim.studies.plan import plan
from icl_sim.studies.report import REPORT
from icl_sim.studies.runner import run, simulate
from icl_sim.studies.shards import Shard
from icl_sim.studies.store import RESULTS, Store
from tests.conftest import QUICKLY
from tests.launch.conftest import load
from tests.launch.test_kill import CONFIG as TINY
from tests.studies import fake_engine
from tests.studies.fake_engine import STUDY, FakeEngine

ROOT = Path(__file__).resolve().parents[2]
CONFIG = TINY.replace("[0.25, 1.0]", "[0.25, 0.5, 1.0]").replace("150_000", "60_000")
# Nothing of it is for use: one node, processes tracked by their group, no cgroups, no database.
SLURM = """
    ClusterName=test
    SlurmctldHost={host}(127.0.0.1)
    SlurmUser=root
    SlurmdUser=root
    AuthType=auth/munge
    AuthInfo=socket={folder}/munge.socket,cred_expire=5
    CredType=cred/munge
    SlurmctldPort={ports[0]}
    SlurmdPort={ports[1]}
    StateSaveLocation={folder}/state
    SlurmdSpoolDir={folder}/spool
    SlurmctldPidFile={folder}/slurmctld.pid
    SlurmdPidFile={folder}/slurmd.pid
    SlurmctldLogFile={folder}/slurmctld.log
    SlurmdLogFile={folder}/slurmd.log
    SlurmdParameters=config_overrides
    SchedulerParameters=sched_interval=2,sched_min_interval=0
    ProctrackType=proctrack/pgid
    TaskPlugin=task/none
    SelectType=select/cons_tres
    SelectTypeParameters=CR_CPU
    MpiDefault=none
    PlugStackConfig={folder}/plugstack.conf
    KillWait=20
    NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000
    PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[Path]:
    """The configuration of a Slurm that runs: `SLURM_CONF`."""
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    found = {name: shutil.which(name, path=path) for name in programs}
    if missing := [name for name, where in found.items() if not where]:
        pytest.skip(f"needs Slurm: no {missing[0]} (Debian: apt install slurm-wlm munge)")
    if os.geteuid():
        pytest.skip("needs to be root to start Slurm")
    if not importlib.util.find_spec("submitit"):
        pytest.skip("needs submitit")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "plugstack.conf").touch()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    conf = folder / "slurm.conf"
    host = platform.node().partition(".")[0]
    conf.write_text(textwrap.dedent(SLURM).format(folder=folder, host=host, ports=free_ports(2)))
    munge = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    commands = (
        [found["munged"], "--foreground", "--force", *(f"--{k}={folder}/munge.{v}" for k, v in munge.items())],
        [found["slurmctld"], "-D", "-f", str(conf)],
        [found["slurmd"], "-D", "-f", str(conf)],
    )
    started = []
    try:
        for command in commands:
            with open(folder / f"{Path(command[0]).name}.out", "wb") as out:
                started.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT))
        deadline = time.monotonic() + 20
        while "idle" not in ask(conf, "sinfo", "--noheader", "--format=%t"):
            if time.monotonic() > deadline:
                told = "\n".join(log.read_text(errors="replace")[-300:] for log in folder.glob("*.log"))
                pytest.skip(f"Slurm does not start here: {told}")
            time.sleep(0.1)
        yield conf
        ask(conf, "scancel", "--user=root", "--full")
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(20)


def ask(conf: Path, *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SLURM_CONF": str(conf)})
    return done.stdout + done.stderr


@pytest.fixture
def submit(nursery, tmp_path):
    """Calls `launch/slurm.py`, without a Slurm if no configuration is given."""

    def call(*args: object, conf: Path | None = None) -> subprocess.CompletedProcess[str]:
        out, err = tmp_path / "out", tmp_path / "err"
        env = {"XLA_FLAGS": QUICKLY} | ({"SLURM_CONF": str(conf)} if conf else {"PATH": "/nonexistent"})
        nursery.start("slurm.py", *args, out=out, err=err, env=env)
        return subprocess.CompletedProcess(args, nursery.exit_code(), out.read_text(), err.read_text())

    return call


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(textwrap.dedent(CONFIG))
    return path


def wait_for(condition, said=lambda: "") -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it does not happen: {said()}")
        time.sleep(0.05)


@pytest.mark.fleet
def test_an_array_with_a_requeued_job_and_a_signalled_one_makes_the_table_of_the_whole(slurm, submit, config, tmp_path):
    workdir = tmp_path / "run"
    line = (f"--config={config}", f"--workdir={workdir}", "--shards=3", "--concurrent=2", "--cpus=1")
    done = submit(*line, "--setup=export CHECK='a b;c'", conf=slurm)
    assert done.returncode == 0, done.stderr
    name = done.stdout.partition("as job ")[2].partition(",")[0]
    resources = "1 core(s), 240 minutes, after export CHECK='a b;c'."
    assert f"Submitted 3 of 3 shards as job {name}, 2 at a time, each with {resources}" in done.stdout
    assert "ArrayTaskThrottle=2" in ask(slurm, "scontrol", "show", "job", name)

    def logs() -> str:
        told = [path.read_text(errors="replace")[-5000:] for path in sorted((workdir / "slurm").glob("*log*"))]
        return "\n".join([*told, ask(slurm, "squeue")])

    def saved(number: int) -> bool:
        return any(p.name.isdigit() for p in workdir.glob(f"shards/{number}-of-3/checkpoints/*/*"))

    wait_for(lambda: saved(1) and saved(2), logs)
    ask(slurm, "scontrol", "requeue", f"{name}_0")  # as a preemption does
    ask(slurm, "scancel", f"--signal={signal.SIGUSR2.name[3:]}", f"{name}_1")  # as the end of its time does
    waited = submit(*line, "--wait", conf=slurm)
    assert waited.returncode == 0, waited.stderr + logs()
    assert "Nothing to submit" in waited.stdout and "in the queue" in waited.stdout
    assert f"The report is {workdir}/report.html" in waited.stdout
    told = logs()
    assert "stopped_exit_code=75" in told and "going on from step" in told
    actual = pd.read_parquet(workdir / "results.parquet")
    expected = simulate(codec.study_of(runpy.run_path(str(config))["get_config"]()))
    pd.testing.assert_frame_equal(actual, expected, check_exact=True)


@pytest.mark.fleet
def test_all_jobs_of_an_array_that_were_stopped_at_once_are_queued_again(slurm, tmp_path, monkeypatch):
    """Each ends as stopped, once both run, and the second time as done."""
    import submitit

    monkeypatch.setenv("SLURM_CONF", str(slurm))
    job = load("slurm").Job
    both = f"until [ -e {tmp_path}/0 -a -e {tmp_path}/1 ]; do sleep 0.2; done; sleep 2"
    again = f"cd {tmp_path}; [ -e $0 ] && exec touch $0.again"
    command = ["bash", "-c", f"{again}; touch $0; {both}; exit 75"]
    executor = submitit.SlurmExecutor(folder=tmp_path / "logs", max_num_timeout=9)
    executor.update_parameters(
        time=30, cpus_per_task=1, srun_args=["--cpus-per-task=1"], additional_parameters={"requeue": True}
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with executor.batch():
        for name in "01":
            executor.submit(job([*command, name]))
    wait_for(lambda: not ask(slurm, "squeue", "--noheader").strip(), lambda: ask(slurm, "squeue"))
    assert {path.name for path in tmp_path.glob("*.again")} == {"0.again", "1.again"}


@pytest.mark.parametrize("end", ["exit 75", "kill -TERM $$"])
@pytest.mark.parametrize("state", ["RUNNING", "CANCELLED", ""])
def test_a_job_that_was_stopped_is_queued_again_unless_it_was_cancelled(tmp_path, monkeypatch, end, state):
    job = load("slurm").Job
    squeue, heard = tmp_path / "squeue", []
    # The last job of an array has the number of the array, by which squeue tells of all its jobs.
    squeue.write_text(f'#!/bin/sh\ncase "$*" in *--jobs=7_1*) echo {state};; *) echo RUNNING; echo RUNNING;; esac\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in {"JOB_ID": "7", "ARRAY_JOB_ID": "7", "ARRAY_TASK_ID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    before = signal.signal(signal.SIGUSR2, lambda *_: heard.append(True))  # as submitit does, which queues it again
    try:
        with pytest.raises(SystemExit, match="75"):
            job(["bash", "-c", end])()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [True] * (state == "RUNNING")


def test_a_job_whose_command_fails_fails(tmp_path):
    job = load("slurm").Job
    with pytest.raises(RuntimeError, match="ended with exit code 1"):
        job(["false"])()


def test_a_dry_run_tells_the_line_of_every_job_and_needs_no_slurm(submit, config, tmp_path):
    sweep = "task.noise=0.5,1; seed=0..1"
    args = [f"--config={config}", "--config.training.steps=9", "--sweep", sweep, "--workdir", tmp_path / "a b"]
    args += ["--shards=2", "--gpus=1", "--mem_gb=4", "--partition=gpu", "--setup=a b"]
    done = submit(*args, "--dry_run", "--", "--profile=x y")
    assert done.returncode == 0, done.stderr
    first, *jobs = done.stdout.splitlines()
    wanted = "2 core(s), 1 GPU(s), 4 GB, 240 minutes, partition gpu, after a b"
    assert first == f"Would submit 2 of 2 shards, 2 at a time, each with {wanted}:"
    for number, job in enumerate(jobs, 1):
        python, script, *given = shlex.split(job)
        assert (python, Path(script).name) == (sys.executable, "run.py")
        assert given == [
            f"--config={config}",
            "--config.training.steps=9",
            "--sweep",
            sweep,
            f"--workdir={tmp_path}/a b",
            "--profile=x y",
            f"--shard={number}/2",
            "--stopped_exit_code=75",
        ]
    assert len(jobs) == 2 and not (tmp_path / "a b").exists()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--shards=0"], "--shards is 0; it must be at least 1"),
        (["--shards=4", "--dry_run"], "--shards is 4, and the study has 3 members; at most one shard for each"),
        (["--shards=2", "--concurrent=3"], "--concurrent is 3, and there are 2 shards"),
        (["--shards=2", "--dry_run", "--wait"], "--dry_run submits nothing that --wait could wait for"),
        (["--shards=2", "--mem_gb=0"], "--mem_gb is 0; it must be above 0"),
        (["--shards=2", "--mem_gb=inf"], "--mem_gb is inf; it must be above 0 and below a million"),
        (["--shards=2", "--dry_run", "--", "--wav=2"], "has no flag --wav, which stands behind --. Did you mean --wa"),
        (["--shards=2", "--dry_run", "--workdir=~nosuchuser"], "there is no user 'nosuchuser' here"),
        (["--shards=2", "--cpu=2"], "Unknown command line flag 'cpu'. Did you mean: cpus"),
        (["--shards=2", "--dry_run", "stray"], "Unknown argument 'stray'"),
        (["--shards=2", "--dry_run", "--", "--shard=1/2"], "--shard cannot stand behind --"),
        (
            ["--shards=2", "--dry_run", "--", "--config.training.steps=1"],
            "--config.training.steps cannot stand behind --",
        ),
        (["--shards=2", "--dry_run", "--config.task.nois=1"], "task has no setting 'nois'"),
        (["--shards=2"], "There is no Slurm here: sbatch is not on the path"),
        ([], "Give --shards=N"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_one(submit, config, args, sentence, tmp_path):
    done = submit(f"--config={config}", f"--workdir={tmp_path}/w", *args)
    assert done.returncode == 1 and sentence in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "w").exists()


def test_the_folder_of_another_study_and_one_at_work_are_refused(submit, config, tmp_path):
    with Store(tmp_path, STUDY, plan(STUDY)):
        line = (f"--workdir={tmp_path}", "--shards=2", "--dry_run")
        assert "holds the study 'study'" in submit(f"--config={config}", *line).stderr


def test_flags_of_a_run_may_stand_behind_and_others_may_not():
    slurm = load("slurm")
    assert {"wave", "profile", "log", "data_parallel", "distributed", "workdir"} <= slurm._flags_of_run()
    assert not {"shards", "partition", "a"} & slurm._flags_of_run()


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "slurm").touch()
    for workdir, named in (("file", "file"), ("file/run", "file"), ("run", "run/slurm")):
        with pytest.raises(ValueError, match=f"^{tmp_path}/{named} is a file, and a folder belongs there"):
            load("slurm")._require_folders(tmp_path / workdir)
    load("slurm")._require_folders(tmp_path / "run" / "new")


def test_only_what_nobody_has_done_or_is_at_work_on_is_submitted(monkeypatch, tmp_path):
    fake_engine.put(FakeEngine(), monkeypatch)
    left = load("slurm")._left
    shards = [Shard(of=4, number=number) for number in range(1, 5)]
    assert left(STUDY, tmp_path, 4) == ([1, 2, 3, 4], [])
    run(STUDY, tmp_path, shard=shards[1], quiet=True)
    with Store(tmp_path, STUDY, plan(STUDY), shard=shards[3]):
        assert left(STUDY, tmp_path, 4) == ([1, 3], [4])
    with Store(tmp_path, STUDY, plan(STUDY)), pytest.raises(ValueError, match="A run of the whole study is at work"):
        left(STUDY, tmp_path, 4)
    for shard in shards:
        run(STUDY, tmp_path, shard=shard, quiet=True)
    (tmp_path / REPORT).touch()
    assert left(STUDY, tmp_path, 4) == ([], [])
    os.utime(tmp_path / REPORT, (0, 0))  # made of what there was before: any shard makes it anew
    assert left(STUDY, tmp_path, 4) == ([1], [])
    (tmp_path / REPORT).unlink()  # the last one was killed between the table and the report
    assert left(STUDY, tmp_path, 4) == ([1], [])
    with monkeypatch.context() as patch:  # no job could make one
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert left(STUDY, tmp_path, 4) == ([], [])
    (tmp_path / RESULTS).unlink()  # and before the table
    assert left(STUDY, tmp_path, 4) == ([1], [])


def test_jobs_noted_after_a_line_that_was_cut_off_are_not_lost(tmp_path, capsys):
    slurm, path = load("slurm"), tmp_path / "jobs.jsonl"
    first, second, third = ({"job": f"7_{number}", "number": number, "of": 3} for number in (1, 2, 3))
    slurm._note(path, [first, second])
    assert slurm._submitted(path) == [first, second]
    path.write_bytes(path.read_bytes()[:-9])  # as a kill or a full disk does
    slurm._note(path, [third])
    for _ in range(2):  # as --wait looks again
        assert slurm._submitted(path) == [first, third]
    assert capsys.readouterr().err == f"Line 2 of {path} is damaged and is passed over; see squeue for its job.\n"
