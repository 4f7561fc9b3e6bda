"""Live progress: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from icl_sim.studies import remarks

if TYPE_CHECKING:
    from icl_sim.engine.simulate import Chunk

SECONDS_BETWEEN_LINES = 10.0
_SECONDS_OF_SPEED = 30.0  # the speed shown is that of about the last half minute


class Progress:
    """Shows how far a study is, how fast it goes and what its headline measures are. Use as a context
    manager.

    Args:
      updates: model updates of the whole study.
      headline: summaries to show, as means over the members that are being simulated.
      stream: where to show it, standard error by default.
    """

    def __init__(self, updates: int, headline: Sequence[str] = (), stream: TextIO | None = None):
        self._total, self._headline, self._stream = updates, tuple(headline), stream or sys.stderr
        self._done, self._errors, self._lost = 0, {}, ""
        self._warm, self._updates, self._seconds = False, 0.0, 0.0
        self._group, self._base, self._last_line = "", 0, -np.inf
        self._bar = None

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.description}"),
            )
            self._bar = Bar(*columns, console=Console(file=self._stream))
            self._task = self._bar.add_task("starting", total=max(self._total, 1))
            self._tell(self._bar.start)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._tell(self._bar.stop)

    def begin(self, group: str, updates_before: int) -> None:
        """A group begins, with this many of the study's updates done."""
        self._group, self._done, self._errors, self._lost = group, updates_before, {}, ""
        self._warm, self._updates, self._seconds = False, 0.0, 0.0
        self._show(f"{group}: starting", force=True)

    def done(self, updates: int) -> None:
        """So many updates of the group were done by earlier runs."""
        self._done += updates

    def update(self, chunk: Chunk, steps: int) -> None:
        """A chunk of the current group is done; the group's members make `steps` updates each."""
        self._done += chunk.updates
        if self._warm:
            fade = math.exp(-chunk.seconds / _SECONDS_OF_SPEED)
            self._updates, self._seconds = fade * self._updates + chunk.updates, fade * self._seconds + chunk.seconds
        self._warm = self._warm or chunk.save  # up to the end of the first full chunk it is mostly compilation
        if chunk.measures is not None:
            self._errors = headline_means(chunk.measures, self._headline) or self._errors
            lost = remarks.lost(chunk.measures)
            self._lost = f"no finite answers of {lost} member{'s' * (lost > 1)}" if lost else ""
        self._show(self.line(chunk.step, steps), force=chunk.step == steps)

    def line(self, step: int, steps: int) -> str:
        """What there is to say."""
        parts = [f"{self._group}, step {step:,}/{steps:,}"]
        if self._updates and self._seconds:
            rate = self._updates / self._seconds
            left = datetime.timedelta(seconds=round((self._total - self._done) / rate))
            parts += [f"{rate:,.0f} updates/s", f"{left} left"]
        parts += [f"{name} {value:.3f}" for name, value in self._errors.items()]
        return " | ".join([*parts, *filter(None, [self._lost])])

    def note(self, text: str) -> None:
        """A sentence that stays."""
        if self._bar is not None:
            self._tell(self._bar.console.print, text, markup=False, highlight=False)
        else:
            self._tell(print, text, file=self._stream, flush=True)

    def _show(self, line: str, *, force: bool) -> None:
        if self._bar is not None:
            self._tell(self._bar.update, self._task, completed=self._done, description=line)
        elif force or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._tell(print, line, file=self._stream, flush=True)

    def _tell(self, show: Callable[..., Any], *args: Any, **named: Any) -> None:
        """Shows something, be it seen or not: a closed pipe or terminal, or a full disk under a log, ends no run."""
        with contextlib.suppress(OSError):
            show(*args, **named)


def headline_means(measures: Mapping[tuple[str, str], np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Means over members of the named summaries; members that diverged are left out."""
    means = {}
    for name in names:
        if ("summary", name) in measures:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # all members diverged: the mean is NaN, and shown so
                means[name] = float(np.nanmean(measures["summary", name]))
    return means
