"""Server-sent events of one prediction, at the address that `urls.stream` holds. The token in it is the only
credential.

Written by hand rather than with FastAPI's own generator routes: one client cuts lines wherever Python's
splitlines does and drops every event without an id, and the content type must be bare (Starlette adds a
charset).
"""

import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import lru_cache
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.sse import KEEPALIVE_COMMENT
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.api.access_log import PREDICTIONS
from app.api.deps import ServicesDep, base_url
from app.api.problems import declared
from app.domain.errors import NotFound
from app.services.predictions.follow import with_data
from app.services.predictions.stream_tail import StreamEvent

router = APIRouter(tags=["Predictions"])

TOGETHER = 64  # events in one write at most; a reader that does not read holds no more than this
# Comments, which readers of events pass over and people see.
OFFLINE_COMMENT = b": Redis cannot be reached: output comes twice a second until it is back\n\n"
ONLINE_COMMENT = b": Redis is back\n\n"
Pieces = Literal["text", "json"]
PING_SECONDS = 10.0  # proxies and one client give a silent connection up after 15 to 30 s


@router.get(
    "/v1/streams/{token}",
    operation_id="streams.read",
    summary="Stream a prediction's output",
    response_class=Response,
    responses={
        200: {
            "description": "Events `output`, `restart`, `error` and `done`.",
            "content": {"text/event-stream": {}},
        },
        **declared(404, 410, 422),
    },
    openapi_extra={"security": []},
)
async def read_stream(
    request: Request,
    services: ServicesDep,
    token: str,
    pieces: Annotated[
        Pieces, Query(description="`json`: each piece as JSON, a text too: exact, whatever it holds.")
    ] = "text",
) -> Response:
    """All output from the start, however late you come; `Last-Event-ID` resumes after that event. After
    `restart` the output begins anew, and what came before is void.

    A stream that ends without `done` is to be resumed: the server is being restarted.
    """
    prediction_id = services.view.id_from_stream_token(token)
    if prediction_id is None:
        raise NotFound("The requested stream could not be found.")
    request.scope[PREDICTIONS] = (prediction_id,)
    follower = services.follower
    prediction = with_data(await follower.get(prediction_id))
    groups = follower.stream_groups(prediction, request.headers.get("last-event-id"), base_url(request))
    to_bytes = encode_exactly if pieces == "json" else encode
    body = with_pings(groups, PING_SECONDS, lambda: follower.is_live, to_bytes)
    return ReaderStream(body, lambda: services.disconnects.on_reader_left(prediction))


class ReaderStream(StreamingResponse):
    """Calls `left` when the reader went before the end. A server that stops is no reader that leaves: then
    clients resume."""

    def __init__(self, body: AsyncIterator[bytes], left: Callable[[], None]) -> None:
        super().__init__(body)
        self.headers.update(
            {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = gone = False

        async def receive_noting_disconnect() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def send_noting_end(message: Message) -> None:
            nonlocal whole
            whole = whole or not message.get("more_body", True)
            await send(message)

        await super().__call__(scope, receive_noting_disconnect, send_noting_end)
        if gone and not whole:
            self._left()


@lru_cache(TOGETHER)
def encode(event: StreamEvent) -> bytes:
    """An event on the wire, made once for all who read it at about the same time. Every line that Python's
    splitlines sees gets its own `data: ` with the space."""
    lines = event.data.splitlines() if event.data else []
    if not lines or event.data.splitlines(keepends=True)[-1] != lines[-1]:
        lines.append("")  # splitlines drops the empty line after a final line end
    data = "".join(f"data: {line}\n" for line in lines)
    return f"event: {event.event}\nid: {event.id}\n{data}\n".encode()


def encode_exactly(event: StreamEvent) -> bytes:
    """The same with an output's piece as JSON, on one line."""
    is_piece = event.event == "output"
    data = json.dumps(event.value, separators=(",", ":")) if is_piece else event.data
    return f"event: {event.event}\nid: {event.id}\ndata: {data}\n\n".encode()


async def with_pings(
    groups: AsyncGenerator[list[StreamEvent]],
    seconds: float,
    is_live: Callable[[], bool] = lambda: True,
    to_bytes: Callable[[StreamEvent], bytes] = encode,
) -> AsyncIterator[bytes]:
    """The events as bytes, those of a group together, and a comment when nothing was sent for `seconds` or
    `is_live` changes (looked at whenever a group comes, if only an empty one)."""
    yield KEEPALIVE_COMMENT  # at once: the reader learns that the stream is open
    sent, live = time.monotonic(), True
    async with contextlib.aclosing(groups) as opened:
        async for group in opened:
            for at in range(0, len(group), TOGETHER):
                yield b"".join(map(to_bytes, group[at : at + TOGETHER]))
                sent = time.monotonic()
            if is_live() is not live:
                live = not live
                yield ONLINE_COMMENT if live else OFFLINE_COMMENT
            if not group and time.monotonic() - sent >= seconds:
                yield KEEPALIVE_COMMENT
                sent = time.monotonic()
