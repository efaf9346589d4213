"""Predictions whose callers are gone: of a connection that takes its predictions along, or, for streams that
were asked to (`on_disconnect: cancel`), of the last reader. Knows no HTTP.

Readers are counted by Redis itself: every API process with a reader listens to the prediction's channel, and
a process that dies stops listening. While Redis cannot tell, or has just come back, nothing is stopped:
others may be reading.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

import structlog

from app.domain.errors import LovageError
from app.domain.predictions import Prediction
from app.events.reader import EventReader
from app.services.predictions.after_commit import Notifier
from app.services.predictions.lifecycle import Lifecycle

log = structlog.get_logger(__name__)

NO_READER = "Its last reader left (on_disconnect: cancel)."
NO_CALLER = "Its caller left."


class Disconnects:
    """One for each API process; called on its event loop."""

    def __init__(
        self, reader: EventReader, lifecycle: Lifecycle, notifier: Notifier, threads: Executor
    ) -> None:
        self._reader, self._lifecycle = reader, lifecycle
        self._notifier, self._threads = notifier, threads
        self._looking: set[asyncio.Task[None]] = set()

    def cancel_abandoned(self, ids: Sequence[str], reason: str = NO_CALLER) -> None:
        """Stops them. Returns at once.

        Their workers are notified first and the database is written after that: a commit takes as long as a
        model's step, or several, and the worker's own ending is the same `canceled`.
        """
        if ids:
            self._notifier.stop(ids)
            self._threads.submit(self._record, list(ids), reason)

    def _record(self, ids: list[str], reason: str) -> None:
        try:
            self._lifecycle.cancel(ids, reason)
        except LovageError as error:
            log.warning("abandoned_predictions_not_recorded", count=len(ids), reason=error.detail)
        except Exception:  # nobody looks at this thread's answer
            log.exception("abandoned_predictions_not_recorded", count=len(ids))

    def on_reader_left(self, prediction: Prediction) -> None:
        """A reader has gone before the end. Returns at once."""
        if prediction.stops_without_readers:
            task = asyncio.create_task(self._cancel_if_last(prediction.id))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _cancel_if_last(self, prediction_id: str) -> None:
        if await self._reader.nobody_reads(prediction_id):
            self.cancel_abandoned([prediction_id], NO_READER)

    async def close(self) -> None:
        """Finishes what was begun."""
        await asyncio.gather(*self._looking)
