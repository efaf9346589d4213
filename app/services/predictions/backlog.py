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
KEEP_TIMES = (
    20.0  # a count that took long is kept for so many times as long, so that counting stays a small share
)
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
        self._database, self._threads, self._each, self._all = database, threads, each, all
        self._users: dict[UUID | None, _Count] = {}
        self._total = _Count()

    def admit(self, user_id: UUID | None) -> None:
        """Counts one more. Raises TooManyWaiting. Never waits: a stale count is used while a fresh one is
        read."""
        if self._all:
            self._check(
                self._total,
                self._all,
                None,
                "In all, {} predictions wait, which is the most this server takes.",
            )
        if self._each:
            if user_id not in self._users and len(self._users) >= KEPT:
                self._users.clear()
            count = self._users.setdefault(user_id, _Count())
            self._check(
                count, self._each, user_id, "{} of your predictions wait, which is the most you may have."
            )

    def _check(self, count: _Count, limit: int, user_id: UUID | None, sentence: str) -> None:
        if time.monotonic() >= count.until and not count.reading:
            count.reading, count.since = True, 0
            total = count is self._total
            asyncio.get_running_loop().run_in_executor(
                self._threads, self._read, count, limit, user_id, total
            )
        if count.waiting >= limit:
            raise TooManyWaiting(
                sentence.format(f"{limit:,}") + " Try again when some have started.",
                retry_after=RETRY_SECONDS,
            )
        count.waiting += 1
        count.since += 1

    def _read(self, count: _Count, limit: int, user_id: UUID | None, total: bool) -> None:
        began = time.monotonic()
        try:
            with self._database.unit() as session:
                waiting = (
                    queue_counts.waiting(session, limit)
                    if total
                    else queue_counts.waiting_of_user(session, user_id, limit)
                )
            count.waiting = waiting + count.since
        except LovageError:
            log.debug("backlog_not_counted")
        finally:
            took = time.monotonic() - began
            count.until = time.monotonic() + max(KEEP_SECONDS, KEEP_TIMES * took)
            count.reading = False
