"""A server of models on loopback, written by hand so that it can misbehave: it counts what arrives, and
`switches` say what it does."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

Writer = asyncio.StreamWriter
Handler = Callable[["FakeUpstream", str, dict[str, Any], Writer], Awaitable[None]]
REASONS = {
    200: "OK",
    401: "Unauthorized",
    404: "Not Found",
    422: "Bad",
    429: "Busy",
    500: "Error",
    503: "Away",
}


@dataclass(slots=True)
class Switches:
    """`seconds` before an answer; `status` instead of 200, `times` times (-1: always); `hang`: no answer at
    all; `cut_after`: so many events, then the connection breaks; `words` of an answer; `raw`: this body
    instead."""

    seconds: float = 0.0
    status: int = 200
    times: int = -1
    retry_after: str = ""
    hang: bool = False
    cut_after: int = -1
    words: tuple[str, ...] = ("Hello", " there", "!")
    raw: bytes | None = None
    pause: float = 0.0
    models: tuple[str, ...] = ("tiny-chat", "tiny-embed", "tiny-rerank")
    key: str = ""


@dataclass
class FakeUpstream:
    """`calls` counts requests by path, `bodies` keeps them, `canceled` counts connections that the caller
    broke off in the middle of an answer."""

    switches: Switches = field(default_factory=Switches)
    calls: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    canceled: int = 0
    running: int = 0
    most_running: int = 0
    handlers: dict[str, Handler] = field(default_factory=dict)
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "FakeUpstream":
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", self.port, backlog=2_000)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Nobody answers at its address any more."""

        async def end() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread
        self._thread.join(5)
        self._loop.close()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            while await self._on_request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _on_request(self, reader: asyncio.StreamReader, writer: Writer) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError:
            return False
        path = head[0].split(" ")[1]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.calls[path] += 1
        value = orjson.loads(body) if body else {}
        if body:
            self.bodies.append(value)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        answer = asyncio.create_task(self._answer(path, headers, value, writer))
        gone = asyncio.create_task(self._watch(reader))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self.canceled += 1
                return False
            return answer.result()
        finally:
            self.running -= 1
            answer.cancel()
            gone.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    @staticmethod
    async def _watch(reader: asyncio.StreamReader) -> None:
        while not reader.at_eof():
            await asyncio.sleep(0.02)

    async def _answer(self, path: str, headers: dict[str, str], body: dict[str, Any], writer: Writer) -> bool:
        """Whether the connection may be used again."""
        switches = self.switches
        if switches.hang:
            await asyncio.sleep(60)
        is_listing = not body
        if switches.seconds and not is_listing:
            await asyncio.sleep(switches.seconds)
        if switches.key and headers.get("authorization") != f"Bearer {switches.key}":
            return await send_json(writer, {"error": {"message": "who are you?"}}, 401)
        if switches.status != 200 and switches.times and not is_listing:
            switches.times -= 1
            extra = {"Retry-After": switches.retry_after} if switches.retry_after else {}
            return await send_json(writer, {"error": {"message": "not now"}}, switches.status, extra)
        if switches.raw is not None and not is_listing:
            return await send(writer, switches.raw, 200)
        if handler := self.handlers.get(path):
            await handler(self, path, body, writer)
            return True
        return await openai_answer(self, path, body, writer)


async def openai_answer(upstream: FakeUpstream, path: str, body: dict[str, Any], writer: Writer) -> bool:
    """OpenAI's API at /v1."""
    if path == "/v1/models":
        models = [{"id": name, "object": "model", "max_model_len": 4096} for name in upstream.switches.models]
        return await send_json(writer, {"object": "list", "data": models})
    if path in ("/v1/completions", "/v1/chat/completions"):
        return await send_words(upstream, writer, is_chat="chat" in path)
    if path == "/v1/embeddings":
        vectors = [{"index": n, "embedding": [float(len(text)), 1.0]} for n, text in enumerate(body["input"])]
        return await send_json(writer, {"data": vectors[::-1], "usage": {"prompt_tokens": 7}})
    if path == "/v1/rerank":
        scores = [{"index": n, "relevance_score": len(text)} for n, text in enumerate(body["documents"])]
        return await send_json(writer, {"results": sorted(scores, key=lambda each: -each["relevance_score"])})
    return await send_json(writer, {"detail": "Not Found"}, 404)


async def send_words(upstream: FakeUpstream, writer: Writer, *, is_chat: bool) -> bool:
    switches = upstream.switches
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number, word in enumerate(switches.words):
        if number == switches.cut_after:
            await writer.drain()
            writer.transport.abort()
            return False
        choice = {"index": 0} | ({"delta": {"content": word}} if is_chat else {"text": word})
        await send_event(writer, {"choices": [{**choice, "finish_reason": None}]})
        if switches.pause:
            await asyncio.sleep(switches.pause)
    await send_event(writer, {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 5, "completion_tokens": len(switches.words)}
    await send_event(writer, {"choices": [], "usage": usage})
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    await writer.drain()
    return True


async def send_event(writer: Writer, event: Any) -> None:
    line = b"data: " + orjson.dumps(event) + b"\n\n"
    writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
    await writer.drain()


async def send_json(
    writer: Writer, value: Any, status: int = 200, headers: dict[str, str] | None = None
) -> bool:
    return await send(writer, orjson.dumps(value), status, headers)


async def send(writer: Writer, body: bytes, status: int, headers: dict[str, str] | None = None) -> bool:
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} {REASONS[status]}\r\n{head}\r\n".encode() + body)
    await writer.drain()
    return True
