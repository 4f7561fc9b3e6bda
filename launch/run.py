"""Runs a study: trains, evaluates, sweeps, resumes, and writes the verdicts and the report.

    python launch/run.py --config=configs/icl_iwl/p_high.py:quick --workdir=DIR [--config.task.p_high=0.5]
                         [--sweep="task.p_high=0.5,0.9,0.99; seed=0..4"] [--shard=2/8] [--dry_run]
                         [--log=tensorboard,wandb] [--profile | --profile=FOLDER]

The same line again goes on where the last run stopped, or says that all is done. SIGTERM, SIGUSR1, SIGUSR2 and Ctrl-C
end the run after the current chunk, with everything saved. With --shard=i/n a job does its share of the members; any
of the n can be started anywhere, at any time and again, and the last to finish writes the report.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Configs import their neighbours, as in `from configs.icl_iwl.claims import CLAIMS`.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags, logging  # noqa: E402

from launch import endings, study_flags  # noqa: E402

if TYPE_CHECKING:
    from icl_sim.engine.group import Group
    from icl_sim.engine.layout import Layout
    from icl_sim.studies.plan import Plan
    from icl_sim.studies.writers import Writer

flags.adopt_module_key_flags(study_flags)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run; it is made if it does not exist.")
_SHARD = flags.DEFINE_string("shard", "", "Do only part i of n of the study, as in 2/8, all parts in one --workdir.")
_STOPPED_EXIT_CODE = flags.DEFINE_integer(
    "stopped_exit_code",
    0,
    "The exit code of a run that a signal stopped before its end: for schedulers that start a job again which ends "
    "with a certain one, as 75.",
    lower_bound=0,
    upper_bound=255,
)
_DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    ["auto", "on", "off"],
    "Whether this is one of several processes of one run, as on a TPU pod, all started with the same line; auto: if "
    "the environment says so.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first process, where jax cannot find it out.")
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are, then.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", None, "The number of this one, from 0.", lower_bound=0)
_DATA_PARALLEL = flags.DEFINE_integer(
    "data_parallel", None, "Devices that share each batch; by default those that members leave over.", lower_bound=1
)
_AT_ONCE = flags.DEFINE_integer(
    "at_once",
    None,
    "Members that a device computes together, 1 for one by one; by default what is known or found to be the fastest.",
    lower_bound=1,
)
_WAVE = flags.DEFINE_integer(
    "wave", None, "Members of a group that are simulated at a time; by default as many as fit.", lower_bound=1
)
_LOG = flags.DEFINE_list(
    "log",
    [],
    "Write numbers to watch, too: tensorboard (into WORKDIR/tensorboard), wandb, or both. The record is rows.jsonl.",
)
_PROFILE = flags.DEFINE(
    study_flags.OptionalParser(),
    "profile",
    None,
    "Before the run, trace some seconds of its training, into WORKDIR/profile or the folder named (docs/profiling.md).",
    boolean=True,
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be simulated, and end.")


def main(argv: list[str], *, spread: bool = True, report: Callable[[str], None] | None = None) -> int:
    """Runs the study that the flags name.

    Args:
      spread: make every core a device of its own, which many small members need, and one large model does not.
      report: writes and prints what a complete run has to say, given its folder.
    """
    logging.set_verbosity(logging.WARNING)  # checkpoints are chatty
    endings.warn_plainly()
    logging.logging.getLogger("asyncio").setLevel("CRITICAL")  # and so are their threads where a disk is full
    try:
        endings.require_flags_only(argv)
        return _run(spread, report or write_report)
    except (ValueError, OSError) as error:
        endings.say(error, sys.stderr)
        return _left(1)
    except KeyboardInterrupt:
        endings.say("Interrupted; what was saved is intact, and the same line goes on from there.", sys.stderr)
        return 130
    except Exception as error:
        if not _is_too_large(error):
            raise
        advice = "try fewer members at once, smaller batches, inputs or networks; what was saved is intact"
        endings.say(f"The study does not fit into this machine's memory ({advice}).", sys.stderr)
        return _left(1)
    finally:
        endings.hush_unread()


def _left(code: int) -> int:
    """The exit code of a process that cannot go on, and which no other may wait for."""
    from icl_sim.engine import hosts

    return hosts.leave(code)


def _is_too_large(error: Exception) -> bool:
    """Whether what failed is an allocation, or an array too large to be thought of."""
    words = ["RESOURCE_EXHAUSTED", "Out of memory", "exceeding 2 ** 64"]
    words += ["incompatible function arguments"]  # of XLA, and the others of Python: a size that is no 64-bit number
    words += ["index-sized integer", "to convert to C ssize_t"]
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _run(spread: bool, report: Callable[[str], None]) -> int:
    study_flags.require_config()
    if not _WORKDIR.value and not _DRY_RUN.value:
        raise ValueError("Where to? Give --workdir=DIR, the folder that keeps the run.")
    if _STOPPED_EXIT_CODE.value:  # before and after simulating, too; where jax connects processes it takes SIGTERM over
        for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(name, lambda *_: sys.exit(_STOPPED_EXIT_CODE.value))

    from icl_sim.engine import cache, hosts
    from icl_sim.engine.devices import require, share_all_cores, use_all_cores
    from icl_sim.engine.layout import Layout

    (use_all_cores if spread else share_all_cores)()  # before anything asks for a device
    hosts.connect(_DISTRIBUTED.value, coordinator=_COORDINATOR.value, processes=_PROCESSES.value, number=_PROCESS.value)
    require()
    cache.keep_compiled()
    from icl_sim.names import expanded
    from icl_sim.studies import runner, writers
    from icl_sim.studies.shards import Shard, pack

    shard = Shard.parse(_SHARD.value) if _SHARD.value else None
    study = study_flags.study()
    layout = Layout(data=_DATA_PARALLEL.value, at_once=_AT_ONCE.value, wave=_WAVE.value)
    writers.require(_LOG.value)
    if _DRY_RUN.value:
        endings.say(runner.checked(study, shard, layout).describe())
        return 0
    command = shlex.join(["python", *sys.argv])
    overdue = _end_at_once if _STOPPED_EXIT_CODE.value else None

    def prepare(planned: Plan) -> dict[str, Writer]:
        if _PROFILE.value:
            _profile(pack(planned, shard), layout)
        return writers.opened(_LOG.value if hosts.is_writer() else (), expanded(_WORKDIR.value), study, shard)

    status = runner.run(
        study,
        _WORKDIR.value,
        shard=shard,
        layout=layout,
        command=shlex.join(["python", *study_flags.without(sys.argv, "shard", "stopped_exit_code")]),
        overdue=overdue,
        prepare=prepare,
    )
    if not hosts.is_writer():  # who has nothing to say, and no folder
        return 0 if status.finished else _STOPPED_EXIT_CODE.value
    if not status.finished:
        endings.say(f"Stopped, with everything saved. The same again goes on from here:\n{command}")
        return _STOPPED_EXIT_CODE.value
    if not status.complete:
        endings.say(f"Shard {shard} is done; the last to finish writes the report.")
        return 0
    if not status.simulated:
        endings.say(f"All is done: {_WORKDIR.value} holds the whole study.")
    report(_WORKDIR.value)
    return 0


def _end_at_once() -> None:
    """For a scheduler that is about to kill the job: the code tells it to start the job again."""
    endings.say("This chunk takes too long to wait for; what was saved is intact.", sys.stderr)
    os._exit(_STOPPED_EXIT_CODE.value)


def _profile(groups: Sequence[tuple[Group, int]], layout: Layout) -> None:
    """Traces what --profile asks for, and says what there is to see."""
    from icl_sim.engine import hosts
    from icl_sim.names import expanded
    from icl_sim.studies import profile

    folder = f"{_WORKDIR.value}/profile" if _PROFILE.value == study_flags.GIVEN else _PROFILE.value
    trace = profile.traced(groups, expanded(folder), layout)
    if hosts.is_writer():
        endings.say(f"The trace is {trace}: open it on ui.perfetto.dev.\n{profile.to_text(trace)}")


def write_report(workdir: str) -> None:
    """Writes verdicts and report; a run without the packages for them is complete all the same."""
    from icl_sim.studies import report, verdicts

    try:
        found = report.write_report(workdir, tell=lambda sentence: endings.say(sentence, sys.stderr))
    except ModuleNotFoundError as error:
        endings.say(f"No report: {error.name} is not installed; pip install 'icl_sim[report]', then launch/report.py.")
        return
    if found:
        endings.say(verdicts.to_text(found))
    endings.say(f"The report is {Path(workdir) / report.REPORT}.")


if __name__ == "__main__":
    app.run(main, flags_parser=study_flags.parse_flags)
