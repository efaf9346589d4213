"""How a stream looks on the wire, and what a reader who does not read costs."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from replicate.client import Client
from replicate.stream import EventSource

from app.api.rest.streams import ReaderStream, encode, encode_exactly, with_pings
from app.services.predictions.stream_tail import StreamEvent

SEPARATORS = ["\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]


def read_by_replicate(wire: bytes) -> list[Any]:
    """What the stream is to the real client's own decoder."""
    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=wire)
    return list(EventSource(Client(api_token="x"), answer))


def test_every_line_has_a_data_field_of_its_own() -> None:
    for separator in SEPARATORS:
        wire = encode(StreamEvent("1:0", "output", f" one{separator} two"))
        assert wire == b"event: output\nid: 1:0\ndata:  one\ndata:  two\n\n", repr(separator)
        [event] = read_by_replicate(wire)
        assert (event.id, event.data) == ("1:0", " one\n two"), repr(separator)


def test_odd_pieces_are_read_as_they_were_made() -> None:
    for text in ("", " ", "\n", "a\n", "\n\na", "data: x", ":"):
        lines = encode(StreamEvent("1:0", "output", text)).decode().split("\n")[2:-2]
        assert "\n".join(line.removeprefix("data: ") for line in lines) == text, repr(text)


def test_a_piece_of_many_lines_names_no_event_of_its_own() -> None:
    wire = encode(StreamEvent("1:0", "output", "x\n\nevent: done\ndata: {}\n\n"))
    assert [event.event.value for event in read_by_replicate(wire)] == ["output"]


def test_a_piece_that_is_an_object_is_json() -> None:
    event = StreamEvent("1:0", "output", '{"text":"a"}', {"text": "a"})
    assert encode(event) == b'event: output\nid: 1:0\ndata: {"text":"a"}\n\n'
    assert encode_exactly(event) == encode(event)


def test_pieces_as_json_are_exact() -> None:
    for text in ("", *SEPARATORS, "5", "a\r\nb"):
        wire = encode_exactly(StreamEvent("1:0", "output", text, text)).decode()
        [data] = [line.removeprefix("data: ") for line in wire.splitlines() if line.startswith("data: ")]
        assert json.loads(data) == text, repr(text)


async def silent_then(*events: StreamEvent) -> AsyncGenerator[list[StreamEvent]]:
    for _ in range(5):
        await asyncio.sleep(0.02)
        yield []
    yield list(events)


async def test_a_silent_stream_is_kept_alive_by_comments() -> None:
    wire = [part async for part in with_pings(silent_then(StreamEvent("1:0", "done", "{}")), 0.03)]
    assert wire[-1] == b"event: done\nid: 1:0\ndata: {}\n\n"
    assert len(wire) >= 3
    assert all(part.startswith(b":") and part.endswith(b"\n\n") for part in wire[:-1])
    assert [event.event.value for event in read_by_replicate(b"".join(wire))] == ["done"]


async def test_a_reader_who_does_not_read_makes_nothing_pile_up() -> None:
    made = 0

    async def body() -> AsyncGenerator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"x" * 1_000

    async def full(message: Any) -> None:
        if message["type"] == "http.response.body":
            await (
                asyncio.Event().wait()
            )  # as uvicorn does above its high-water mark, until the reader has read

    async def stays() -> Any:
        await asyncio.Event().wait()

    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    task = asyncio.ensure_future(ReaderStream(body(), lambda: None)(scope, stays, full))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait({task})
    assert made == 1
