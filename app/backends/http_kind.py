"""What all backends that speak JSON over HTTP have in common: addresses, the credential's header, what a
status means, server-sent events."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import orjson

from app.backends.base import BackendKind, JsonObject
from app.domain.backend_retry import Fault, UpstreamFailed
from app.outbound.async_client import Answer, CallFailed

LONGEST_ANSWER = 64_000_000  # bytes of a whole answer: 1,000 vectors of 4,096 numbers as JSON are 40 MB
LONGEST_ERROR = 64_000
LONGEST_LINE = 4_000_000  # bytes of one event
CHECK_SECONDS = 5.0
SHOWN = 300  # characters of an upstream's own words

BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
OF_SETUP = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
)


class HttpKind(BackendKind):
    """`default_path` is added to an address that has no path."""

    default_path = ""

    def url(self, path: str) -> str:
        base = self.address.url.rstrip("/")
        if self.default_path and urlsplit(base).path in ("", "/"):
            base += self.default_path
        return base + path

    def root_url(self, path: str) -> str:
        """Of an address beside the API's: its host's own."""
        parts = urlsplit(self.address.url)
        return f"{parts.scheme}://{parts.netloc}{path}"

    def headers(self) -> dict[str, str]:
        """The credential goes with every call."""
        credential = self.address.credential
        own = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "Lovage"}
        return own | ({"Authorization": f"Bearer {credential}"} if credential else {})

    @asynccontextmanager
    async def open(
        self,
        method: str,
        url: str,
        body: JsonObject | None = None,
        silence: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Answer]:
        """A successful answer; anything else is UpstreamFailed. `headers`: beside those of every call."""
        try:
            async with self.client.stream(
                method,
                url,
                silence=silence or self.address.silence_seconds,
                content=None if body is None else orjson.dumps(body),
                headers=self.headers() | dict(headers or {}),
            ) as answer:
                if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    raise await failure_of(answer)
                yield answer
        except CallFailed as error:
            raise UpstreamFailed(str(error)) from error

    async def ask(self, method: str, url: str, body: JsonObject | None = None, silence: float = 0.0) -> Any:
        """The JSON of a whole answer."""
        async with self.open(method, url, body, silence) as answer:
            return parse_json(await answer.read(LONGEST_ANSWER))

    async def ask_object(
        self, method: str, url: str, body: JsonObject | None = None, silence: float = 0.0
    ) -> JsonObject:
        """The same of an answer that is an object."""
        answer = await self.ask(method, url, body, silence)
        if not isinstance(answer, dict):
            raise UpstreamFailed("answered JSON that is no object", Fault.SETUP)
        return answer


async def failure_of(answer: Answer) -> UpstreamFailed:
    """What a status means, with the upstream's own words."""
    try:
        words = error_text(await answer.read(LONGEST_ERROR))
    except CallFailed:
        words = ""
    sentence = f"answered {answer.status}" + (f": {words}" if words else "")
    if answer.status in BUSY:
        return UpstreamFailed(sentence, Fault.BUSY, retry_after(answer.headers.get("retry-after", "")))
    if answer.status in OF_SETUP:
        return UpstreamFailed(sentence, Fault.SETUP)
    if answer.status < HTTPStatus.BAD_REQUEST:
        return UpstreamFailed(f"{sentence}; redirects are not followed", Fault.SETUP)
    is_input = (
        answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status != HTTPStatus.REQUEST_TIMEOUT
    )
    return UpstreamFailed(sentence, Fault.INPUT if is_input else Fault.BACKEND)


def error_text(body: bytes) -> str:
    """The sentence of an error's body, in whichever of the common shapes; else its beginning."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace").strip()[:SHOWN]
    for name in ("error", "detail", "message"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    return (value if isinstance(value, str) else orjson.dumps(value).decode())[:SHOWN].strip()


def retry_after(text: str) -> float | None:
    """The header's seconds, whether it is a number or a date."""
    text = text.strip()
    if text.isdecimal() and len(text) < 8:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def parse_json(body: bytes) -> Any:
    """Raises UpstreamFailed for what is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        shown = body[:80].decode("utf-8", "replace")
        raise UpstreamFailed(f"answered something that is no JSON: {shown!r}") from None


async def read_events(answer: Answer) -> AsyncIterator[bytes]:
    """The data of each server-sent event; events of several data lines are not used by these servers."""
    rest = b""
    async for block in answer.blocks():
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if len(rest) > LONGEST_LINE:
            raise UpstreamFailed(f"sent an event of more than {LONGEST_LINE} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
    if rest.startswith(b"data:"):
        yield rest[5:].strip()
