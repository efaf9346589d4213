"""`python -m scripts.bench.direct`: calling a worker itself by gRPC, beside the model alone and the queue.

One text at a time beside the same encoder in this process; 64 in flight beside `Prefer: wait`, in turn; both
with calls that are recorded before they are answered, and within a second of it;
16 MiB tensors into an ONNX graph and out; and what goes through the API while payloads are streamed,
which the same streams through the API check.
"""

import argparse
import asyncio
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import grpc
import numpy as np

from app.local.ports import choose_port
from app.rpc.stubs import inference_pb2 as inference
from scripts.bench.bare_rpc import bare_server
from scripts.bench.stage import Line, Stage, show, stage
from scripts.bench.texts import ALONE, InProcess, Served, texts
from scripts.direct_client import INFER, OPTIONS, Session, open_session, text_request
from scripts.own_platform import UNLIMITED

IN_FLIGHT = 64
MOST_ABOVE, LEAST_RATIO, LEAST_BYTES, MOST_SHARE = 2.0, 1.1, 300e6, 0.01
TENSOR_BYTES, TENSOR_CALLS = 16 << 20, 5  # in and out; calls of a run
STREAMS, PIECES, PIECE = 4, 20, 10_000  # texts of the streams: pieces of so many characters
GRAPH = Path(__file__).parents[1] / "clients" / "adder.onnx"


def sample() -> list[str]:
    """The texts of `InProcess.time_single`."""
    return random.Random(3).sample(sorted(texts(), key=len), ALONE)


Sessions = dict[str, Session]  # by when their calls are recorded: sync, async


def one_in_flight(served: Served, alone: InProcess, sessions: Sessions, runs: int) -> list[Line]:
    """Medians of the runs' medians; the model's are measured after each run of the paths."""
    requests = [text_request(session_model(served), "text", text) for text in sample()]
    paths: dict[str, list[float]] = {records: [] for records in sessions}
    model = []
    for request in requests[:10]:
        for session in sessions.values():
            session.infer(request)
    for _ in range(runs):
        for records, session in sessions.items():
            paths[records].append(
                statistics.median(timed(partial(session.infer, request)) for request in requests)
            )
        model.append(statistics.median(alone.time_single()))
    bare = statistics.median(model) * 1000
    return [above_line(records, statistics.median(times) * 1000, bare) for records, times in paths.items()]


def above_line(records: str, took: float, bare: float) -> Line:
    """The bar is for those who ask for speed."""
    above, is_fast = took - bare, records == "async"
    return Line(
        f"one text in flight, records {records}: p50",
        f"{took:.1f} ms, {above:.1f} above",
        f"≤ {MOST_ABOVE:g} ms above the model" if is_fast else "",
        f"{bare:.1f} ms",
        is_fast and above > MOST_ABOVE,
    )


def session_model(served: Served) -> str:
    return served.versions["float32"]


def timed(action: Any) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def many_in_flight(served: Served, sessions: Sessions, runs: int) -> list[Line]:
    """Predictions a second, the ways in turn."""
    inputs = texts()[:1000]
    requests = [text_request(session_model(served), "text", text) for text in inputs]
    direct: dict[str, list[float]] = {records: [] for records in sessions}
    waited = []
    for _ in range(runs):
        for records, session in sessions.items():
            direct[records].append(len(requests) / asyncio.run(send_all(session, requests)))
        waited.append(len(inputs) / served.run("float32", inputs, IN_FLIGHT)[0])
    other = statistics.median(waited)
    return [rate_line(records, statistics.median(rates), other) for records, rates in direct.items()]


def rate_line(records: str, rate: float, other: float) -> Line:
    """The bar is for those who ask for speed."""
    is_fast = records == "async"
    return Line(
        f"{IN_FLIGHT} in flight, records {records}: predictions/s",
        f"{rate:.0f}, {rate / other:.2f} times",
        f"≥ {LEAST_RATIO} times Prefer: wait" if is_fast else "",
        f"{other:.0f}",
        is_fast and rate / other < LEAST_RATIO,
    )


async def send_all(session: Session, requests: list[inference.ModelInferRequest]) -> float:
    """Seconds for all, IN_FLIGHT at once; one that is told to come again does."""
    left = iter(requests)
    async with grpc.aio.insecure_channel(session.address, OPTIONS) as channel:
        call = channel.unary_unary(
            INFER,
            request_serializer=inference.ModelInferRequest.SerializeToString,
            response_deserializer=inference.ModelInferResponse.FromString,
        )

        async def work() -> None:
            for request in left:
                while True:
                    try:
                        await call(request, timeout=120, metadata=session.metadata)
                        break
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                            raise
                        await asyncio.sleep(0.05)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return time.perf_counter() - began


def large_tensors(on: Stage, folder: Path, runs: int) -> Line:
    """x and y are 16 MiB together, and so are their sum and difference; in turns with a server that gives
    back what it gets."""
    (folder / "graph").mkdir()
    shutil.copy(GRAPH, folder / "graph")
    version = on.model("graph", folder / "graph", "onnx")
    session = open_session(on.client, version)
    rows = np.random.default_rng(1).random((TENSOR_BYTES // 24, 3), dtype=np.float32)
    request = inference.ModelInferRequest(model_name=version)
    for name in ("x", "y"):
        request.inputs.add(name=name, datatype="FP32", shape=rows.shape)
        request.raw_input_contents.append(rows.tobytes())
    path, bare = [], []
    with bare_server() as address:
        floor = Session(address, "", ())
        for each in (session, floor):
            each.infer(request, 120)
        for _ in range(runs * TENSOR_CALLS):
            path.append(timed(partial(session.infer, request, 120)))
            bare.append(timed(partial(floor.infer, request, 120)))
    took, least = statistics.median(path), statistics.median(bare)
    rate = 2 * rows.nbytes / took
    return Line(
        "16 MiB of tensors in, 16 MiB out",
        f"{rate / 1e6:.0f} MB/s ({took * 1e3:.0f} ms)",
        f"≥ {LEAST_BYTES / 1e6:.0f} MB/s in",
        f"gRPC alone {2 * rows.nbytes / least / 1e6:.0f} MB/s ({least * 1e3:.0f} ms)",
        rate < LEAST_BYTES,
    )


class Streams:
    """Texts of some hundred kilobytes, streamed in pieces, again and again."""

    VALUES: ClassVar[dict[str, Any]] = {"text": "x" * PIECES * PIECE, "chunks": PIECES, "seconds": 1.0}

    def __init__(self, on: Stage) -> None:
        self._on = on
        [self._api] = on.family.of("api")

    def direct(self, seconds: float) -> tuple[int, int]:
        """(bytes of the pieces, bytes that the API's process has read and written)."""
        session = open_session(self._on.client, "demo/echo")

        def read() -> int:
            events = session.stream("demo/echo", self.VALUES)
            return sum(len(event.data_json) for event in events if event.kind == "output")

        return self._measure(read, seconds)

    def by_api(self, seconds: float) -> tuple[int, int]:
        """The same through the API: so much is seen of what does go through it."""

        def read() -> int:
            body = {"version": "demo/echo", "input": self.VALUES}
            urls = self._on.client.post("/v1/predictions", json=body).raise_for_status().json()["urls"]
            with self._on.client.stream("GET", urls["stream"]) as answer:
                return sum(map(len, answer.iter_bytes()))

        return self._measure(read, seconds)

    def _measure(self, read: Any, seconds: float) -> tuple[int, int]:
        """While STREAMS readers read one after the other, for so long."""
        until, totals = time.monotonic() + seconds, [0] * STREAMS

        def run(number: int) -> None:
            while time.monotonic() < until:
                totals[number] += read()

        threads = [threading.Thread(target=run, args=(number,)) for number in range(STREAMS)]
        before = self._bytes()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(totals), self._bytes() - before

    def _bytes(self) -> int:
        """That went through its sockets, too: the operating system counts read and write."""
        counters = self._api.io_counters()
        return int(counters.read_chars + counters.write_chars)


def streamed_beside_the_api(on: Stage, seconds: float) -> Line:
    """Raises RuntimeError where the control shows that the counters do not see what goes through the API."""
    streams = Streams(on)
    on.predict("demo/echo", {"text": "x"})
    payload, through = streams.direct(seconds)
    control, seen = streams.by_api(min(seconds, 10.0))
    if seen < control:
        raise RuntimeError(f"{control} bytes went through the API and {seen} were counted")
    return Line(
        f"{seconds:g} s of streams: bytes through the API",
        f"{through / 1e3:.0f} kB of {payload / 1e6:.1f} MB",
        f"< {MOST_SHARE:.0%} of the payload",
        f"{seen / control:.1f} times the payload, streamed by the API",
        through >= MOST_SHARE * payload,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.direct", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of streams")
    arguments = parser.parse_args()
    alone = InProcess(os.cpu_count() or 1)
    port = str(choose_port())
    with (
        tempfile.TemporaryDirectory(prefix="lovage-direct-") as folder,
        stage(GRPC_PORT=port, MODEL_ROOTS=folder, **UNLIMITED) as on,
    ):
        served = Served(on)
        model = session_model(served)
        sessions = {records: open_session(on.client, model, records=records) for records in ("sync", "async")}
        lines = [
            *one_in_flight(served, alone, sessions, arguments.runs),
            *many_in_flight(served, sessions, arguments.runs),
            streamed_beside_the_api(on, arguments.seconds),
            large_tensors(on, Path(folder), arguments.runs),
        ]
    return show(lines)


if __name__ == "__main__":
    sys.exit(main())
