"""Messages between the engine and its model processes: length-prefixed JSON over a stream socket, never
pickles.

Knows the shape of `domain.work`'s events; not who sends what, nor when.
"""

import socket
import struct
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import orjson

from app.domain.work import Canceled, Chunk, Crashed, Event, Failed, Finished, Log, Progress, Started

HEADER = struct.Struct("!I")
# Larger than any sane output (a batch of 4,096 embeddings of 1,024 numbers is 90 MB); a longer prefix is a
# broken stream.
MAX_FRAME_BYTES = 512 * 1024 * 1024
RECEIVE_BYTES = 256 * 1024
OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY

KINDS: tuple[type[Event], ...] = (Started, Chunk, Log, Progress, Finished, Failed, Canceled, Crashed)
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}
_FIELDS = {kind: attrgetter(*kind.__slots__) for kind in KINDS}
_SINGLE = {kind for kind in KINDS if len(kind.__slots__) == 1}

Packed = list[Any]


class FrameError(ConnectionError):
    """The peer sent something that is no frame; the connection is of no more use."""


def _as_json(value: Any) -> Any:
    """Tensors and arrays of runtimes become lists; anything else is no JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def encode(message: object) -> bytes:
    """One frame. Raises TypeError when the message is not JSON (integers beyond 64 bits included)."""
    body = orjson.dumps(message, default=_as_json, option=OPTIONS)
    if len(body) > MAX_FRAME_BYTES:
        raise TypeError(f"{len(body)} bytes are more than the {MAX_FRAME_BYTES} that a message may have")
    return HEADER.pack(len(body)) + body


def pack(work_id: str, event: Event) -> Packed:
    """An event as JSON: [work id, kind, fields]."""
    kind = type(event)
    fields = _FIELDS[kind](event)
    return [work_id, _NUMBER[kind], [fields] if kind in _SINGLE else list(fields)]


def unpack(packed: Sequence[Any]) -> tuple[str, Event]:
    """The reverse of `pack`."""
    work_id, number, fields = packed
    return work_id, KINDS[number](*fields)


class FrameReader:
    """Reads whole messages, everything that has arrived at once, from a blocking stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._buffer = sock, bytearray()

    def read(self) -> list[Any]:
        """At least one message, or an empty list at the end of the stream. Raises FrameError, OSError."""
        messages: list[Any] = []
        while not messages:
            data = self._sock.recv(RECEIVE_BYTES)
            if not data:
                return []
            self._buffer += data
            messages = self._whole_messages()
        return messages

    def _whole_messages(self) -> list[Any]:
        messages, start = [], 0
        while (end := self._end(start)) is not None:
            messages.append(self._decode(start + HEADER.size, end))
            start = end
        del self._buffer[:start]
        return messages

    def _end(self, start: int) -> int | None:
        """Where the frame at `start` ends, None while it is not whole."""
        body = start + HEADER.size
        if len(self._buffer) < body:
            return None
        (length,) = HEADER.unpack_from(self._buffer, start)
        if length > MAX_FRAME_BYTES:
            raise FrameError(f"a frame of {length} bytes is to come, {MAX_FRAME_BYTES} are allowed")
        return body + length if len(self._buffer) >= body + length else None

    def _decode(self, start: int, end: int) -> Any:
        try:
            with memoryview(self._buffer) as whole, whole[start:end] as frame:
                return orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            raise FrameError(f"a frame was not JSON: {error}") from error
