"""Heads of requests that come in pieces: the bounds hold however the bytes are cut. Live ones are in
tests/abuse."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.api.protocol import LONGEST_HEAD, BoundedHttp

LONG = b"GET /x HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 4 * LONGEST_HEAD + b"\r\n\r\n"


class Wire(asyncio.Transport):
    """What the server writes, kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Nobody reads here."""

    def resume_reading(self) -> None:
        """Nobody reads here."""


async def answer_ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def told(request: bytes, *cuts: int) -> bytes:
    """The first line of the answer to a request that is cut at these places."""
    config = uvicorn.Config(answer_ok, log_level="critical", lifespan="off")
    config.load()
    protocol, wire = BoundedHttp(config, ServerState(), {}), Wire()
    protocol.connection_made(wire)
    for start, end in zip((0, *cuts), (*cuts, len(request)), strict=True):
        if not wire.closed:
            protocol.data_received(request[start:end])
    for _ in range(5):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    return wire.written.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "cuts", [(), (10,), (40,), (130_000,), (len(LONG) - 2,), (5, 100_000, 200_000), tuple(range(1, 300))]
)
async def test_a_long_head_is_refused_in_whatever_pieces_it_comes(cuts: tuple[int, ...]) -> None:
    assert (await told(LONG, *cuts)).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("cuts", [(), (8,), (9_000, 30_000)])
async def test_a_long_url_too(cuts: tuple[int, ...]) -> None:
    assert (await told(b"GET /" + b"y" * 131_072 + b" HTTP/1.1\r\nHost: x\r\n\r\n", *cuts)).startswith(
        b"HTTP/1.1 414"
    )


@pytest.mark.parametrize("cuts", [(), (1, 2, 3), (20, 1_000)])
async def test_an_ordinary_head_is_served(cuts: tuple[int, ...]) -> None:
    head = b"GET /x HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 8_000 + b"\r\n\r\n"
    assert await told(head, *cuts) == b"HTTP/1.1 200 OK"


async def echo_size(scope: Any, receive: Any, send: Any) -> None:
    """Answers once the whole body is there."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-size", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": b""})


async def test_whoever_expects_to_be_asked_for_its_body_is_asked_and_its_body_is_taken() -> None:
    config = uvicorn.Config(echo_size, log_level="critical", lifespan="off")
    config.load()
    protocol, wire = BoundedHttp(config, ServerState(), {}), Wire()
    protocol.connection_made(wire)
    protocol.data_received(
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    await asyncio.sleep(0)
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    protocol.data_received(b"hello")
    for _ in range(5):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    answer = wire.written.partition(b"\r\n\r\n")[2]
    assert answer.startswith(b"HTTP/1.1 201")
    assert b"x-size: 5" in answer
