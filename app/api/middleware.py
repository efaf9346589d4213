"""What happens to every request before and after the routes, in pure ASGI: a request id, and limits on its
body.

Starlette's BaseHTTPMiddleware would cost every request a task and break streaming; this costs some
microseconds.
"""

import asyncio
import contextlib
import re
import secrets
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.body_encoding import OPENERS, BrokenBody, CompressedBody, Opener
from app.api.body_gate import HOLD
from app.api.creating_addresses import takes_large_bodies
from app.api.headers import LINKS
from app.api.methods import answer_head
from app.api.problems import SERVER_FAULT, encode_error
from app.api.server import Leaving
from app.domain.model_uploads import PART_BYTES

WHOLE_BODY = "whole_body"  # in a request's scope: it has arrived, so nothing of it is waited for
REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,64}\Z")
UPLOADS, MODELS = "/v1/files", "/v1/models"
MODEL_PART = re.compile(r"/v1/models/[^/]+/[^/]+/upload/[^/]+/\d+/\d+\Z")
MULTIPART_OVERHEAD = 64_000  # bytes of boundaries and other parts around an uploaded file
ACCOUNT_BODY = 64_000  # bytes, for what has names and settings in it only
MODEL_BODY = 1_000_000  # a model's schemas and configuration, however they are escaped
SILENCE_SECONDS = 30.0  # between two pieces of a body
SLOWEST = 25_000  # bytes a second that a body must come with on the whole, after SILENCE_SECONDS
LINGER_SECONDS = 2.0  # for the rest of a refused body: a client that is reset while it sends loses the answer

SENTENCES = {
    408: f"The body came too slowly: it must not pause for {SILENCE_SECONDS:.0f} s, nor be slower than"
    f" {SLOWEST:,} bytes a second on the whole.",
    413: "A request body may have at most {limit} bytes here.",
    400: "The body is not the gzip or zstd that its Content-Encoding says.",
    415: "Of compressed request bodies only gzip and zstd are accepted, as the one Content-Encoding.",
}


class RequestBounds:
    """Sets each request's id (the caller's own, if it is short and plain) and refuses bodies that are too
    large.

    A body is counted as it comes, because its declared length may be missing or a lie.
    """

    def __init__(self, app: ASGIApp, *, max_body: int, max_upload: int, leaving: Leaving) -> None:
        self._app = app
        self._max_body = max_body
        self._max_upload = max_upload
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await answer_head(self, scope, receive, send)
            return
        headers = dict(scope["headers"])
        scope["request_id"] = request_id(headers.get(b"x-request-id"))
        limit = self._limit_for(scope["path"])
        exchange = _Exchange(scope, limit, receive, send, self._leaving)
        if refusal := _refusal(headers, limit):
            await exchange.refuse(refusal)
            return
        if opener := OPENERS.get(headers.get(b"content-encoding", b"").lower()):
            exchange.open_body(opener())
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:  # the caller's, or ours: nobody reads an answer
            pass
        except Exception:  # a bug: answered here, within CORS, and raised on so that the server logs it
            await exchange.answer_fault()
            raise
        finally:
            if hold := scope.pop(HOLD, None):
                hold.release()

    def _limit_for(self, path: str) -> int:
        """The most bytes of a body: large inputs come to a few addresses only."""
        if path == UPLOADS:
            return self._max_upload + MULTIPART_OVERHEAD
        if takes_large_bodies(path):
            return self._max_body
        if MODEL_PART.match(path):
            return PART_BYTES
        return min(self._max_body, MODEL_BODY if path.startswith(MODELS) else ACCOUNT_BODY)


def request_id(header: bytes | None) -> str:
    """The caller's request id if it is short and plain, else a fresh one."""
    return header.decode() if header and REQUEST_ID.match(header) else secrets.token_hex(16)


def _refusal(headers: dict[bytes, bytes], limit: int) -> int | None:
    """The status with which a request is refused by its headers alone."""
    if headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b"", *OPENERS):
        return 415
    length = headers.get(b"content-length")
    return 413 if length and length.isdigit() and int(length[:20]) > limit else None


class _Exchange:
    """One request and its answer, watched."""

    __slots__ = (
        "_began",
        "_id",
        "_leaving",
        "_left",
        "_limit",
        "_more",
        "_receive",
        "_refused",
        "_scope",
        "_send",
        "_started",
    )

    def __init__(self, scope: Scope, limit: int, receive: Receive, send: Send, leaving: Leaving) -> None:
        self._scope = scope
        self._id = scope["request_id"]
        self._limit = limit
        self._left = limit  # bytes that the body may still have
        self._began = 0.0  # when the body was first waited for
        self._receive = receive
        self._send = send
        self._leaving = leaving
        self._started = False  # the answer's head is sent
        self._refused = False
        self._more = True  # of the body is to come

    def open_body(self, opener: Opener) -> None:
        """From now on the body is what comes of it, and its length is not known."""
        self._receive = CompressedBody(self._receive, opener).receive
        encoding = (b"content-encoding", b"content-length")
        self._scope["headers"] = [pair for pair in self._scope["headers"] if pair[0] not in encoding]

    async def receive(self) -> Message:
        if not self._more:
            return await self._receive()  # of a disconnect: for as long as the answer takes
        try:
            message = await self._next_piece()
        except TimeoutError:
            return await self._break_off(408)
        except BrokenBody:
            return await self._break_off(400)
        self._more = bool(message.get("more_body"))
        self._left -= len(message.get("body", b""))
        return message if self._left >= 0 else await self._break_off(413)

    async def _next_piece(self) -> Message:
        if WHOLE_BODY in self._scope:
            return await self._receive()
        async with asyncio.timeout(self._seconds_for_next_piece()):
            return await self._receive()

    def _seconds_for_next_piece(self) -> float:
        """Seconds that the next piece may take: a body that drips is given up like one that stops."""
        now = time.monotonic()
        self._began = self._began or now
        whole = SILENCE_SECONDS + (self._limit - self._left) / SLOWEST
        return min(SILENCE_SECONDS, self._began + whole - now)

    async def _break_off(self, status: int) -> Message:
        """Refuses amid the body; for the route it is as if the caller had gone."""
        if not self._started:
            await self.refuse(status)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._refused:
            return  # the answer has been given; whatever the route says now comes too late
        if message["type"] == "http.response.start":
            self._started = True
            standing = self._scope.get("limited")  # written where the caller is known
            limits = standing.headers() if standing else ()
            links = self._scope.get(LINKS)  # written where a page is made
            beside = ((b"link", ", ".join(links).encode("latin-1", "ignore")),) if links else ()
            last = ((b"connection", b"close"),) if self._leaving.begun else ()
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", self._id.encode()),
                *limits,
                *beside,
                *last,
            ]
        await self._send(message)

    async def answer_fault(self) -> None:
        """Answers a 500, unless an answer is on its way already."""
        if not self._started:
            body, kind = encode_error(self._scope, 500, SERVER_FAULT, self._id)
            headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
            await self.send({"type": "http.response.start", "status": 500, "headers": headers})
            await self.send({"type": "http.response.body", "body": body})

    async def refuse(self, status: int) -> None:
        """Answers at once, whatever the route says later; reads a little of what still comes, then closes the
        connection."""
        body, kind = encode_error(self._scope, status, SENTENCES[status].format(limit=self._limit), self._id)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", self._id.encode()),
        ]
        self._started = self._refused = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        with contextlib.suppress(TimeoutError, BrokenBody):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await self._receive()).get("more_body"):
                    pass
        await self._send({"type": "http.response.body", "body": b""})
