"""What was run: `study.json`, the full config with its fingerprint, versions, commit, devices and all members."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icl_sim.names import expanded
from icl_sim.studies import records
from icl_sim.studies.files import StoreError

if TYPE_CHECKING:
    from icl_sim.studies.plan import Plan
    from icl_sim.studies.study import Study

STUDY = "study.json"
PACKAGES = (
    "icl_sim",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "pandas",
    "pyarrow",
    "ml_collections",
)
_PARTS = {  # what the parts of study.json are
    "name": str,
    "description": str,
    "fingerprint": str,
    "command": str,
    "config": dict,
    "versions": dict,
    "devices": list,
    "claims": list,
    "figures": list,
    "members": list,
}
_CONFIG = {"name": str, "task": dict, "training": dict, "headline": list}
_TRAINING = {"steps": int}
_MEMBER = {"predictor": str, "group": int, "steps": int}


def read(workdir: str | os.PathLike) -> dict[str, Any]:
    """What `study.json` says. Raises StoreError if there is none or if it is damaged."""
    path = expanded(workdir) / STUDY
    try:
        told = json.loads(path.read_text())
        _check(told)
        return told
    except FileNotFoundError:
        raise StoreError(f"{workdir} holds no {STUDY}, so it is not the folder of a study's run.") from None
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"{path} is damaged ({error}); without it {workdir} cannot be read or gone on with."
        ) from error


def _check(told: Any) -> None:
    """Raises ValueError, the end of a sentence, if what `study.json` says is not what readers of it rely on."""
    if not isinstance(told, dict) or not {"config", "members"} <= set(told):
        raise ValueError("it is not the description of a study")
    _check_kinds(told, _PARTS, "its ")
    _check_kinds(told["config"], _CONFIG, "its config.")
    _check_kinds(told["config"].get("training", {}), _TRAINING, "its config.training.")
    _check_kinds(told["config"].get("task", {}), {"kind": str}, "its config.task.")
    for number, member in enumerate(told["members"]):
        if not isinstance(member, dict) or not isinstance(member.get("point"), dict) or "predictor" not in member:
            raise ValueError("a member of it has no predictor or no point")
        _check_kinds(member, _MEMBER, f"member {number}'s ")
        _check_kinds(member["point"], {"training.steps": int}, f"of member {number}'s point ")
        if member["point"].keys() != told["members"][0]["point"].keys():
            raise ValueError(f"the points of its members 0 and {number} do not name the same")


def _check_kinds(told: Mapping[str, Any], kinds: Mapping[str, type], which: str) -> None:
    words = {str: "text", int: "whole number from 0"}
    for name, kind in kinds.items():
        value = told.get(name)
        sound = value is None or (isinstance(value, kind) and (kind is not int or 0 <= value < 2**31))
        if not sound:
            raise ValueError(f"{which}{name} is no {words.get(kind, kind.__name__)}")


def refuse_other(folder: Path, told: Mapping[str, Any], study: Study) -> None:
    """Raises StoreError unless the folder, of which this is told, is of the same study."""
    from icl_sim.studies import codec

    if "fingerprint" not in told:
        raise StoreError(f"{folder / STUDY} is damaged: it has no fingerprint. Choose another --workdir.")
    if told["fingerprint"] == codec.fingerprint(study):
        return
    there, here = told["config"], codec.jsonable(codec.encode(study))
    names = codec.differences(there, here)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    raise StoreError(
        f"{folder} holds the study {there.get('name')!r} ({told['fingerprint']}), not this {study.name!r} "
        f"({codec.fingerprint(study)}): they differ in {shown or 'how they were written'}. Choose another "
        f"--workdir."
    )


def of(study: Study, plan: Plan, command: str) -> dict[str, Any]:
    """What `study.json` says of a study that is planned so."""
    import jax

    from icl_sim.studies import codec

    place = {
        number: {"group": index, "steps": steps}
        for index, (group, steps) in enumerate(zip(plan.groups, plan.steps, strict=True))
        for number in group.ids
    }
    return {
        "name": study.name,
        "description": study.description,
        "fingerprint": codec.fingerprint(study),
        "command": command,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "devices": [device.device_kind for device in jax.devices()],
        "config": codec.jsonable(codec.encode(study)),
        "claims": records.encode(study.claims),
        "figures": records.encode(study.figures),
        "members": [
            {"id": entry.id, "predictor": entry.predictor, "point": codec.jsonable(entry.point), **place[entry.id]}
            for entry in plan.entries
        ],
    }


def to_bytes(told: Mapping[str, Any]) -> bytes:
    """The content of `study.json`."""
    return json.dumps(told, indent=1, allow_nan=False).encode()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this code is in, with a + if files were changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "") if commit.returncode == 0 else None
