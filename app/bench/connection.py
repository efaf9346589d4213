"""A frugal HTTP/1.1 connection: prepared bytes out, httptools' parser in. A usual client would be most of the
load it makes.

Knows HTTP. Does not know what a prediction is.
"""

import asyncio
import resource
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
from httptools import HttpParserError, HttpResponseParser

READ_BYTES = 65_536


def allow_connections() -> None:
    """As many open descriptors as the operating system lets this process have; its first bound is often
    1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Lost(Exception):
    """The server did not answer, or not with HTTP."""


@dataclass(frozen=True)
class Target:
    """A server and the headers that every request carries."""

    url: str
    headers: dict[str, str] = field(repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if urlsplit(self.url).scheme == "https" else None

    def request(self, method: str, path: str, body: Any = None, **more: str) -> bytes:
        """One request as bytes."""
        payload = b"" if body is None else orjson.dumps(body)
        lines = {
            "Host": urlsplit(self.url).netloc,
            "Content-Length": str(len(payload)),
            **self.headers,
            **more,
        }
        if body is not None:
            lines["Content-Type"] = "application/json"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        prefix = urlsplit(self.url).path.rstrip("/")
        return f"{method} {prefix}{path} HTTP/1.1\r\n{head}\r\n".encode() + payload


@dataclass
class _Answer:
    """What the parser has read of one answer."""

    parts: list[bytes] = field(default_factory=list)
    begun: bool = False
    whole: bool = False

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.whole = True


class Connection:
    """One keep-alive connection, used by one task at a time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connects, unless it is connected. Raises Lost."""
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection(
                    self._target.host, self._target.port, ssl=self._target.tls
                )
            except OSError as error:
                raise Lost(
                    f"{self._target.url} does not answer: {error.strerror or type(error).__name__}"
                ) from None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """(status, body). Raises Lost."""
        async with aclosing(self.parts(request)) as coming:
            parts = [(status, part) async for status, part in coming]
        return parts[-1][0], b"".join(part for _, part in parts)

    async def parts(self, request: bytes) -> AsyncGenerator[tuple[int, bytes], None]:
        """(status, piece of the body) as it comes; at least one, which may be empty. Raises Lost.

        Leave it before its end only to close the connection.
        """
        await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        answer = _Answer()
        parser = HttpResponseParser(answer)
        try:
            writer.write(request)
            while not answer.whole:
                data = await reader.read(READ_BYTES)
                if not data:
                    raise Lost("the connection was closed before the answer's end")
                parser.feed_data(data)
                if answer.begun:
                    yield parser.get_status_code(), b"".join(answer.parts)
                    answer.parts.clear()
        except (OSError, HttpParserError) as error:
            raise Lost(f"the connection broke: {error}") from None
        finally:
            if not answer.whole or not parser.should_keep_alive():
                self.close()

    def close(self) -> None:
        """Safe to call again."""
        if self._streams:
            self._streams[1].close()
            self._streams = None
