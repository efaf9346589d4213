"""Callers and loads against a small server that says what each test needs: slow, stalled, broken or streaming
answers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from app.bench import load
from app.bench.caller import Caller, Sample
from app.bench.connection import Connection, Lost, Target

ID = "01m7yh85y9be0j5td6cwnm0xw3"
Answer = Callable[["Server", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Answers `METHOD /path` from `answers`; keeps what was asked."""

    answers: dict[str, Answer]
    asked: list[str] = field(default_factory=list)
    target: Target = field(init=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(
                    int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                )
                asked = head.decode().partition(" HTTP/")[0]
                self.asked.append(asked)
                await self.answers[asked](self, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(**answers: Answer) -> AsyncIterator[Server]:
    paths = {
        "create": "POST /v1/predictions",
        "get": f"GET /v1/predictions/{ID}",
        "cancel": f"POST /v1/predictions/{ID}/cancel",
    }
    paths["stream"] = "GET /v1/streams/token"
    server = Server({paths[name]: answer for name, answer in answers.items()})
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.target = Target(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", {})
    async with listening:
        yield server


def body(**fields: object) -> bytes:
    urls = {"stream": "http://elsewhere/v1/streams/token"}
    text = json.dumps({"id": ID, "status": "succeeded", "metrics": {}, "urls": urls, **fields}).encode()
    return f"HTTP/1.1 201 Created\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


def says(*answers: bytes, after: float = 0.0) -> Answer:
    """Each in turn, the last one again and again."""
    left = list(answers)

    async def answer(server: Server, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after)
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return answer


async def predicted(server: Server, timeout: float = 10, *, stream: bool = False) -> Sample:
    caller = Caller(server.target, timeout=timeout, stream=stream)
    try:
        return await caller.predict(caller.request("demo/echo", {"text": "x"}))
    finally:
        caller.connection.close()


async def test_a_wait_that_runs_out_is_polled_to_the_end() -> None:
    done = body(metrics={"batch_size": 3, "padding": 0.25})
    async with serving(
        create=says(body(status="starting")), get=says(body(status="processing"), done)
    ) as server:
        found = await predicted(server)
    assert (found.error, found.batch_size, found.padding) == ("", 3, 0.25)
    assert server.asked == ["POST /v1/predictions", *[f"GET /v1/predictions/{ID}"] * 2]


async def test_what_takes_too_long_is_an_error_and_canceled() -> None:
    async with serving(
        create=says(body(status="starting")), get=says(body(status="processing")), cancel=says(body())
    ) as server:
        found = await predicted(server, timeout=0.6)
    assert found.error == "no result within 0.6 s"
    assert server.asked[-1] == f"POST /v1/predictions/{ID}/cancel"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (body(status="failed", error="no luck"), "failed: no luck"),
        (b'HTTP/1.1 429 No\r\nContent-Length: 22\r\n\r\n{"detail": "too many"}', "429 too many"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", "502"),
        (b"nonsense\r\n\r\n", "the connection broke"),
    ],
)
async def test_every_bad_answer_is_an_error_with_its_reason(answer: bytes, said: str) -> None:
    async with serving(create=says(answer)) as server:
        assert said in (await predicted(server)).error


async def test_a_lost_connection_costs_its_prediction_and_not_the_next() -> None:
    async def hangs_up(server: Server, writer: asyncio.StreamWriter) -> None:
        if len(server.asked) == 1:
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Le")
            writer.close()
        else:
            writer.write(body())

    async with serving(create=hangs_up) as server:
        caller = Caller(server.target, timeout=10, stream=False)
        request = caller.request("demo/echo", {})
        found = [(await caller.predict(request)).error for _ in range(2)]
        caller.connection.close()
    assert "closed before the answer's end" in found[0]
    assert found[1] == ""


async def test_where_nobody_listens_the_address_is_named() -> None:
    async with serving(create=says(b"")) as server:
        gone = server.target
    with pytest.raises(Lost, match=r"http://127\.0\.0\.1:\d+ does not answer"):
        await Connection(gone).open()


def chunked(*events: str) -> Answer:
    """Server-sent events, some milliseconds apart, cut where no reader would like it."""

    async def answer(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in events:
            for part in filter(None, (event[:9].encode(), event[9:].encode())):
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")

    return answer


OUTPUT, DONE = "event: output\nid: 1\ndata: é\n\n", "event: done\nid: 2\ndata: {}\n\n"


async def test_a_streams_first_piece_is_timed_and_its_pieces_counted() -> None:
    async with serving(create=says(body()), stream=chunked(": open\n\n", OUTPUT, OUTPUT, DONE)) as server:
        found = await predicted(server, stream=True)
    assert found.error == ""
    assert found.pieces == 2
    assert found.first is not None
    assert 0.04 < found.first < found.seconds


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            (
                OUTPUT,
                'event: error\ndata: {"detail": "no luck"}\n\n',
                'event: done\ndata: {"reason": "error"}\n\n',
            ),
            "failed: no luck",
        ),
        ((OUTPUT, 'event: done\ndata: {"reason": "canceled"}\n\n'), "canceled"),
        ((OUTPUT,), "ended without"),
    ],
)
async def test_a_stream_that_does_not_end_well_is_an_error(events: tuple[str, ...], said: str) -> None:
    async with serving(create=says(body()), stream=chunked(*events)) as server:
        assert said in (await predicted(server, stream=True)).error


async def test_a_closed_loop_sends_so_many_and_no_more() -> None:
    told: list[int] = []
    async with serving(create=says(body())) as server:
        raw = await load.closed(
            lambda: Caller(server.target, timeout=5, stream=False),
            [request(server)],
            3,
            load.Amount(count=10),
            told.append,
        )
    assert len(raw.samples) == len(server.asked) == 10
    assert sorted(told) == list(range(1, 11))
    assert not any(one.error for one in raw.samples)


def request(server: Server) -> bytes:
    return Caller(server.target, timeout=5, stream=False).request("demo/echo", {})


async def test_in_an_open_loop_a_stall_shows_in_everything_that_it_delays() -> None:
    """Every answer takes 0.2 s, and all were due at once: the third was sent 0.4 s late."""
    async with serving(create=says(body(), after=0.2)) as server:
        caller = Caller(server.target, timeout=5, stream=False)
        due = time.perf_counter()
        samples = [await caller.predict(request(server), due) for _ in range(3)]
        caller.connection.close()
    assert [one.seconds >= wanted for one, wanted in zip(samples, (0.2, 0.4, 0.6), strict=True)] == [True] * 3


@pytest.mark.alone
async def test_an_open_loop_does_not_wait_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(create=says(body(), after=0.3)) as server:
        make = lambda: Caller(server.target, timeout=5, stream=False)  # noqa: E731
        raw = await load.open_loop(make, [request(server)], [0.0, 0.01, 0.02, 0.03], lambda done: None)
        assert raw.seconds < 0.9, "one after the other they would take 1.2 s"
        monkeypatch.setattr(load, "MOST_IN_FLIGHT", 2)
        raw = await load.open_loop(make, [request(server)], [0.0, 0.01, 0.02, 0.03], lambda done: None)
    assert [one.error for one in raw.samples].count(load.NOT_SENT) == 2
    assert len(raw.samples) == 4
