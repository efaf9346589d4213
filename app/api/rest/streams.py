"""Server-sent events of one prediction, at the address that `urls.stream` holds. The token in it is the only credential.

Written by hand rather than with FastAPI's own generator routes: one client cuts lines wherever Python's splitlines does and
drops every event without an id, and the content type must be bare (Starlette adds a charset).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.sse import KEEPALIVE_COMMENT
from starlette.responses import Response, StreamingResponse

from app.api.deps import Lovage
from app.api.problems import declared
from app.domain.errors import NotFound
from app.services.follow import StreamEvent

router = APIRouter(tags=["Predictions"])

PING_SECONDS = 10.0  # proxies and one client give a silent connection up after 15 to 30 s


@router.get(
    "/v1/streams/{token}",
    operation_id="streams.read",
    summary="Stream a prediction's output",
    response_class=Response,
    responses={
        200: {"description": "Events `output`, `error` and `done`.", "content": {"text/event-stream": {}}},
        **declared(404),
    },
    openapi_extra={"security": []},
)
async def read_stream(request: Request, services: Lovage, token: str) -> Response:
    """All output from the start, however late you come; `Last-Event-ID` resumes after that event."""
    prediction_id = services.assembly.core.view.id_from_stream_token(token)
    if prediction_id is None:
        raise NotFound("The requested stream could not be found.")
    await services.assembly.follower.get(prediction_id)
    events = services.assembly.follower.stream(prediction_id, request.headers.get("last-event-id"))
    answer = StreamingResponse(with_pings(events, PING_SECONDS))
    answer.headers.update({"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    return answer


def encode(event: StreamEvent) -> bytes:
    """An event on the wire. Every line that Python's splitlines sees gets its own `data: ` with the space."""
    lines = event.data.splitlines() if event.data else []
    if not lines or event.data.splitlines(keepends=True)[-1] != lines[-1]:
        lines.append("")  # splitlines drops the empty line after a final line end
    data = "".join(f"data: {line}\n" for line in lines)
    return f"event: {event.event}\nid: {event.id}\n{data}\n".encode()


async def with_pings(events: AsyncIterator[StreamEvent], seconds: float) -> AsyncIterator[bytes]:
    """The events as bytes, and a comment whenever nothing was sent for `seconds`."""
    yield KEEPALIVE_COMMENT  # at once: the reader learns that the stream is open
    upcoming: asyncio.Future[StreamEvent] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({upcoming}, timeout=seconds)
            if not done:
                yield KEEPALIVE_COMMENT
                continue
            try:
                event = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            yield encode(event)
    finally:
        if upcoming is not None and upcoming.cancel():
            with contextlib.suppress(asyncio.CancelledError):
                await upcoming
        await events.aclose()  # type: ignore[attr-defined]
