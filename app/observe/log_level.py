"""The level of a running process's log lines: SIGUSR2 lets debug lines through, the next one puts the level
of the settings back."""

import logging
import signal
import threading
from types import FrameType

import structlog

log = structlog.get_logger(__name__)
SWITCH = signal.SIGUSR2


def set_level(level: str) -> None:
    """From now on, for every logger that has no level of its own; `level` as in the settings."""
    logging.root.setLevel(level.upper())


def switch_on_signal(level: str) -> None:
    """In the main thread. `level`: what the second signal goes back to."""

    def switch(_number: int, _frame: FrameType | None) -> None:
        # By a thread: the main one may be in the middle of writing a line.
        threading.Thread(target=_switch, args=(level,)).start()

    signal.signal(SWITCH, switch)


def _switch(level: str) -> None:
    """Says so while lines pass."""
    if logging.root.level != logging.DEBUG:
        set_level("debug")
        log.warning("log_level", now="debug")
    else:
        log.warning("log_level", now=level)
        set_level(level)
