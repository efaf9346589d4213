"""Rows of predictions that run before they are written. Knows no model and no caller."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import structlog

from app.domain.errors import Unavailable

log = structlog.get_logger(__name__)

Row = TypeVar("Row")
KEEP_TRYING_SECONDS = 300.0
RETRY_SECONDS = 0.5
AT_RISK_SECONDS = 1.0
# Rows of so long are written together, and so are their ends: a statement for each call would take the
# model's processor while it runs, which is what its caller wanted to be spared.
GATHER_SECONDS = 0.2


class LateInserts(Generic[Row]):
    """One for each process that accepts predictions, on its event loop. `insert` coalesces."""

    def __init__(self, insert: Callable[[Row], Awaitable[Any]]) -> None:
        self._insert = insert
        self._waiting: list[tuple[Row, str, asyncio.Future[bool]]] = []
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, row: Row, prediction_id: str) -> "asyncio.Future[bool]":
        """Whether it is written in the end, after tries for some minutes while Postgres is away."""
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, prediction_id, written))
        if len(self._waiting) == 1:
            self._run(self._gather())
        return written

    def _run(self, step: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _gather(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), GATHER_SECONDS)
        group, self._waiting = self._waiting, []
        for row, prediction_id, written in group:
            self._run(self._write(row, prediction_id, written))

    async def _write(self, row: Row, prediction_id: str, written: "asyncio.Future[bool]") -> None:
        is_written = await self._insert_patiently(row, prediction_id)
        if not written.done():
            written.set_result(is_written)

    async def _insert_patiently(self, row: Row, prediction_id: str) -> bool:
        until = time.monotonic() + KEEP_TRYING_SECONDS
        while True:
            try:
                await self._insert(row)
            except Unavailable as error:
                if time.monotonic() < until and not self._closing.is_set():
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                log.error("late_record_given_up", prediction=prediction_id, reason=error.detail)
                return False
            except Exception:  # its caller has been answered, or will be
                log.exception("late_record_broken", prediction=prediction_id)
                return False
            return True

    async def close(self) -> None:
        """Writes what waits, at once."""
        self._closing.set()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


class RecordsAtRisk:
    """What would be lost of records if this process were killed now: on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: OrderedDict[str, float] = OrderedDict()

    def add(self, record: str) -> None:
        """Something is known here that is not written."""
        self._since.setdefault(record, self._clock())

    def discard(self, record: str) -> None:
        """It is written now."""
        self._since.pop(record, None)

    @property
    def is_too_late(self) -> bool:
        """Whether the oldest has waited so long that nothing may join it."""
        oldest = next(iter(self._since.values()), None)
        return oldest is not None and self._clock() - oldest > AT_RISK_SECONDS
