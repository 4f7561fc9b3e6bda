"""Says on one screen what a run is at, whole or in shards, whether or not it is running.

    python launch/status.py --workdir=DIR
    python launch/status.py --workdir=DIR --watch=10   # again every 10 seconds, until all is done

It only reads: any number may look at a run while others write to it.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags  # noqa: E402

from launch import endings  # noqa: E402

_WORKDIR = flags.DEFINE_string("workdir", None, "The folder that launch/run.py writes to.")
_WATCH = flags.DEFINE_float("watch", None, "Look again every so many seconds, until all is done or Ctrl-C.")


def main(argv: list[str]) -> int:
    return endings.ended(lambda: _status(argv))


def _status(argv: list[str]) -> None:
    endings.require_flags_only(argv)
    if not _WORKDIR.value:
        raise ValueError("Which run? Give --workdir=DIR, the folder that launch/run.py writes to.")
    if _WATCH.value is not None and not 0.1 <= _WATCH.value < math.inf:
        raise ValueError(f"--watch is {_WATCH.value:g}; it must be a number of seconds, at least 0.1.")
    show(_WORKDIR.value, _WATCH.value)


def show(workdir: str, every: float | None, sleep: Callable[[float], None] = time.sleep) -> None:
    """Prints what a run is at; again every so many seconds until all is done."""
    from icl_sim.studies import status

    while True:
        found = status.read(workdir)
        if every is not None and sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        print(status.to_text(found), flush=True)
        if every is None or (found.is_done and found.is_tabulated):
            return
        sleep(every)
        if not sys.stdout.isatty():
            print()


if __name__ == "__main__":
    app.run(main)
