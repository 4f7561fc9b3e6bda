"""What commands say: how they end, with exit code 0 or with a sentence about what is wrong and another; warnings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from logging import LogRecord

from absl import logging


def ended(work: Callable[[], int | None], interrupted: str = "") -> int:
    """The exit code of a command that does this; what is wrong is told in a sentence.

    Args:
      interrupted: what to say after Ctrl-C.
    """
    try:
        return work() or 0
    except BrokenPipeError:
        return unread()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if interrupted:
            print(interrupted, file=sys.stderr)
        return 130


class _Plain(logging.PythonFormatter):
    """Warnings of the library stand alone, without the date, process and line that absl puts before all others."""

    def format(self, record: LogRecord) -> str:
        return record.getMessage() if record.name == "icl_sim" else super().format(record)


def warn_plainly() -> None:
    """Shows what the library warns of as plain sentences."""
    logging.get_absl_handler().setFormatter(_Plain())


def unread() -> int:
    """The exit code where who reads the output has seen enough; Python is kept from finding that out again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def require_flags_only(argv: Sequence[str]) -> None:
    """Raises ValueError if what is left of the arguments, after the name of the command, is not empty."""
    if len(argv) > 1:
        raise ValueError(f"Unknown argument {argv[1]!r}; all arguments are flags, see --help.")
