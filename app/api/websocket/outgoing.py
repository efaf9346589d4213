"""The messages to one client: a bounded queue, and a task that sends them. Knows no services."""

import asyncio
import contextlib
from typing import Any

from pydantic import BaseModel
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.websocket import messages as wire
from app.domain.errors import InvalidRequest, LovageError

QUEUED = 256  # messages that wait for a slow client
QUEUED_EVENTS = QUEUED // 2  # then events of topics are dropped; output waits in Redis and Postgres


class Outgoing:
    """`start` before anything is written; `stop` when the client has left."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._queue: asyncio.Queue[BaseModel] = asyncio.Queue(QUEUED)
        self._sender: asyncio.Future[None]
        self._dropped = 0  # events since the last one that was sent

    def start(self) -> None:
        self._sender = asyncio.ensure_future(self._send())

    def stop(self) -> None:
        self._sender.cancel()

    @property
    def is_broken(self) -> bool:
        """Whether the client is gone: nothing is sent any more."""
        return self._sender.done()

    @property
    def is_full(self) -> bool:
        return self._queue.full()

    async def write(self, message: BaseModel) -> None:
        """Waits while the client's queue is full: whoever produces for it is slowed down, nothing piles up.

        Raises WebSocketDisconnect when nothing is sent any more: the queue will stay full.
        """
        if not self._queue.full():
            self._queue.put_nowait(message)
            return
        put = asyncio.ensure_future(self._queue.put(message))
        try:
            await asyncio.wait((put, self._sender), return_when=asyncio.FIRST_COMPLETED)
            if not put.done():
                raise WebSocketDisconnect(1006)
        finally:
            put.cancel()

    async def flush(self) -> None:
        """Waits until everything written so far is sent, or the client is gone."""
        sent = asyncio.ensure_future(self._queue.join())
        try:
            await asyncio.wait((sent, self._sender), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sent.cancel()

    async def write_error(
        self, error: LovageError, request_id: str | None, prediction_id: str | None = None
    ) -> None:
        field = error.fields[0].field if isinstance(error, InvalidRequest) and error.fields else None
        await self.write(
            wire.ErrorOut(
                request_id=request_id,
                code=error.code,
                detail=error.detail.strip(),
                field=field,
                retry_after=error.retry_after,
                prediction_id=prediction_id,
            )
        )

    def write_event(self, topic: str, data: dict[str, Any]) -> None:
        """An event is dropped, and counted, rather than kept for a slow client."""
        if self._queue.qsize() >= QUEUED_EVENTS:
            self._dropped += 1
            return
        self._queue.put_nowait(wire.EventOut(topic=topic, data=data, dropped=self._dropped))
        self._dropped = 0

    async def _send(self) -> None:
        with contextlib.suppress(WebSocketDisconnect):  # the client is gone; the session's receive ends too
            while True:
                message = await self._queue.get()
                await self._socket.send_text(message.model_dump_json(exclude_none=True))
                self._queue.task_done()
