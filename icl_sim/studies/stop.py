"""Signals that ask a run to end: heard at any time, obeyed after the chunk at hand."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

from icl_sim.engine import hosts

STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)  # schedulers send one of the first three
PATIENCE = 8.0  # seconds that what may not last longer than ten has to come to the end of its chunk
SAME_WISH = 2.0  # seconds in which schedulers may send a signal again, to each process and through its parents


class Stop:
    """Hears signals as a wish to end after the current chunk; a second one ends at once."""

    def __init__(self, overdue: Callable[[], None] | None = None):
        self.asked = False
        self._heard_at, self._chunks = 0.0, 0
        self._before: dict[signal.Signals, Any] = {}
        self._overdue, self._ended = overdue, threading.Event()
        # Where several processes run one program, they have to agree on the chunk after which to stop: jax does that
        # for the signal that it listens to, which a handler of our own would take away from it.
        self._together = hosts.are_connected() and jax.config.values["jax_enable_preemption_service"]

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread() and not self._together:
            self._before = {name: signal.signal(name, self._hear) for name in STOPS}
            if self._overdue is not None:
                self._pipe = os.pipe()
                os.set_blocking(self._pipe[1], False)
                self._fd_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
                threading.Thread(target=self._watch, args=(self._overdue,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)
        self._ended.set()
        if self._before and self._overdue is not None:
            signal.set_wakeup_fd(self._fd_before)
            os.close(self._pipe[1])

    def after_chunk(self) -> bool:
        """Whether to stop here; in each of several processes to be asked after the same chunks."""
        if self._together and not self.asked:
            self._chunks += 1
            self.asked = multihost_utils.reached_preemption_sync_point(self._chunks)
        if self.asked:
            self._ended.set()
        return self.asked

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked and (number == signal.SIGINT or time.monotonic() - self._heard_at > SAME_WISH):
            signal.signal(number, self._before[signal.Signals(number)])
            signal.raise_signal(number)
            return
        if not self.asked:
            self.asked, self._heard_at = True, time.monotonic()
            with contextlib.suppress(OSError, RuntimeError):  # nobody may read it, or the signal came amid a print
                print("Finishing this chunk, then saving; once more ends at once.", file=sys.stderr, flush=True)

    def _watch(self, overdue: Callable[[], None]) -> None:
        """Waits for a signal, and then for the chunk. While XLA computes, no handler in Python is called."""
        while (heard := os.read(self._pipe[0], 1)) and heard[0] not in STOPS:
            pass  # a signal that somebody else hears
        if heard and not self._ended.wait(PATIENCE):
            overdue()
        os.close(self._pipe[0])
