"""What is kept between runs on this machine, in a private folder: compiled programs, and which layout was fastest."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import stat
from pathlib import Path

import jax

log = logging.getLogger("icl_sim")

VARIABLE = "ICL_SIM_CACHE"  # names another folder; "off" for none
MOST_BYTES = 4 * 2**30  # of compiled programs, the least recently used going first


def folder() -> Path | None:
    """The folder, made if need be; None where none is wanted, can be made or is private.

    What is compiled is code, so a folder that others may write to is not read.
    """
    named = os.environ.get(VARIABLE, "")
    if named == "off":
        return None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(named) if named else Path(home) / "icl_sim"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = path.stat()
    except OSError:
        return None
    is_private = found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return path if is_private and os.access(path, os.W_OK) else None


def keep_compiled() -> None:
    """Lets jax keep what it compiles, and find it again, unless the user has told jax where. Call it before compiling.

    Programs for CPUs hold instructions of the CPU that they were compiled on: each kind has a folder of its own, since
    the machines of a cluster share a home.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    if (path := folder()) is None:
        if (named := os.environ.get(VARIABLE, "off")) not in ("", "off"):
            log.warning(
                "%s is %r, no folder that you alone may write to: nothing is kept between runs.", VARIABLE, named
            )
        return
    jax.config.update("jax_compilation_cache_dir", str(path / "compiled" / _kind_of_cpu()))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)


def _kind_of_cpu() -> str:
    """Of the instructions that this CPU has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        said = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        said = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {said}".encode()).hexdigest()[:12]
