"""SIGINT, SIGTERM and SIGHUP as a count that the launcher's one loop looks at; SIGUSR2 for its programs.

Knows signals. Does not stop anything: it raises StopRequested where the loop asks, so that no state is left
half-made.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from types import FrameType, TracebackType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(Exception):
    """Somebody wants the platform to stop."""


class StopSignals:
    """Handlers for the time of a `with` block. `wakeup` turns readable when a signal came, also for an ended
    child."""

    def __init__(self) -> None:
        self.count = 0
        self._level_switches = 0
        self.wakeup, self._write_end = socket.socketpair()
        self._before: dict[signal.Signals, object] = {}

    def raise_if_asked(self) -> None:
        """Raise StopRequested once a stop signal has come."""
        if self.count:
            raise StopRequested

    def asked_twice(self) -> bool:
        """Whether a second stop signal came: kill at once."""
        return self.count >= 2

    def take_level_switch(self) -> bool:
        """Whether the programs are to write debug lines, or to stop that: once for each SIGUSR2."""
        if not self._level_switches:
            return False
        self._level_switches -= 1
        return True

    def wake(self) -> None:
        """Make `wakeup` readable, from any thread."""
        with contextlib.suppress(OSError):  # it is full, or closed
            self._write_end.send(b"\0")

    def clear_wakeup(self) -> None:
        """Make `wakeup` quiet again."""
        with contextlib.suppress(BlockingIOError):
            while self.wakeup.recv(4096):
                pass

    def __enter__(self) -> StopSignals:
        self.wakeup.setblocking(False)
        self._write_end.setblocking(False)
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            self._before[number] = signal.signal(number, self._count_one)
        self._before[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, self._count_level_switch)
        # A handler is what wakes the loop.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _do_nothing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if callable(handler) else signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        self.wakeup.close()
        self._write_end.close()

    def _count_one(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    def _count_level_switch(self, number: int, frame: FrameType | None) -> None:
        self._level_switches += 1


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass
