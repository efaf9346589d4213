"""A frugal HTTP/1.1 load: keep-alive connections that send prepared bytes. A usual client library would be
most of the load."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True)
class Target:
    """A server on loopback and the headers that every request carries."""

    port: int
    headers: dict[str, str]

    def request(self, method: str, path: str, body: Any = None, **more: str) -> bytes:
        """One request as bytes."""
        payload = b"" if body is None else orjson.dumps(body)
        lines = {
            "Host": "127.0.0.1",
            "Content-Type": "application/json",
            "Content-Length": str(len(payload)),
            **self.headers,
            **more,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + payload


class Connection:
    """One keep-alive connection."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """(status, body). The server must answer with a Content-Length."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._target.port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await reader.readexactly(length)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()


async def flood(
    target: Target, requests: list[bytes], connections: int, expect: int
) -> tuple[float, list[float], list[bytes]]:
    """Sends all requests over so many connections. Returns (seconds, each one's seconds, bodies); raises on
    another status."""
    waiting = list(reversed(requests))
    times: list[float] = []
    bodies: list[bytes] = []

    async def work() -> None:
        connection = Connection(target)
        while waiting:
            request, began = waiting.pop(), time.perf_counter()
            status, body = await connection.send(request)
            if status != expect:
                raise RuntimeError(f"answered {status}: {body[:300]!r}")
            times.append(time.perf_counter() - began)
            bodies.append(body)
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return time.perf_counter() - began, times, bodies
