"""Amounts of users that Postgres knows (how much waits, how much is stored), kept for a moment beside the
requests that ask for them.

A request never waits: it decides by what is kept, and what this process has let in since the last reading is
added; a stale amount is read again on a thread. With several API processes a limit may be passed by what the
others let in within that moment.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from app.domain.errors import LovageError

log = structlog.get_logger(__name__)

# A reading that took long is kept for so many times as long, so that reading stays a small share.
KEEP_TIMES = 20.0
KEPT = 10_000

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Amount:
    value: int = 0
    since: int = 0  # let in here since the reading began
    until: float = 0.0
    reading: bool = False


class KeptAmounts(Generic[Key]):
    """Called on an event loop. `read` is called on the threads with the Unix milliseconds at which the
    reading began, and leaves out, where it can, what was made since: that is counted here. May raise
    LovageError."""

    def __init__(self, threads: Executor, read: Callable[[Key, int], int], keep_seconds: float) -> None:
        self._threads, self._read = threads, read
        self._keep_seconds = keep_seconds
        self._amounts: dict[Key, _Amount] = {}

    def add(self, key: Key, more: int, limit: int) -> bool:
        """Whether the amount was below the limit and `more` is added."""
        if key not in self._amounts and len(self._amounts) >= KEPT:
            self._amounts.clear()
        amount = self._amounts.setdefault(key, _Amount())
        if time.monotonic() >= amount.until and not amount.reading:
            amount.reading, amount.since = True, 0
            began = time.time_ns() // 1_000_000
            asyncio.get_running_loop().run_in_executor(self._threads, self._refresh, key, amount, began)
        if amount.value >= limit:
            return False
        amount.value += more
        amount.since += more
        return True

    def _refresh(self, key: Key, amount: _Amount, at: int) -> None:
        began = time.monotonic()
        try:
            amount.value = self._read(key, at) + amount.since
        except LovageError:
            log.debug("amount_not_read")
        finally:
            took = time.monotonic() - began
            amount.until = time.monotonic() + max(self._keep_seconds, KEEP_TIMES * took)
            amount.reading = False
