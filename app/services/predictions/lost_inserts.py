"""Predictions whose INSERT was sent and never answered: the connection broke, or Postgres kept silent for too
long. Their callers were answered that nobody knows whether they are recorded.

Who gave no Idempotency-Key will ask again, and is to get one prediction and not two: what turns out to be
recorded is canceled, as soon as Postgres answers. It may still be about to run the statement then, so it is
looked at for a while. Used on an event loop.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

import structlog

from app.domain.errors import Unavailable
from app.domain.predictions import Prediction

log = structlog.get_logger(__name__)

REASON = "The database's answer was lost when it was made, and its caller was answered so."
LOOK_SECONDS = 0.25
FOR_SECONDS = 10.0  # after Postgres has answered again
LONGEST_SECONDS = 600.0


class Canceling(Protocol):
    """Lifecycle's part that is needed here."""

    def cancel(self, ids: Sequence[str], reason: str | None = None) -> dict[str, Prediction]: ...


class LostInserts:
    """One for each API process."""

    def __init__(self, lifecycle: Canceling, threads: Executor) -> None:
        self._lifecycle, self._threads = lifecycle, threads
        self._tasks: set[asyncio.Task[None]] = set()

    def cancel(self, ids: Sequence[str]) -> None:
        """Those that turn out to be recorded. Returns at once."""
        if ids:
            log.warning("insert_without_answer", count=len(ids), first=ids[0])
            task = asyncio.create_task(self._cancel_all(set(ids)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _cancel_all(self, ids: set[str]) -> None:
        until = time.monotonic() + LONGEST_SECONDS
        has_answered = False
        while ids and time.monotonic() < until:
            try:
                recorded = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._lifecycle.cancel, sorted(ids), REASON
                )
            except Unavailable:
                recorded = {}
            else:
                until = until if has_answered else time.monotonic() + FOR_SECONDS
                has_answered = True
            if recorded:
                log.warning("lost_insert_canceled", count=len(recorded), first=min(recorded))
            ids -= recorded.keys()
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """Looks no further."""
        for task in self._tasks:
            task.cancel()
