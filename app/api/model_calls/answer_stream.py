"""Streams made of the events of one or more predictions.

Knows predictions and their events; a StreamForm says what each looks like, a StreamWire how it is written.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.error_shapes import Shape, openai_shape
from app.api.model_calls.calls import Call, unless_left
from app.api.model_calls.edge_route import error_body
from app.api.model_calls.failures import RunFailed, failure_of
from app.domain.errors import LovageError
from app.domain.predictions import Prediction
from app.services.predictions.stream_tail import StreamEvent

QUEUED_AT_MOST = 64  # events of one stream that are read ahead of a slow caller
# Then a comment is sent: a queue, or a model that loads, may take longer than a proxy waits.
SILENT_SECONDS = 10.0
SILENCE = StreamEvent("", "silence", "")
LINE_ENDS = re.compile(rb"\xe2\x80[\xa8\xa9]|\xc2\x85")
COMMENT = b": waiting\n\n"

# These clients have no word for it, and would put two texts together.
RESTARTED = (
    "The model's process died, and its answer could not be continued: it would begin anew. Send the request"
    " again."
)

NumberedEvent = tuple[int, StreamEvent]  # the number of the prediction in its request, and its event
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StreamWire:
    """How a stream's parts are written. `end` closes one that is whole; `comment` is sent while nothing
    comes."""

    encode: Callable[[Line], bytes]
    shape: Shape  # of an error in mid-stream
    end: bytes = b""
    comment: bytes = b""
    media_type: str = "text/event-stream"


@dataclass(frozen=True, slots=True)
class StreamForm:
    """What is sent: `first`, then what `each` makes of an event of prediction number i, then `last()`.
    `outlives_reader`: a caller that leaves cancels nothing."""

    first: Sequence[Line]
    each: Callable[[int, StreamEvent], AsyncIterator[Line]]
    last: Callable[[], Awaitable[Sequence[Line]]]
    wire: StreamWire
    outlives_reader: bool = False


async def stream_answer(
    request: Request, call: Call, predictions: Sequence[Prediction], form: StreamForm
) -> "AnswerStream":
    """Answers when the first event is there, or after SILENT_SECONDS without one, so that a failure before it
    is an HTTP error. A caller that leaves, before or after, cancels its predictions. Raises RunFailed."""
    events = _merged(call, predictions)
    try:
        first = await _first(request, events)
        if first[1].event == "error":
            raise await _failure(call, predictions[first[0]])
    except BaseException:  # the predictions are canceled, then it is raised on
        if not form.outlives_reader:
            call.cancel(predictions)
        await events.aclose()
        raise
    return AnswerStream(call, predictions, first, events, form)


class AnswerStream(StreamingResponse):
    """Cancels the predictions when it ends before it is whole, however the server ends it."""

    def __init__(
        self,
        call: Call,
        predictions: Sequence[Prediction],
        first: NumberedEvent,
        events: AsyncGenerator[NumberedEvent, None],
        form: StreamForm,
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(self._body(), headers=headers, media_type=form.wire.media_type)
        self._call = call
        self._predictions = predictions
        self._first = first
        self._events = events
        self._form = form
        self._is_complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not (self._is_complete or self._form.outlives_reader):
                self._call.cancel(self._predictions)

    async def _body(self) -> AsyncIterator[bytes]:
        wire = self._form.wire
        try:
            for line in self._form.first:
                yield wire.encode(line)
            async for number, event in _from_first(self._first, self._events):
                if event is SILENCE:
                    yield wire.comment
                    continue
                if event.event == "error":
                    raise await _failure(self._call, self._predictions[number])
                if event.event == "restart":
                    raise RunFailed(500, RESTARTED, "stream_restarted")
                async for line in self._form.each(number, event):
                    yield wire.encode(line)
            for line in await self._form.last():
                yield wire.encode(line)
            yield wire.end
            self._is_complete = True
        except LovageError as error:  # a failed run, or a part is down: a sentence rather than a cut
            yield wire.encode(error_body(error, wire.shape))
        finally:
            await self._events.aclose()


def encode_event(body: Line) -> bytes:
    """One event on the wire. Line ends of Unicode are escaped: some clients split lines at them."""
    data = orjson.dumps(body)
    if LINE_ENDS.search(data):
        for line_end in (b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85"):
            data = data.replace(line_end, f"\\u{ord(line_end.decode()):04x}".encode())
    return b"data: " + data + b"\n\n"


OPENAI_EVENTS = StreamWire(encode_event, openai_shape, b"data: [DONE]\n\n", COMMENT)


async def _failure(call: Call, prediction: Prediction) -> RunFailed:
    return failure_of(await call.services.follower.get(prediction.id))


async def _first(request: Request, events: AsyncIterator[NumberedEvent]) -> NumberedEvent:
    """The first event. Raises RunFailed when the caller leaves before it."""
    upcoming: asyncio.Future[NumberedEvent] = asyncio.ensure_future(anext(events))
    try:
        return await unless_left(request, upcoming)
    finally:
        with contextlib.suppress(BaseException):
            await upcoming  # the events may be closed once nobody asks for the next


async def _from_first(
    first: NumberedEvent, events: AsyncIterator[NumberedEvent]
) -> AsyncIterator[NumberedEvent]:
    yield first
    async for event in events:
        yield event


async def _merged(call: Call, predictions: Sequence[Prediction]) -> AsyncGenerator[NumberedEvent, None]:
    """The events of all predictions as they come, SILENCE when none does for long, until each is done.

    Raises what ended a reader before that.
    """
    queue: asyncio.Queue[tuple[int, StreamEvent | Exception | None]] = asyncio.Queue(QUEUED_AT_MOST)
    tasks = [
        asyncio.ensure_future(_read(call, number, prediction, queue))
        for number, prediction in enumerate(predictions)
    ]
    try:
        unfinished = len(tasks)
        while unfinished:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    number, event = await queue.get()
            except TimeoutError:
                yield 0, SILENCE
                continue
            if isinstance(event, Exception):
                raise event
            if event is None:
                unfinished -= 1
            else:
                yield number, event
    finally:  # nothing is awaited: the caller may be gone, and every millisecond is a step of the model
        for task in tasks:
            task.cancel()


async def _read(
    call: Call,
    number: int,
    prediction: Prediction,
    queue: "asyncio.Queue[tuple[int, StreamEvent | Exception | None]]",
) -> None:
    """Puts a prediction's events, then None; or the exception that ended them."""
    try:
        events: Any = call.services.follower.stream(prediction.id)
        async with contextlib.aclosing(events):
            async for event in events:
                await queue.put((number, event))
        await queue.put((number, None))
    except Exception as error:  # noqa: BLE001 - passed on to who reads the queue, which raises it
        await queue.put((number, error))
