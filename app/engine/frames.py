"""Messages between the engine and its model processes: length-prefixed JSON over a stream socket, never
pickles. Behind the JSON of a message its tensors may follow, as they are.

Knows the shape of `domain.work`'s events; not who sends what, nor when.
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import orjson

from app.domain.raw_tensors import Buffer, buffers_of, cut, describe
from app.domain.work import Canceled, Chunk, Crashed, Event, Failed, Finished, Log, Progress, Started

HEADER = struct.Struct("!I")
WITH_BYTES = 1 << 31  # in the header: so many bytes as the next header says follow the JSON
# Larger than any sane output (a batch of 4,096 embeddings of 1,024 numbers is 90 MB); a longer prefix is a
# broken stream.
MAX_FRAME_BYTES = 512 * 1024 * 1024
RECEIVE_BYTES = 256 * 1024
JOINED_BYTES = 64 * 1024  # what is shorter is copied into one piece with its neighbours
OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY

KINDS: tuple[type[Event], ...] = (Started, Chunk, Log, Progress, Finished, Failed, Canceled, Crashed)
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}
_FIELDS = {kind: attrgetter(*kind.__slots__) for kind in KINDS} | {Finished: attrgetter("output", "metrics")}
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
    _require_length(len(body))
    return HEADER.pack(len(body)) + body


def encode_with(message: list[Any], buffers: Sequence[Buffer]) -> list[Buffer]:
    """One frame in pieces, the bytes uncopied; its reader finds them, end to end, as the message's last
    item. Raises TypeError as `encode` does."""
    body = orjson.dumps(message, default=_as_json, option=OPTIONS)
    size = sum(map(len, buffers))
    _require_length(len(body) + size)
    return [HEADER.pack(WITH_BYTES | len(body)) + HEADER.pack(size) + body, *buffers]


def _require_length(size: int) -> None:
    if size > MAX_FRAME_BYTES:
        raise TypeError(f"{size} bytes are more than the {MAX_FRAME_BYTES} that a message may have")


def join_short(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    """The same bytes in as few pieces as can be had without copying what is long."""
    short: list[Buffer] = []
    for piece in pieces:
        if len(piece) < JOINED_BYTES:
            short.append(piece)
            continue
        if short:
            yield b"".join(short)
            short = []
        yield piece
    if short:
        yield b"".join(short)


def pack(work_id: str, event: Event) -> Packed:
    """An event as JSON: [work id, kind, fields]; the tensors of an output travel beside it."""
    kind = type(event)
    fields = _FIELDS[kind](event)
    return [work_id, _NUMBER[kind], [fields] if kind in _SINGLE else list(fields)]


def encode_answer(work_id: str, event: Finished) -> list[Buffer]:
    """The frame of an ending with tensors, in pieces: kind `answer`. Raises TypeError."""
    return encode_with(["answer", [pack(work_id, event), describe(event.tensors)]], buffers_of(event.tensors))


def unpack(packed: Sequence[Any]) -> tuple[str, Event]:
    """The reverse of `pack`."""
    work_id, number, fields = packed
    return work_id, KINDS[number](*fields)


def unpack_answer(answer: Sequence[Any], data: Buffer) -> tuple[str, Event]:
    """The reverse of `encode_answer`."""
    (work_id, _, (output, metrics)), described = answer
    return work_id, Finished(output, metrics, cut(described, data))


class FrameReader:
    """Reads whole messages, everything that has arrived at once, from a blocking stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._buffer = sock, bytearray()

    def read(self) -> list[Any]:
        """At least one message, or an empty list at the end of the stream. Raises FrameError, OSError."""
        messages: list[Any] = self._whole_messages() if self._buffer else []
        while not messages:
            data = self._sock.recv(RECEIVE_BYTES)
            if not data:
                return []
            self._buffer += data
            messages = self._whole_messages()
        return messages

    def _whole_messages(self) -> list[Any]:
        """Bytes that are still on their way are waited for only when there is nothing else to give out."""
        messages: list[Any] = []
        start = 0
        while (bounds := self._bounds(start)) is not None:
            body, end, size = bounds
            if size is None:
                messages.append(self._decode(body, end))
                start = end
            elif messages and end + size > len(self._buffer):
                break
            else:
                messages.append(self._decode_with_bytes(body, end, size))
                start = min(end + size, len(self._buffer))
        del self._buffer[:start]
        return messages

    def _bounds(self, start: int) -> tuple[int, int, int | None] | None:
        """Where the JSON of the frame at `start` begins and ends, and how many bytes follow it (None: it is
        a frame without); None while it is not whole."""
        body = start + HEADER.size
        if len(self._buffer) < body:
            return None
        (length,) = HEADER.unpack_from(self._buffer, start)
        size = None
        if length & WITH_BYTES:
            length, body = length ^ WITH_BYTES, body + HEADER.size
            if len(self._buffer) < body:
                return None
            (size,) = HEADER.unpack_from(self._buffer, start + HEADER.size)
        if length + (size or 0) > MAX_FRAME_BYTES:
            raise FrameError(
                f"a frame of {length + (size or 0)} bytes is to come, {MAX_FRAME_BYTES} are allowed"
            )
        end = body + length
        return (body, end, size) if len(self._buffer) >= end else None

    def _decode(self, start: int, end: int) -> Any:
        try:
            with memoryview(self._buffer) as whole, whole[start:end] as frame:
                return orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            raise FrameError(f"a frame was not JSON: {error}") from error

    def _decode_with_bytes(self, start: int, end: int, size: int) -> Any:
        """The message with the bytes behind it as its last item, received where they stay."""
        message, data = self._decode(start, end), bytearray(size)
        with memoryview(self._buffer) as whole, whole[end : end + size] as here:
            had = len(here)
            data[:had] = here
        with memoryview(data) as left:
            while had < size:
                count = self._sock.recv_into(left[had:])
                if not count:
                    raise FrameError(f"the stream ended after {had} of {size} bytes")
                had += count
        if not isinstance(message, list):
            raise FrameError("a frame with bytes was no list")
        return [*message, data]
