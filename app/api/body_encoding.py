"""Compressed request bodies: opened piece by piece as they come, so that what they become is bounded like
any other body, and no piece of it keeps the event loop."""

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from starlette.types import Message, Receive

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

PIECE = 256_000  # bytes that are opened at a time: about a millisecond
WINDOW_LOG = 23  # 8 MB of memory for zstd's window, which RFC 9659 wants of every receiver, and no more


class BrokenBody(Exception):
    """What came is not what Content-Encoding says."""


class Opener(Protocol):
    """Opens one compressed body. What it has not opened yet it keeps."""

    def open(self, compressed: bytes) -> bytes:
        """At most PIECE bytes of what it becomes. Raises zlib.error, ZstdError or EOFError."""

    def is_waiting(self) -> bool:
        """Whether there is nothing to open before more comes."""

    def is_whole(self) -> bool:
        """Whether the end was reached, and nothing came after it."""


class Gzip:
    """One gzip member."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    def open(self, compressed: bytes) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail or compressed, PIECE)

    def is_waiting(self) -> bool:
        return not self._inner.unconsumed_tail

    def is_whole(self) -> bool:
        return self._inner.eof and not self._inner.unused_data


class Zstd:
    """One zstd frame (RFC 8878)."""

    def __init__(self) -> None:
        self._inner = ZstdDecompressor(options={DecompressionParameter.window_log_max: WINDOW_LOG})

    def open(self, compressed: bytes) -> bytes:
        if self._inner.eof and not compressed:
            return b""
        return self._inner.decompress(compressed, PIECE)

    def is_waiting(self) -> bool:
        return self._inner.eof or self._inner.needs_input

    def is_whole(self) -> bool:
        return self._inner.eof and not self._inner.unused_data


OPENERS: dict[bytes, Callable[[], Opener]] = {b"gzip": Gzip, b"x-gzip": Gzip, b"zstd": Zstd}


class CompressedBody:
    """The messages of a body as if it had not been compressed. `receive` raises BrokenBody."""

    def __init__(self, receive: Receive, opener: Opener) -> None:
        self._receive, self._opener = receive, opener
        self._more = True  # of what is compressed is to come

    async def receive(self) -> Message:
        if not self._opener.is_waiting():
            return self._open(b"")
        if not self._more:
            return await self._receive()  # of a disconnect
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        self._more = bool(message.get("more_body"))
        return self._open(message.get("body", b""))

    def _open(self, compressed: bytes) -> Message:
        try:
            body = self._opener.open(compressed)
        except (zlib.error, ZstdError, EOFError):
            raise BrokenBody from None
        is_done = not self._more and self._opener.is_waiting()
        if is_done and not self._opener.is_whole():
            raise BrokenBody
        return {"type": "http.request", "body": body, "more_body": not is_done}
