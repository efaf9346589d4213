"""Compressed request bodies: opened piece by piece as they come, so that what they become is bounded like
any other body, and no piece of it keeps the event loop."""

import zlib

from starlette.types import Message, Receive

GZIP = (b"gzip", b"x-gzip")
PIECE = 256_000  # bytes that are opened at a time: about a millisecond


class BrokenBody(Exception):
    """What came is not what Content-Encoding says."""


class GzipBody:
    """The messages of a body as if it had not been compressed. `receive` raises BrokenBody."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gzip = zlib.decompressobj(wbits=31)
        self._rest = b""  # compressed, and not opened yet
        self._more = True  # of what is compressed is to come

    async def receive(self) -> Message:
        if not (self._rest or self._more):
            return await self._receive()  # of a disconnect
        if not self._rest:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._rest, self._more = message.get("body", b""), bool(message.get("more_body"))
        return self._open()

    def _open(self) -> Message:
        try:
            body = self._gzip.decompress(self._rest, PIECE)
        except zlib.error:
            raise BrokenBody from None
        self._rest = self._gzip.unconsumed_tail
        is_done = not (self._rest or self._more)
        if self._gzip.unused_data or (is_done and not self._gzip.eof):
            raise BrokenBody
        return {"type": "http.request", "body": body, "more_body": not is_done}
