"""Rows of predictions that run before they are written. Knows no model and no caller."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from app.domain.errors import Unavailable

log = structlog.get_logger(__name__)

Row = TypeVar("Row")
KEEP_TRYING_SECONDS = 300.0
RETRY_SECONDS = 0.5
AT_RISK_SECONDS = 1.0


async def insert_late(insert: Callable[[Row], Awaitable[Any]], row: Row, prediction_id: str) -> bool:
    """Whether it is written, after tries for some minutes while Postgres is away. Never raises."""
    until = time.monotonic() + KEEP_TRYING_SECONDS
    while True:
        try:
            await insert(row)
        except Unavailable as error:
            if time.monotonic() < until:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            log.error("late_record_given_up", prediction=prediction_id, reason=error.detail)
            return False
        except Exception:  # its caller has been answered, or will be
            log.exception("late_record_broken", prediction=prediction_id)
            return False
        return True


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
