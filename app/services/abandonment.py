"""Predictions that are to stop when nobody reads their stream any more (`on_disconnect: cancel`). Knows no HTTP.

Readers are counted by Redis itself: every API process with a reader listens to the prediction's channel, and a process that
dies stops listening. While Redis cannot tell, or has just come back, nothing is stopped: others may be reading.
"""

import asyncio
from concurrent.futures import Executor

import structlog

from app.domain.errors import LovageError
from app.domain.predictions import Prediction
from app.events.reader import EventReader
from app.services.lifecycle import Lifecycle

log = structlog.get_logger(__name__)

REASON = "Its last reader left (on_disconnect: cancel)."


class Abandonment:
    """One for each API process; called on its event loop."""

    def __init__(self, reader: EventReader, lifecycle: Lifecycle, threads: Executor) -> None:
        self._reader, self._lifecycle, self._threads = reader, lifecycle, threads
        self._looking: set[asyncio.Task[None]] = set()

    def left(self, prediction: Prediction) -> None:
        """A reader has gone before the end. Returns at once."""
        if prediction.stops_without_readers:
            task = asyncio.create_task(self._cancel_if_last(prediction.id))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _cancel_if_last(self, prediction_id: str) -> None:
        if not await self._reader.nobody_reads(prediction_id):
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._lifecycle.cancel, [prediction_id], REASON)
        except LovageError as error:
            log.warning("abandoned_prediction_runs_on", prediction=prediction_id, reason=error.detail)

    async def close(self) -> None:
        """Finishes what was begun."""
        await asyncio.gather(*self._looking)
