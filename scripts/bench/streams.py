"""`python -m scripts.bench.streams`: server-sent events of a prediction: how soon the first token comes, what
many readers cost.

First token: `demo/words` on the idle system, from the POST to the first `output` event of its stream, against
the same model's first chunk in this process, in turns. Readers: 200 of one echo prediction at 50 events a
second; CPU and memory of the API process, beside a bare asyncio server that writes the same bytes to as many
connections.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import time
from statistics import median
from typing import Any

import orjson
import psutil

from app.domain.work import Chunk, ModelSpec
from app.runtimes.base import Alone, Job
from app.runtimes.demo import shipped_folder
from scripts.bench.http_load import Connection, Target
from scripts.bench.stage import Line, Stage, cpu, show, stage

FIRST_BAR_MS = 25.0
CPU_BAR = 0.60  # of a core
MEMORY_BAR_KB = 1024
PROMPT = {"prompt": "Once upon a time", "max_new_tokens": 16, "temperature": 0}
READERS, RATE = 200, 50
WARM_UP_SECONDS = 3.0  # connections and buffers come into being before the window begins


class Alongside:
    """The model alone, in this process: seconds until its first chunk."""

    def __init__(self, threads: int) -> None:
        import torch

        from app.runtimes.text.text_generation import TextGeneration

        torch.set_num_threads(threads)
        spec = ModelSpec(
            "words", "demo/words", "text-generation", path=str(shipped_folder("words")), threads=threads
        )
        self._runtime = TextGeneration.load(spec)

    def first(self) -> float:
        began = time.perf_counter()
        job = Job("alone", dict(PROMPT))
        self._runtime.prepare(job)
        seconds = 0.0
        for _, event in self._runtime.run([job], Alone()):
            if isinstance(event, Chunk) and not seconds:
                seconds = time.perf_counter() - began
        return seconds


async def first_event(target: Target, body: dict[str, Any]) -> float:
    """Seconds from the POST to the first `output` event of the stream, over two connections."""
    maker = Connection(target)
    began = time.perf_counter()
    status, answer = await maker.send(target.request("POST", "/v1/predictions", body))
    if status != 201:
        raise RuntimeError(f"answered {status}: {answer!r}")
    reader, writer = await open_stream(target, orjson.loads(answer)["urls"]["stream"])
    await reader.readuntil(b"event: output")
    seconds = time.perf_counter() - began
    while b"event: done" not in await reader.readline():
        pass
    writer.close()
    maker.close()
    return seconds


async def open_stream(target: Target, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A reader whose head has been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(target.request("GET", path_of(url)))
    return reader, writer


def path_of(url: str) -> str:
    """The address without its host: what the answer names depends on the Host that was sent."""
    return "/v1/streams/" + url.rpartition("/")[2]


def first_token(stage: Stage, number: int) -> Line:
    """Path and model in turns."""
    alone = Alongside(os.cpu_count() or 1)
    over: list[float] = []
    own: list[float] = []
    for n in range(number + 3):
        mine = alone.first()
        seconds = asyncio.run(first_event(stage.target, {"version": "demo/words", "input": PROMPT}))
        if n >= 3:
            own.append(mine)
            over.append(seconds - mine)
            time.sleep(0.05)
    return Line(
        f"first token through SSE above the model's own first step, {number} in sequence",
        f"{median(over) * 1000:.1f} ms",
        f"≤ {FIRST_BAR_MS:.0f} ms",
        f"first step alone {median(own) * 1000:.1f} ms",
    )


class Counting(asyncio.Protocol):
    """A reader that only counts what came and remembers the tail, so that 200 of them cost little."""

    def __init__(self, hello: bytes) -> None:
        self._hello = hello
        self.events, self.tail = 0, b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._hello)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.events += data.count(b"event: output")
        self.tail = (self.tail + data)[-200:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


async def read_together(
    port: int, hello: bytes, watched: psutil.Process, seconds: float
) -> tuple[float, int, list[Counting]]:
    """READERS read; (CPU share of a core, bytes that the watched process gained) in the middle, and the
    readers."""
    loop, readers = asyncio.get_running_loop(), []
    for _ in range(READERS):
        _, reader = await loop.create_connection(lambda: Counting(hello), "127.0.0.1", port)
        readers.append(reader)
    await asyncio.sleep(WARM_UP_SECONDS)
    began, memory = time.perf_counter(), watched.memory_info().rss
    before = cpu([watched])
    await asyncio.sleep(seconds)
    share = (cpu([watched]) - before) / (time.perf_counter() - began)
    gained = watched.memory_info().rss - memory
    await asyncio.wait_for(asyncio.gather(*(reader.ended for reader in readers)), 60)
    return share, gained, readers


def many_readers(stage: Stage, seconds: float) -> list[Line]:
    """One prediction, READERS readers."""
    chunks = int((seconds + WARM_UP_SECONDS * 2) * RATE)
    body = {
        "version": "demo/echo",
        "input": {"text": "token " * 50, "chunks": chunks, "seconds": chunks / RATE},
    }
    prediction = stage.client.post("/v1/predictions", json=body).json()
    hello = stage.target.request("GET", path_of(prediction["urls"]["stream"]), Connection="close")
    api = stage.family.of("api")[0]
    share, gained, readers = asyncio.run(read_together(stage.target.port, hello, api, seconds))
    lost = [each for each in readers if each.events != chunks or b"event: done" not in each.tail]
    if lost:
        raise RuntimeError(
            f"{len(lost)} readers did not get all {chunks} events and the end: {lost[0].events}"
            f" {lost[0].tail!r}"
        )
    bare = bare_share(seconds / 2)
    what = f"{READERS} readers of one prediction, {RATE} events/s"
    return [
        Line(
            f"{what}: CPU of the API process",
            f"{share:.0%} of a core",
            f"< {CPU_BAR:.0%}",
            f"a bare server {bare:.0%}",
        ),
        Line(
            f"{what}: memory gained in {seconds:.0f} s",
            f"{gained / 1024:.0f} KB",
            f"flat (≤ {MEMORY_BAR_KB} KB)",
        ),
    ]


def bare_share(seconds: float) -> float:
    """What writing the same bytes to as many connections costs when nothing else is done."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=bare_server, args=(theirs, seconds), daemon=True
    )
    process.start()
    port = ours.recv()
    share, _, _ = asyncio.run(read_together(port, b"x", psutil.Process(process.pid), seconds))
    process.join(10)
    return share


def bare_server(pipe: Any, seconds: float) -> None:
    """Writes an event to everybody RATE times a second."""

    async def serve() -> None:
        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        event = b"event: output\nid: 1700000000:100\ndata: token token\n\n"
        for _ in range(int((seconds + WARM_UP_SECONDS * 2) * RATE)):
            for writer in writers:
                writer.write(event)
            await asyncio.sleep(1 / RATE)
        for writer in writers:
            writer.close()

    asyncio.run(serve())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.streams", description=__doc__)
    parser.add_argument("--number", type=int, default=60, help="first tokens measured")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of the window with many readers")
    arguments = parser.parse_args()
    with stage() as platform:
        platform.predict("demo/words", PROMPT)
        platform.predict("demo/echo", {"text": "x"})
        show([first_token(platform, arguments.number), *many_readers(platform, arguments.seconds)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
