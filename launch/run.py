"""Runs a study: trains, evaluates, sweeps, resumes, and writes the verdicts and the report.

    python launch/run.py --config=configs/icl_iwl/p_high.py:quick --workdir=DIR [--config.task.p_high=0.5]
                         [--sweep="task.p_high=0.5,0.9,0.99; seed=0..4"] [--shard=2/8] [--dry_run]

The same line again goes on where the last run stopped, or says that all is done. SIGTERM and Ctrl-C end the run after
the current chunk, with everything saved. With --shard=i/n a job does its share of the members; any of the n can be
started anywhere, at any time and again, and the last to finish writes the report.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Configs import their neighbours, as in `from configs.icl_iwl.claims import CLAIMS`.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags, logging  # noqa: E402
from ml_collections import ConfigDict, config_flags  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", None, "The study: FILE, or FILE:VARIANT as in p_high.py:quick.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run; it is made if it does not exist.")
_SWEEP = flags.DEFINE_string(
    "sweep", "", 'Replaces axes of the study, or adds some, as in "task.num_sequences=2^6..2^20:2; seed=0..4".'
)
_SHARD = flags.DEFINE_string("shard", "", "Do only part i of n of the study, as in 2/8, all parts in one --workdir.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be simulated, and end.")


def main(argv: list[str], *, spread: bool = True, report: Callable[[str], None] | None = None) -> int:
    """Runs the study that the flags name.

    Args:
      spread: make every core a device of its own, which many small members need, and one large model does not.
      report: writes and prints what a complete run has to say, given its folder.
    """
    logging.set_verbosity(logging.WARNING)  # checkpoints are chatty
    logging.logging.getLogger("asyncio").setLevel("CRITICAL")  # and so are their threads where a disk is full
    try:
        if len(argv) > 1:
            raise ValueError(f"Unknown argument {argv[1]!r}; all arguments are flags, see --help.")
        return _run(spread, report or write_report)
    except BrokenPipeError:  # who reads the output has seen enough; the run itself is complete
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; what was saved is intact, and the same line goes on from there.", file=sys.stderr)
        return 130
    except Exception as error:
        if not _is_too_large(error):
            raise
        advice = "try fewer members at once, smaller batches, inputs or networks; what was saved is intact"
        print(f"The study does not fit into this machine's memory ({advice}).", file=sys.stderr)
        return 1


def _is_too_large(error: Exception) -> bool:
    """Whether what failed is an allocation, or an array too large to be thought of."""
    # The last is how XLA refuses a size that is no 64-bit number.
    words = ("RESOURCE_EXHAUSTED", "Out of memory", "exceeding 2 ** 64", "incompatible function arguments")
    return isinstance(error, MemoryError | OverflowError) or any(word in str(error) for word in words)


def _run(spread: bool, report: Callable[[str], None]) -> int:
    if _CONFIG.value is None:
        raise ValueError("Which study? Give --config=FILE, as in --config=configs/icl_iwl/p_high.py:quick.")
    if not _WORKDIR.value and not _DRY_RUN.value:
        raise ValueError("Where to? Give --workdir=DIR, the folder that keeps the run.")

    from icl_sim.engine.devices import use_all_cores

    if spread:
        use_all_cores()  # before anything asks for a device
    from icl_sim.studies import codec, runner, sweep
    from icl_sim.studies.plan import plan, refuse_overridden
    from icl_sim.studies.rehearsal import rehearse
    from icl_sim.studies.shards import Shard

    shard = Shard.parse(_SHARD.value) if _SHARD.value else None
    if not isinstance(_CONFIG.value, ConfigDict):
        raise ValueError("get_config of the study file must return icl_sim.config_of(study).")
    study = codec.study_of(_CONFIG.value)
    study = dataclasses.replace(study, sweep=sweep.overridden(study.sweep, sweep.parse(_SWEEP.value)))
    changes = config_flags.get_override_values(flags.FLAGS["config"])
    refuse_overridden(study, changes)
    study = dataclasses.replace(study, description=_described(study.description, changes, _SWEEP.value))
    if _DRY_RUN.value:
        planned = plan(study)
        rehearse(planned)
        print(planned.describe())
        return 0
    command = shlex.join(["python", *sys.argv])
    status = runner.run(study, _WORKDIR.value, shard=shard, command=command)
    if not status.finished:
        print(f"Stopped, with everything saved. The same again goes on from here:\n{command}")
        return 0
    if not status.complete:
        print(f"Shard {shard} is done; the last to finish writes the report.")
        return 0
    if not status.simulated:
        print(f"All is done: {_WORKDIR.value} holds the whole study.")
    report(_WORKDIR.value)
    return 0


def _described(description: str, changes: Mapping[str, Any], swept: str) -> str:
    """The description of a study with what the command line changed of it, which it might contradict."""
    told = [f"{name} = {value}" for name, value in changes.items() if not str(name).endswith("_dir")]
    told += [f"swept {swept.strip().rstrip(';')}"] if swept.strip() else []
    return " ".join(filter(None, [description, f"Changed on the command line: {'; '.join(told)}." if told else ""]))


def write_report(workdir: str) -> None:
    """Writes verdicts and report; a run without the packages for them is complete all the same."""
    from icl_sim.studies import report, verdicts

    try:
        found = report.write_report(workdir)
    except ModuleNotFoundError as error:
        print(f"No report: {error.name} is not installed; pip install 'icl_sim[report]', then launch/report.py.")
        return
    if found:
        print(verdicts.to_text(found))
    print(f"The report is {Path(workdir) / report.REPORT}.")


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; what is wrong with one, or with the study file, ends the program with a sentence."""
    for path in _study_files(argv):  # whose neighbours may hold tasks and learners of its own
        sys.path.append(str(path.absolute().parent))
    try:
        rest = flags.FLAGS(argv)
        _ = _CONFIG.value is not None and dict(_CONFIG.value)  # a file that cannot be read is told on first use
        return rest
    except Exception as error:  # absl and ml_collections wrap what a study file raises in several kinds of their own
        print(_missing_file(argv) or _unknown_setting(argv) or _sentence(error), file=sys.stderr)
        sys.exit(1)


def _missing_file(argv: Sequence[str]) -> str:
    """What to say if there is no study file of the name given, with the nearest name; empty if there is."""
    for path in _study_files(argv):
        if not path.is_file():
            near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
            return f"There is no study file {path}." + (f" Did you mean {path.parent / near[0]}?" if near else "")
    return ""


def _study_files(argv: Sequence[str]) -> list[Path]:
    return [Path(value.partition(":")[0]) for value in _configs(argv)]


def _configs(argv: Sequence[str]) -> list[str]:
    """What --config is given, FILE or FILE:VARIANT."""
    given = [value for arg, value in itertools.pairwise([*argv, ""]) if arg in ("--config", "-config")]
    return given + [arg.partition("=")[2] for arg in argv if arg.startswith(("--config=", "-config="))]


def _unknown_setting(argv: Sequence[str]) -> str:
    """What to say of the first override that names nothing of the study, with the nearest name; empty if all do."""
    from icl_sim.names import suggestion

    here = _as_written(argv)
    names = (re.match(r"--?config\.([^=]+)", arg) for arg in argv)
    for name in (found[1] for found in names if found and here):
        inner: Any = here
        for depth, part in enumerate(path := name.split(".")):
            whole = ".".join(path[:depth]) or "The study"
            if not isinstance(inner, ConfigDict):
                return f"{whole} is {inner!r}, which has no {part!r}; give --config.{whole} as a whole."
            if part not in inner:
                return f"{whole} has no setting {part!r}; {suggestion(part, inner)}"
            inner = inner[part]
    return ""


def _as_written(argv: Sequence[str]) -> ConfigDict | None:
    """The study file's config without any override; None where it has none."""
    given = [f"--config={value}" for value in _configs(argv)]
    values = flags.FlagValues()
    try:
        holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["run.py", *given])
        values(["run.py", *given])
        return holder.value if isinstance(holder.value, ConfigDict) else None
    except Exception:  # of which the first reading tells
        return None


_UNREADABLE = {  # what parsers of flags say, and what a reader of it wants to know
    r"invalid literal for int\(\).*": "it must be a whole number",
    r"could not convert string to float.*": "it must be a number",
    r"\('Non-boolean argument.*": "it must be true or false",
    r"Failed to parse .* as a ConfigDict.*": "it must name its kind and fields, as in \"{'kind': 'KIND', 'FIELD': 1}\"",
}


def _sentence(error: BaseException) -> str:
    """An error in one line: its suggestion of another name if there is one, else what went wrong at its root."""
    chain = [error]
    while error := error.__cause__ or error.__context__:
        chain.append(error)
    texts = [str(e.args[0] if e.args else e) for e in chain]
    if isinstance(chain[0], flags.Error) and "Traceback" not in texts[0]:
        for pattern, told in _UNREADABLE.items():
            texts[0] = re.sub(f"^flag (.*?): {pattern}", rf"\1 cannot be read: {told}.", texts[0], flags=re.DOTALL)
        return texts[0]
    root = chain[-1]
    if isinstance(root, ValueError):
        return texts[-1]
    if isinstance(root, SyntaxError):
        return f"{root.filename}, line {root.lineno}, is not valid Python: {root.msg}."
    if isinstance(root, AttributeError) and "get_config" in texts[-1]:
        return "The file of --config has no get_config, so it is no study file."
    return f"The study file cannot be read: {type(root).__name__}: {texts[-1]}."


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
