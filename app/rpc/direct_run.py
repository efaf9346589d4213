"""One direct call's prediction while it runs: its events on the loop that serves the call."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from app.domain.predictions import Prediction, Status
from app.domain.raw_tensors import RawTensors
from app.domain.work import END, Chunk, Event, Failed, Finished, Restarted, list_files
from app.rpc.errors import RunEnded
from app.services.predictions.late_inserts import RecordsAtRisk

NOT_OURS = "This worker lost the prediction: it was taken for dead, or an administrator has moved it."
STOPPED = "The worker did not finish it: it stops, or the model's process died. Call another worker."


class DirectRun:
    """A Listener (worker/direct_runs.py). Made on the loop that reads it; `wants_events`: by `events`.
    `tensors`: of the input, as Work's. `risk`, of one that runs before it is written: a success is answered
    before that is written, as long as nothing has waited too long for that."""

    def __init__(
        self,
        prediction: Prediction,
        *,
        wants_events: bool,
        tensors: RawTensors | None = None,
        risk: RecordsAtRisk | None = None,
    ) -> None:
        self.prediction, self.tensors = prediction, tensors
        self.opened: Future[bool] | None = Future() if risk else None
        self._risk = risk
        self._loop = asyncio.get_running_loop()
        self._recorded: asyncio.Future[Status | None] = self._loop.create_future()
        self._answered: asyncio.Future[Status | None] = self._loop.create_future()
        self._events: asyncio.Queue[Event] | None = asyncio.Queue() if wants_events else None
        self._ending: Event | None = None
        self._chunks: list[Any] = []

    def on_event(self, event: Event) -> None:
        """Called by the engine's threads."""
        if isinstance(event, Chunk):
            self._chunks.append(event.data)
        elif isinstance(event, Restarted):
            self._chunks = []
        elif isinstance(event, END):
            self._ending = event
            if self._risk and isinstance(event, Finished) and not self.has_files:
                self._call_soon(self._answer_early, self._risk)
        if self._events is not None:
            self._call_soon(self._events.put_nowait, event)

    def on_recorded(self, status: Status | None) -> None:
        """Called by the writer's thread, or the engine's."""
        self._call_soon(self._resolve, status)

    def _call_soon(self, call: Any, argument: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call, argument)

    def _answer_early(self, risk: RecordsAtRisk) -> None:
        if not risk.is_too_late and not self._answered.done():
            risk.add(f"end of {self.prediction.id}")
            self._answered.set_result(Status.SUCCEEDED)

    def _resolve(self, status: Status | None) -> None:
        if self._risk:
            self._risk.discard(f"end of {self.prediction.id}")
        for future in (self._recorded, self._answered):
            if not future.done():
                future.set_result(status)
        if self._events is not None and self._ending is None:  # it ended before the engine had it
            self._events.put_nowait(Failed(STOPPED))

    async def events(self) -> AsyncIterator[Event]:
        """As they come; the last is the ending one."""
        assert self._events is not None
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, END):
                return

    def on_done(self, call: Callable[[], None]) -> None:
        """Calls it once the end is recorded."""
        self._recorded.add_done_callback(lambda _: call())

    async def answered(self) -> Status | None:
        """When its end is in Postgres, or may be answered before. None: it was not this worker's to
        record."""
        return await asyncio.shield(self._answered)

    @property
    def output(self) -> Any:
        """What the model answered, but for `output_tensors`."""
        ending = self._ending
        return self._chunks or (ending.output if isinstance(ending, Finished) else None)

    @property
    def output_tensors(self) -> RawTensors:
        """Those of the output that are bytes."""
        return self._ending.tensors if isinstance(self._ending, Finished) else {}

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(getattr(self._ending, "metrics", None) or {})

    @property
    def has_files(self) -> bool:
        """Whether the output names files, which have their addresses once they are stored."""
        return bool(list_files(self.output))

    def require_success(self, status: Status | None) -> None:
        """Raises RunEnded unless it is recorded as succeeded."""
        if status is Status.SUCCEEDED:
            return
        if status is None:
            raise RunEnded(NOT_OURS, "worker_crashed")
        if status is Status.CANCELED:
            raise RunEnded("The prediction was canceled.", None, is_canceled=True)
        if isinstance(self._ending, Failed):
            raise RunEnded(self._ending.error or "The model failed without a message.", self._ending.code)
        raise RunEnded(STOPPED, "worker_crashed")
