"""Back-pressure: refuses new predictions while too many wait already, for one user or in all.

Counts are read from Postgres beside the requests and kept for a moment; what this process accepts in between
is added. With several API processes the limits may be passed by what the others accept within that moment.
Knows no HTTP.
"""

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.db import queue_counts
from app.db.session import Database
from app.domain.errors import LovageError, TooMany

log = structlog.get_logger(__name__)

KEEP_SECONDS = 1.0
# A count that took long is kept for so many times as long, so that counting stays a small share.
KEEP_TIMES = 20.0
KEPT = 10_000
RETRY_SECONDS = 5.0


class TooManyWaiting(TooMany):
    code = "too_many_waiting"


@dataclass(slots=True)
class _Count:
    waiting: int = 0
    since: int = 0  # accepted here since the reading began: it may have come too early to see them
    until: float = 0.0
    reading: bool = False


class Backlog:
    """One for each API process, called on its event loop. A limit of 0 is none."""

    def __init__(self, database: Database, threads: Executor, *, each: int, all: int) -> None:
        self._database, self._threads = database, threads
        self._each, self._all = each, all
        self._users: dict[UUID | None, _Count] = {}
        self._total = _Count()

    def admit(self, user_id: UUID | None) -> None:
        """Counts one more. Raises TooManyWaiting. Never waits: a stale count is used while a fresh one is
        read."""
        if self._all:
            sentence = "In all, {} predictions wait, which is the most this server takes."
            self._check(self._total, self._all, None, sentence)
        if self._each:
            if user_id not in self._users and len(self._users) >= KEPT:
                self._users.clear()
            count = self._users.setdefault(user_id, _Count())
            sentence = "{} of your predictions wait, which is the most you may have."
            self._check(count, self._each, user_id, sentence)

    def _check(self, count: _Count, limit: int, user_id: UUID | None, sentence: str) -> None:
        if time.monotonic() >= count.until and not count.reading:
            count.reading, count.since = True, 0
            asyncio.get_running_loop().run_in_executor(self._threads, self._read, count, limit, user_id)
        if count.waiting >= limit:
            raise TooManyWaiting(
                sentence.format(f"{limit:,}") + " Try again when some have started.",
                retry_after=RETRY_SECONDS,
            )
        count.waiting += 1
        count.since += 1

    def _read(self, count: _Count, limit: int, user_id: UUID | None) -> None:
        began = time.monotonic()
        try:
            count.waiting = self._waiting(count, limit, user_id) + count.since
        except LovageError:
            log.debug("backlog_not_counted")
        finally:
            took = time.monotonic() - began
            count.until = time.monotonic() + max(KEEP_SECONDS, KEEP_TIMES * took)
            count.reading = False

    def _waiting(self, count: _Count, limit: int, user_id: UUID | None) -> int:
        with self._database.unit() as session:
            if count is self._total:
                return queue_counts.waiting(session, limit)
            return queue_counts.waiting_of_user(session, user_id, limit)
