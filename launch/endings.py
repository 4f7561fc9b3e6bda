"""What commands say: how they end, with exit code 0 or with a sentence about what is wrong and another; warnings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from logging import LogRecord
from typing import TextIO

from absl import logging


def ended(work: Callable[[], int | None], interrupted: str = "") -> int:
    """The exit code of a command that does this; what is wrong is told in a sentence.

    Args:
      interrupted: what to say after Ctrl-C.
    """
    try:
        return work() or 0
    except BrokenPipeError:  # who reads the output has seen enough
        hush_unread()
        return 0
    except (ValueError, OSError) as error:
        say(error, sys.stderr)
        return 1
    except KeyboardInterrupt:
        if interrupted:
            say(interrupted, sys.stderr)
        return 130


class _Plain(logging.PythonFormatter):
    """Warnings of the library stand alone, without the date, process and line that absl puts before all others."""

    def format(self, record: LogRecord) -> str:
        return record.getMessage() if record.name == "icl_sim" else super().format(record)


def warn_plainly() -> None:
    """Shows what the library warns of as plain sentences."""
    logging.get_absl_handler().setFormatter(_Plain())


def say(text: object, stream: TextIO | None = None) -> None:
    """Prints what the exit code does not depend on, on standard output by default, be it read or not.

    Ctrl-C ends `tee` before what it listens to, and a log can be on a disk that is full.
    """
    try:
        print(text, file=stream or sys.stdout, flush=True)
    except OSError:
        hush_unread()


def hush_unread() -> None:
    """Has what can no longer be written go nowhere; else Python would find that out at its end, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def require_flags_only(argv: Sequence[str]) -> None:
    """Raises ValueError if what is left of the arguments, after the name of the command, is not empty."""
    if len(argv) > 1:
        raise ValueError(f"Unknown argument {argv[1]!r}; all arguments are flags, see --help.")
