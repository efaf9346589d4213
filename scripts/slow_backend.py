"""A backend of kind `openai` that takes its time: a bare asyncio server that waits, then streams the prompt
back in pieces. For benches and faults of the gateway worker."""

import asyncio
import json
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe

MODEL = "slow"
LIST = json.dumps({"data": [{"id": MODEL}]}).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
PIECE = b'data: {"choices":[{"index":0,"text":%s,"finish_reason":%s}]}\n\n'


class SlowBackend(asyncio.Protocol):
    """Answers a list of models at once, and a completion after `seconds`."""

    def __init__(self, seconds: float, server: "SlowServer | None" = None) -> None:
        self._seconds, self._server = seconds, server
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return
        self._received = b""
        if head.startswith(b"GET"):
            self._transport.write(HEAD % (b"application/json", len(LIST)) + LIST)
            return
        self._count(1)
        prompt = str(json.loads(body)["prompt"])
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._answer, prompt)

    def _answer(self, prompt: str) -> None:
        self._timer = None
        self._count(-1)
        if not self._transport.is_closing():
            body = completion(prompt)
            self._transport.write(HEAD % (b"text/event-stream", len(body)) + body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
            self._count(-1)

    def _count(self, calls: int) -> None:
        if self._server:
            self._server.running += calls


class SlowServer:
    """Serves on a thread of this process until it ends. `running`: calls that wait for their answer."""

    def __init__(self, seconds: float) -> None:
        self.running, self._seconds = 0, seconds
        self._loop = asyncio.new_event_loop()
        self.port = self._loop.run_until_complete(_listen(lambda: SlowBackend(self._seconds, self)))
        threading.Thread(target=self._loop.run_forever, name="slow-backend", daemon=True).start()


def serve(pipe: Pipe, seconds: float) -> None:
    """In a process of its own; says its port."""
    loop = asyncio.new_event_loop()
    pipe.send(loop.run_until_complete(_listen(lambda: SlowBackend(seconds))))
    loop.run_forever()


async def _listen(protocol: Callable[[], SlowBackend]) -> int:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=2_000)
    return int(server.sockets[0].getsockname()[1])


def completion(prompt: str) -> bytes:
    """The prompt as a streamed completion of two pieces."""
    half = len(prompt) // 2
    pieces = ((prompt[:half], b"null"), (prompt[half:], b'"stop"'))
    shown = (PIECE % (json.dumps(text).encode(), reason) for text, reason in pieces)
    return b"".join((*shown, b"data: [DONE]\n\n"))


def _content_length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
