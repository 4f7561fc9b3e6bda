"""The flags that name a study, which several commands have: --config with its overrides, and --sweep.

    python launch/COMMAND.py --config=FILE:VARIANT --config.task.p_high=0.5 --sweep="seed=0..4"

A command imports this module, adopts its flags for its --help, and hands `parse_flags` to `app.run`.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict, config_flags

if TYPE_CHECKING:
    from icl_sim.studies.study import Study

CONFIG = config_flags.DEFINE_config_file("config", None, "The study: FILE, or FILE:VARIANT as in p_high.py:quick.")
SWEEP = flags.DEFINE_string(
    "sweep", "", 'Replaces axes of the study, or adds some, as in "task.num_sequences=2^6..2^20:2; seed=0..4".'
)

GIVEN = "true"  # the value of a flag of OptionalParser that is given without one


class OptionalParser(flags.ArgumentParser[str]):
    """For a flag that can be given alone or with a value, as in --profile and --profile=FOLDER."""

    def parse(self, argument: str | bool) -> str | None:
        text = str(argument).lower() if isinstance(argument, bool) else argument
        return None if text in ("", "false") else text


def require_config() -> None:
    """Raises ValueError if --config is not given."""
    if CONFIG.value is None:
        raise ValueError("Which study? Give --config=FILE, as in --config=configs/icl_iwl/p_high.py:quick.")


def study() -> Study:
    """The study that the flags name, with what they change of it. Raises ValueError in a sentence."""
    from icl_sim.studies import codec, sweep
    from icl_sim.studies.plan import refuse_overridden

    require_config()
    if not isinstance(CONFIG.value, ConfigDict):
        raise ValueError("get_config of the study file must return icl_sim.config_of(study).")
    found = codec.study_of(CONFIG.value)
    found = dataclasses.replace(found, sweep=sweep.overridden(found.sweep, sweep.parse(SWEEP.value)))
    changes = config_flags.get_override_values(flags.FLAGS["config"])
    refuse_overridden(found, changes)
    return dataclasses.replace(found, description=_described(found.description, changes, SWEEP.value))


def _described(description: str, changes: Mapping[str, Any], swept: str) -> str:
    """The description of a study with what the command line changed of it, which it might contradict."""
    told = [f"{name} = {value}" for name, value in changes.items() if not str(name).endswith("_dir")]
    told += [f"swept {swept.strip().rstrip(';')}"] if swept.strip() else []
    return " ".join(filter(None, [description, f"Changed on the command line: {'; '.join(told)}." if told else ""]))


def without(argv: Sequence[str], *names: str) -> list[str]:
    """Arguments without some flags that take a value, however it was given."""
    kept, left = [], list(argv)
    while left:
        name, given, _ = (arg := left.pop(0)).partition("=")
        if not (arg.startswith("-") and name.lstrip("-") in names):
            kept.append(arg)
        elif not given:
            left = left[1:]
    return kept


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; what is wrong with one, or with the study file, ends the program with a sentence."""
    for path in _study_files(argv):  # whose neighbours may hold tasks and learners of its own
        sys.path.append(str(path.absolute().parent))
    try:
        rest = flags.FLAGS(argv)
        _ = hasattr(type(CONFIG.value), "__getitem__") and dict(CONFIG.value)  # what cannot be read is told then
        return rest
    except Exception as error:  # absl and ml_collections wrap what a study file raises in several kinds of their own
        print(_missing_file(argv) or _unknown_setting(argv) or _sentence(error), file=sys.stderr)
        sys.exit(1)


def _missing_file(argv: Sequence[str]) -> str:
    """What to say if there is no study file of the name given, with the nearest name; empty if there is."""
    for path in _study_files(argv):
        if path == Path():
            return "--config is empty; give a study file, as in --config=configs/icl_iwl/p_high.py:quick."
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
    *_, frame = traceback.extract_tb(root.__traceback__)
    return f"The study file cannot be read: {type(root).__name__}: {texts[-1]} ({frame.filename}, line {frame.lineno})."
