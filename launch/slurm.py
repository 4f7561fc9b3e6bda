"""Submits a study to Slurm: its shards as one array of jobs, through submitit.

    python launch/slurm.py --config=configs/icl_iwl/p_high.py --workdir=DIR --shards=12 [--concurrent=4]
                           [--config.task.p_high=0.5] [--sweep="seed=0..4"] [--partition=P --time_min=240 --cpus=8]
                           [--wait] [--dry_run] [-- --FLAG_OF_RUN_PY ...]

Every job is `launch/run.py ... --shard=i/n` in this same Python, all in one --workdir, which the nodes must see under
the same name. A job that is preempted or comes to the end of its time saves, is put back into the queue and goes on;
the last one to finish writes the table and the report. The same line again submits what is left: no shard that is done,
at work or in the queue.
"""

from __future__ import annotations

import difflib
import functools
import getpass
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from absl import app, flags, logging  # noqa: E402

from launch import endings, study_flags  # noqa: E402

if TYPE_CHECKING:
    from icl_sim.studies.study import Study

flags.adopt_module_key_flags(study_flags)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run, which every node sees.")
_SHARDS = flags.DEFINE_integer("shards", None, "How many jobs to divide the study over.")
_CONCURRENT = flags.DEFINE_integer("concurrent", None, "How many of them run at a time, at most; all by default.")
_PARTITION = flags.DEFINE_string("partition", None, "Slurm's partition; its default if not given.")
_ACCOUNT = flags.DEFINE_string("account", None, "Whom Slurm charges.")
_QOS = flags.DEFINE_string("qos", None, "Slurm's quality of service.")
_CONSTRAINT = flags.DEFINE_string("constraint", None, "Features that the nodes must have.")
_TIME_MIN = flags.DEFINE_integer("time_min", 240, "Minutes until a job has to make room; it is then queued again.")
_CPUS = flags.DEFINE_integer("cpus", 2, "Cores of a job.")
_MEM_GB = flags.DEFINE_float("mem_gb", None, "Memory of a job; the partition's default if not given.")
_GPUS = flags.DEFINE_integer("gpus", 0, "GPUs of a job.")
_SETUP = flags.DEFINE_multi_string("setup", [], "A line of shell to run before, as 'module load cuda'; repeatable.")
_WAIT = flags.DEFINE_bool("wait", False, "Wait until the jobs have ended, then say what came of them.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be submitted, and end.")

LOGS, JOBS = "slurm", "jobs.jsonl"  # in the run's folder: submitit's files, and which job does which shard
STOPPED = 75  # EX_TEMPFAIL: how a job's command ends that a signal stopped
POLL = 5.0  # seconds between looks at the queue


class Job:
    """What one job runs: the command of a shard.

    Slurm's signals reach the command, which stops and saves, as they reach submitit in this process. submitit hears the
    one that comes before the end of the time or a preemption, calls `checkpoint`, and puts the job back into the queue.
    """

    def __init__(self, command: Sequence[str]):
        self.command = list(command)
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        print(shlex.join(self.command), flush=True)
        self.process = subprocess.Popen(self.command)
        while (code := self.process.poll()) is None:  # wait() would hold a lock that `checkpoint` needs
            time.sleep(0.2)
        if code in (STOPPED, -signal.SIGTERM, -signal.SIGUSR1, -signal.SIGUSR2):  # those while it still imports
            time.sleep(1.0)  # in which what stopped the command stops this process, too, if it is to
            told = ["squeue", "--noheader", "--format=%T", f"--jobs={_own_job(os.environ)}"]
            state = subprocess.run(told, capture_output=True, text=True).stdout.strip()
            if state == "RUNNING":  # a preemption with time to clean up, and nobody has cancelled the job
                signal.raise_signal(signal.SIGUSR2)
            sys.exit(STOPPED)
        if code:
            raise RuntimeError(f"The command ended with exit code {code}; what it said is above, or in the other log.")

    def checkpoint(self) -> Any:
        """Called by submitit when the job has to make room: waits until all is saved, for a minute at most."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR2)
            deadline = time.monotonic() + 60.0
            while self.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
        return DelayedSubmission(Job(self.command))


def _own_job(env: Mapping[str, str]) -> str:
    """What squeue knows this job by: a number of its own would be all jobs of an array in the case of the last one."""
    array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else env["SLURM_JOB_ID"]


def main(argv: list[str]) -> int:
    return endings.ended(lambda: _submit(argv[1:]), interrupted="Interrupted; what was submitted goes on.")


def _submit(more: Sequence[str]) -> int:
    _refuse_contradictions(more)
    import jax

    from icl_sim.names import expanded

    workdir = expanded(_WORKDIR.value).absolute()
    of = _SHARDS.value
    line = [sys.executable, str(ROOT / "launch" / "run.py"), *_of_the_study(sys.argv[1:])]
    line += [f"--workdir={workdir}", *more]
    _require_folders(workdir)
    logging.set_verbosity(logging.WARNING)
    jax.config.update("jax_platforms", "cpu")  # here; jobs are told nothing of it
    left, running = _left(study_flags.study(), workdir, of)
    queued = () if _DRY_RUN.value else _queued(workdir, of)
    todo = [number for number in left if number not in queued]
    counts = {"done": of - len(left) - len(running), "at work": len(running), "in the queue": len(left) - len(todo)}
    aside = [f"{count} {'is' if count == 1 else 'are'} {what}" for what, count in counts.items() if count]
    commands = [[*line, f"--shard={number}/{of}", f"--stopped_exit_code={STOPPED}"] for number in todo]
    told = f"{len(todo)} of {of} shards" + (f" ({', '.join(aside)})" if aside else "")
    if _DRY_RUN.value:
        print(f"Would submit {told}, {_concurrent()} at a time, each with {_resources()}:")
        print(*map(shlex.join, commands), sep="\n")
        return 0
    if not todo:
        print(f"Nothing to submit: {', '.join(aside)}.")
    else:
        name = _array(commands, workdir, todo)
        print(f"Submitted {told} as job {name}, {_concurrent()} at a time, each with {_resources()}.")
        print(f"Logs: {workdir / LOGS}/{name}_*_log.out and .err")
        print(f"Watch: python launch/status.py --workdir={shlex.quote(str(workdir))}; squeue --job={name}")
        print(f"Cancel: scancel {name}; the same line again submits what is left then.")
    return _wait(line, workdir, of) if _WAIT.value else 0


def _refuse_contradictions(more: Sequence[str]) -> None:
    """Raises ValueError for what cannot be submitted, before anything slow."""
    study_flags.require_config()
    if not _WORKDIR.value:
        raise ValueError("Where to? Give --workdir=DIR, a folder that every node sees.")
    if _SHARDS.value is None:
        raise ValueError("How many jobs? Give --shards=N.")
    for flag, bound in ((_SHARDS, 1), (_CONCURRENT, 1), (_TIME_MIN, 3), (_CPUS, 1), (_GPUS, 0)):
        if flag.value is not None and flag.value < bound:
            raise ValueError(f"--{flag.name} is {flag.value}; it must be at least {bound}.")
    if _MEM_GB.value is not None and not 0 < _MEM_GB.value < 1e6:
        raise ValueError(f"--mem_gb is {_MEM_GB.value:g}; it must be above 0 and below a million.")
    if _CONCURRENT.value is not None and _CONCURRENT.value > _SHARDS.value:
        raise ValueError(f"--concurrent is {_CONCURRENT.value}, and there are {_SHARDS.value} shards; leave it away.")
    if _DRY_RUN.value and _WAIT.value:
        raise ValueError("--dry_run submits nothing that --wait could wait for; give one of them.")
    if not _DRY_RUN.value and not (shutil.which("squeue") and shutil.which("sbatch")):
        raise ValueError("There is no Slurm here: sbatch is not on the path. Shards can be run by hand, see --dry_run.")
    if any(arg.lstrip("-").partition("=")[0] == "flagfile" for arg in sys.argv[1:]):
        raise ValueError("--flagfile is not read for jobs; give the flags of the study themselves.")
    known = _flags_of_run()
    for arg in more:
        if not arg.startswith("--"):
            raise ValueError(f"Unknown argument {arg!r}; all arguments are flags, those of launch/run.py behind --.")
        name = arg[2:].partition("=")[0]
        if name in ("shard", "stopped_exit_code", "workdir", "sweep", "dry_run") or name.partition(".")[0] == "config":
            raise ValueError(f"--{name} cannot stand behind --: launch/slurm.py gives it to every job itself.")
        if name.removeprefix("no") not in known and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            told = f" Did you mean --{near[0]}?" if near else ""
            raise ValueError(f"launch/run.py has no flag --{name}, which stands behind --.{told}")


def _flags_of_run() -> set[str]:
    """The names of the flags of `launch/run.py`, read rather than imported: a process has one flag of a name."""
    text = (ROOT / "launch" / "run.py").read_text()
    own = re.findall(r'flags\.DEFINE\w*\(\s*(?:[\w.]+\(\),\s*)?"(\w+)"', text)
    modules = flags.FLAGS.flags_by_module_dict()
    return {*own, *(flag.name for module in modules if "absl" in module for flag in modules[module])}


def _require_folders(workdir: Path) -> None:
    """Raises ValueError if there is a file where the folder of the run, or that of the jobs' logs, has to be."""
    for folder in (workdir / LOGS, *(workdir / LOGS).parents):
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, and a folder belongs there; choose another --workdir.")


def _of_the_study(args: Sequence[str]) -> list[str]:
    """The arguments that name the study, as they were typed."""
    taken, left = [], list(args)
    while left and (arg := left.pop(0)) != "--":
        name = arg.lstrip("-").partition("=")[0]
        if arg.startswith("-") and (name in ("config", "sweep") or name.startswith(("config.", "noconfig."))):
            taken.append(arg)
            if "=" not in arg and left and not left[0].startswith("-"):
                taken.append(left.pop(0))
    return taken


def _left(study: Study, workdir: Path, of: int) -> tuple[list[int], list[int]]:
    """The numbers of the shards that nobody has finished or is at work on, and of those that somebody is at work on."""
    from icl_sim.studies import description, status
    from icl_sim.studies.plan import plan
    from icl_sim.studies.rehearsal import rehearse

    planned = plan(study)
    members = len(planned.entries)
    if of > members:
        raise ValueError(f"--shards is {of}, and the study has {members} members; at most one shard for each.")
    rehearse(planned, study.figures)
    every = list(range(1, of + 1))
    if not (workdir / description.STUDY).exists():
        return every, []
    description.refuse_other(workdir, description.read(workdir), study)
    found = status.read(workdir)
    if found.is_done:
        return ([], []) if found.is_tabulated and _is_reported(workdir) else (every[:1], [])
    state = {pack.name: pack.state for pack in found.packs}
    if state.get(status.WHOLE) == "running":
        raise ValueError(f"A run of the whole study is at work in {workdir}; wait for it or stop it.")
    states = {number: state.get(f"{number}/{of}") for number in every}
    left = [number for number, is_at in states.items() if is_at not in ("done", "running")]
    return left, [number for number, is_at in states.items() if is_at == "running"]


def _is_reported(workdir: Path) -> bool:
    """Whether there is a report of the table, as far as the packages are there that a job needs for one."""
    if not all(map(importlib.util.find_spec, ("matplotlib", "plotly"))):
        return True
    from icl_sim.studies import report, store

    made = workdir / report.REPORT
    return made.exists() and made.stat().st_mtime >= (workdir / store.RESULTS).stat().st_mtime


def _queued(workdir: Path, of: int) -> set[int]:
    """The numbers of the shards whose jobs are in the queue, waiting or at work."""
    jobs = _submitted(workdir / LOGS / JOBS)
    asked = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    found = subprocess.run(asked, capture_output=True, text=True)
    if found.returncode:
        raise ValueError(f"Slurm does not answer: {found.stderr.strip()}")
    there = set(found.stdout.split())
    return {job["number"] for job in jobs if job["of"] == of and job["job"] in there}


def _submitted(path: Path) -> list[dict[str, Any]]:
    """What was submitted: the lines of a file. One that a kill or a full disk has cut off is named and passed over."""
    jobs = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            job = json.loads(line)
            jobs.append({"job": str(job["job"]), "number": int(job["number"]), "of": int(job["of"])})
        except (ValueError, TypeError, KeyError):
            _warn(f"Line {number} of {path} is damaged and is passed over; see squeue for its job.")
    return jobs


def _note(path: Path, jobs: Sequence[Mapping[str, Any]]) -> None:
    """Adds lines of jobs, behind a line that was cut off if that is the last."""
    is_cut = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with open(path, "a") as file:
        file.write("\n" * is_cut + "".join(json.dumps(job) + "\n" for job in jobs))


@functools.cache  # once, however often --wait looks
def _warn(sentence: str) -> None:
    endings.say(sentence, sys.stderr)


def _array(commands: Sequence[Sequence[str]], workdir: Path, numbers: Sequence[int]) -> str:
    """Submits commands as one array of jobs; its name."""
    try:
        import submitit
    except ModuleNotFoundError:
        raise ValueError("submitit is not installed; pip install 'icl_sim[launch]'.") from None
    executor = submitit.SlurmExecutor(folder=workdir / LOGS, max_num_timeout=1_000_000)
    wanted = {
        "partition": _PARTITION.value,
        "account": _ACCOUNT.value,
        "qos": _QOS.value,
        "constraint": _CONSTRAINT.value,
        "mem_gb": _MEM_GB.value,
        "gpus_per_node": _GPUS.value or None,
        "setup": _SETUP.value or None,
    }
    executor.update_parameters(
        job_name=f"icl_sim {workdir.name}",
        time=_TIME_MIN.value,
        cpus_per_task=_CPUS.value,
        srun_args=[f"--cpus-per-task={_CPUS.value}"],  # which srun does not take from sbatch since Slurm 22.05
        array_parallelism=_concurrent(),
        additional_parameters={"requeue": True},
        **{name: value for name, value in wanted.items() if value is not None},
    )
    try:
        with executor.batch():
            jobs = [executor.submit(Job(command)) for command in commands]
    except submitit.core.utils.FailedJobError as error:
        raise ValueError(f"Slurm did not take the jobs: {str(error).strip()}") from error
    submitted = zip(numbers, jobs, strict=True)
    _note(workdir / LOGS / JOBS, [{"job": j.job_id, "number": number, "of": _SHARDS.value} for number, j in submitted])
    return jobs[0].job_id.partition("_")[0]


def _wait(line: Sequence[str], workdir: Path, of: int) -> int:
    """Waits for the jobs of all shards, and for those at work elsewhere; tells and merges what came of them."""
    while _queued(workdir, of):
        time.sleep(POLL)
    from icl_sim.studies import status

    found = status.read(workdir) if (workdir / "study.json").exists() else None
    if found is None or not found.is_done:
        undone = of if found is None else sum(not pack.state == "done" for pack in found.packs)
        print(
            f"{undone} of {of} shards are not done, and no job is left; {workdir / LOGS} says why. The same line "
            "again submits them.",
            file=sys.stderr,
        )
        return 1
    return subprocess.call(line)  # makes the table if the last job could not, and tells the results


def _concurrent() -> int:
    return _CONCURRENT.value or _SHARDS.value


def _resources() -> str:
    told = [f"{_CPUS.value} core(s)", f"{_GPUS.value} GPU(s)" if _GPUS.value else ""]
    told += [f"{_MEM_GB.value:g} GB" if _MEM_GB.value else "", f"{_TIME_MIN.value} minutes"]
    told += [f"{flag.name} {flag.value}" for flag in (_PARTITION, _ACCOUNT, _QOS, _CONSTRAINT) if flag.value]
    told += [f"after {line}" for line in _SETUP.value]
    return ", ".join(filter(None, told))


if __name__ == "__main__":
    app.run(main, flags_parser=study_flags.parse_flags)
