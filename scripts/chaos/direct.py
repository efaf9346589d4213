"""Faults during direct streams: `python -m scripts.chaos.direct`. Clients hold sessions and stream from
workers by gRPC, one prediction after the other; a worker dies, the API or Postgres is restarted.

Exit code 1 when a client of a dead worker was not placed elsewhere in time, a stream that ran noticed a
restart, a text was wrong, or a prediction is stuck. With records that are written later (`async`), what is
not on record must be of the second before its worker was killed.
"""

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx

from app.domain.predictions import TERMINAL
from app.local.platform_state import Platform
from app.local.ports import choose_port
from scripts.chaos.faults import PARTS, Family, send
from scripts.direct_client import Session, open_session
from scripts.own_platform import UNLIMITED, judged

MODEL = "demo/echo"
CLIENTS, SECONDS, PIECES = 8, 3.0, 30  # of one stream
PLACED_SECONDS = 5.0
SETTLE_SECONDS = 60.0  # a lease, and the sweep after it
RETRY_SECONDS = 0.2
AT_RISK_SECONDS = 1.0  # of records that are written later
SHORT_SECONDS = 0.4  # of a stream there: many end and begin within the second at risk


@dataclass
class Stream:
    """One prediction as its client saw it; `broken` is the error of one that had begun."""

    text: str
    id: str = ""
    pieces: list[str] = field(default_factory=list)
    status: str = ""
    broken: str = ""
    began_at: float = field(default_factory=time.monotonic)
    ended_at: float = 0.0

    @property
    def is_wrong(self) -> bool:
        """It ended well by its own account, and not with its text."""
        return self.status == "succeeded" and "".join(self.pieces) != self.text


@dataclass
class Client:
    """Streams until `stop`; asks for another session, elsewhere, when its worker does not answer."""

    http: httpx.Client
    records: str = "sync"
    streams: list[Stream] = field(default_factory=list)
    gaps: list[float] = field(
        default_factory=list
    )  # seconds from a broken stream to the next one's first piece
    refused: int = 0  # streams that could not begin, and were tried again
    is_over: bool = False
    broken_at: float = 0.0

    def start(self) -> "Client":
        self.session: Session = open_session(self.http, MODEL, records=self.records)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _run(self) -> None:
        while not self.is_over:
            stream = Stream(uuid4().hex[:PIECES])
            try:
                self._read(stream)
            except grpc.RpcError as error:
                self._on_error(stream, error)
            if stream.id:
                self.streams.append(stream)

    def _read(self, stream: Stream) -> None:
        seconds = SHORT_SECONDS if self.records == "async" else SECONDS
        values = {"text": stream.text, "chunks": PIECES, "seconds": seconds}
        for event in self.session.stream(MODEL, values):
            stream.id = event.id
            if event.kind == "output":
                stream.pieces.append(event.data_json.decode().strip('"'))
                if self.broken_at:
                    self.gaps.append(time.monotonic() - self.broken_at)
                    self.broken_at = 0.0
            elif event.kind == "done":
                stream.status, stream.ended_at = event.end.status, time.monotonic()
                stream.broken = f"{event.end.error_code}: {event.end.error}" if event.end.error else ""

    def _on_error(self, stream: Stream, error: Any) -> None:
        """A worker that only refuses is called again; one that is gone is left."""
        if stream.id:
            stream.broken = f"{error.code().name}: {error.details()}"
        else:
            self.refused += 1
        is_gone = "connect" in error.details() or stream.id
        self.broken_at = self.broken_at or (time.monotonic() if is_gone else 0.0)
        if is_gone:
            gone = [self.session.worker]
            self.session = open_session(self.http, MODEL, exclude=gone, records=self.records)
        else:
            time.sleep(RETRY_SECONDS)


def statuses(http: httpx.Client, streams: list[Stream]) -> dict[str, str]:
    """By id, as they are on record, once each has ended or the time for it is over; `lost`: there is no
    record."""
    until, left = time.monotonic() + SETTLE_SECONDS, dict.fromkeys((stream.id for stream in streams), "stuck")
    ended: dict[str, str] = {}
    while left and time.monotonic() < until:
        for each in list(left):
            with suppress(httpx.HTTPError):
                answer = http.get(f"/v1/predictions/{each}")
                if answer.status_code == httpx.codes.NOT_FOUND:
                    ended[each] = "lost"
                elif answer.is_success and answer.json()["status"] in TERMINAL:
                    ended[each] = answer.json()["status"]
                if each in ended:
                    del left[each]
        time.sleep(0.2)
    return {**ended, **left}


def risked(streams: list[Stream], ends: dict[str, str], killed_at: float) -> Iterator[str]:
    """A sentence for each stream whose record is not what its client saw though it was older than the second
    at risk."""
    for stream in streams:
        since = killed_at - (stream.ended_at or stream.began_at)
        if (
            ends[stream.id] == "lost"
            and not stream.ended_at
            and killed_at - stream.began_at > AT_RISK_SECONDS
        ):
            yield f"{stream.id} began {since:.2f} s before the kill and is not on record"
        elif stream.status == "succeeded" != ends[stream.id] and since > AT_RISK_SECONDS:
            yield f"{stream.id} succeeded {since:.2f} s before the kill and is on record as {ends[stream.id]}"


def kill_worker(family: Family) -> None:
    send(PARTS["worker"](family), signal.SIGKILL)


def restart_api(family: Family) -> None:
    send(PARTS["api"](family), signal.SIGTERM)


def kill_api(family: Family) -> None:
    send(PARTS["api"](family), signal.SIGKILL)


def restart_postgres(family: Family) -> None:
    send(PARTS["postgres"](family), signal.SIGINT)


@dataclass(frozen=True)
class Cell:
    """A fault, whether clients may notice it, and how their calls are recorded."""

    fault: Callable[[Family], None]
    may_notice: bool = False
    records: str = "sync"


CELLS = {
    "worker SIGKILL": Cell(kill_worker, may_notice=True),
    "worker SIGKILL, records async": Cell(kill_worker, may_notice=True, records="async"),
    "api SIGTERM": Cell(restart_api),
    "api SIGKILL": Cell(kill_api),
    "postgres SIGINT": Cell(restart_postgres),
}


def run_cell(name: str, platform: Platform, http: httpx.Client, seconds: float) -> bool:
    """Prints what came of it; True when all is well."""
    cell = CELLS[name]
    clients = [Client(http, cell.records).start() for _ in range(CLIENTS)]
    time.sleep(seconds / 3)
    cell.fault(Family(platform))
    faulted_at = time.monotonic()
    time.sleep(seconds)
    for client in clients:
        client.is_over = True
    for client in clients:
        client.thread.join(SECONDS + SETTLE_SECONDS)
    return judge(name, cell, clients, faulted_at, http)


def judge(name: str, cell: Cell, clients: list[Client], faulted_at: float, http: httpx.Client) -> bool:
    """Of a cell that is over."""
    streams = [stream for client in clients for stream in client.streams]
    gaps = [gap for client in clients for gap in client.gaps]
    broken = [stream for stream in streams if stream.broken]
    ends = statuses(http, streams)
    counts = dict(sorted(Counter(ends.values()).items()))
    wrong = sum(stream.is_wrong for stream in streams)
    hanging = sum(client.thread.is_alive() for client in clients)
    print(
        f"{name}: {len(streams)} streams {counts}, broken {len(broken)}, wrong {wrong}, hanging {hanging},"
        f" refused at first {sum(client.refused for client in clients)},"
        f" placed elsewhere in {max(gaps, default=0.0):.1f} s",
        flush=True,
    )
    for stream in broken[:3]:
        print(f"  {stream.id} {stream.broken[:200]}", flush=True)
    faults = list(risked(streams, ends, faulted_at)) if cell.records == "async" else []
    for fault in faults:
        print(f"  {fault}", flush=True)
    is_lost = bool(faults) or (cell.records == "sync" and "lost" in counts)
    is_placed = max(gaps, default=0.0) <= PLACED_SECONDS and not any(client.broken_at for client in clients)
    is_noticed = bool(broken) and not cell.may_notice
    if cell.may_notice and not broken:
        print("  the fault has met no stream", flush=True)
    is_met = bool(broken) or not cell.may_notice
    return is_met and is_placed and not (is_noticed or is_lost or wrong or hanging or "stuck" in counts)


def measure(platform: Platform, names: list[str], seconds: float) -> bool:
    """All of the cells on one platform."""
    key = Path(platform.key_file).read_text().strip()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=platform.api_url, headers=headers, timeout=15, trust_env=False) as http:
        results = {}
        for name in names:
            results[name] = run_cell(name, platform, http, seconds)
            time.sleep(seconds)  # until who was killed is back
    for name, is_good in results.items():
        print(f"{'ok    ' if is_good else 'BREACH'} {name}")
    return all(results.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos.direct", description=__doc__)
    parser.add_argument(
        "--cells", default="", help=f"separated by semicolons; default: all of {'; '.join(CELLS)}"
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="load after each fault")
    arguments = parser.parse_args()
    names = [name for name in arguments.cells.split(";") if name] or list(CELLS)
    if unknown := sorted(set(names) - set(CELLS)):
        parser.error(f"no such fault: {', '.join(unknown)}")
    return judged(
        "lovage-chaos-direct-",
        lambda platform: measure(platform, names, arguments.seconds),
        GRPC_PORT=str(choose_port()),
        **UNLIMITED,
    )


if __name__ == "__main__":
    sys.exit(main())
