"""`python -m scripts.bench.million`: create, get, list, cancel and the sweep while a million predictions wait.

They are inserted by one statement for the same user into the queue that is measured, `cuda`, which nobody consumes here; the
p50 of each call is compared with that of the empty system before, both over one connection, one call after the other.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import orjson
import psycopg2
from sqlalchemy.orm import Session

from app.db import predictions as table
from app.db.session import Database, connect
from app.domain.predictions import new_id
from app.queue.doorbell import Doorbell
from app.services.announcer import Announcer
from app.services.lifecycle import Lifecycle
from app.services.recovery import Recovery, SweepLimits
from scripts.bench.http_load import Connection
from scripts.bench.stage import Line, Stage, middle, show, stage

MOST_TIMES = 2.0
QUEUE = "cuda"
INSERT = """
    INSERT INTO predictions (id, user_id, version_id, model, queue, routing, input, rung_at)
    SELECT %(prefix)s || lpad(n::text, 16, '0'), user_id, version_id, model, queue, routing, input, now()
    FROM predictions, generate_series(1, %(number)s) AS n WHERE id = %(like)s"""


class Calls:
    """Each method makes `number` calls one after the other and gives the seconds of each."""

    def __init__(self, stage: Stage, version: str, number: int) -> None:
        self._target, self._client, self._number = stage.target, stage.client, number
        self._body = {"version": version, "input": {"text": "x"}}
        self.ids: list[str] = []

    async def _send(self, requests: list[bytes], expect: int) -> tuple[list[float], list[bytes]]:
        connection, times, bodies = Connection(self._target), [], []
        for request in requests:
            began = time.perf_counter()
            status, body = await connection.send(request)
            times.append(time.perf_counter() - began)
            bodies.append(body)
            if status != expect:
                raise RuntimeError(f"answered {status}: {body[:300]!r}")
        connection.close()
        return times, bodies

    def _timed(self, method: str, paths: list[str], body: object = None, expect: int = 200) -> list[float]:
        requests = [self._target.request(method, path, body) for path in paths]
        times, bodies = asyncio.run(self._send(requests, expect))
        if expect == 201:
            self.ids = [orjson.loads(one)["id"] for one in bodies]
        return times

    def create(self) -> list[float]:
        return self._timed("POST", ["/v1/predictions"] * self._number, self._body, 201)

    def get(self) -> list[float]:
        return self._timed("GET", [f"/v1/predictions/{one}" for one in self.ids])

    def listing(self, query: str) -> Callable[[], list[float]]:
        return lambda: self._timed("GET", [f"/v1/predictions?{query}"] * (self._number // 4))

    def cancel(self) -> list[float]:
        return self._timed("POST", [f"/v1/predictions/{one}/cancel" for one in self.ids])

    def status(self) -> list[float]:
        return self._timed("GET", ["/status"] * (self._number // 10))

    def all(self) -> dict[str, float]:
        """p50 in milliseconds, by name."""
        queries = {
            "list": "limit=20", "list, waiting": "limit=20&status=starting", "list, running": "limit=20&status=processing",
            "list, succeeded": "limit=20&status=succeeded", "list of another model": "limit=20&model=demo/echo",
        }  # fmt: skip
        calls = {"create": self.create, "get (with its place in the queue)": self.get}
        calls |= {name: self.listing(query) for name, query in queries.items()}
        calls |= {"cancel": self.cancel, "/status": self.status}
        return {name: middle(call()) * 1000 for name, call in calls.items()}


@contextmanager
def recovery(stage: Stage) -> Iterator[tuple[Recovery, Database]]:
    """The clock's sweep in this process, on the platform's servers."""
    platform = stage.platform
    database = Database(connect(platform.database_url, application="bench"))
    doorbell, announcer = Doorbell(platform.redis_url), Announcer(Silence(), Silence())  # type: ignore[arg-type]
    lifecycle = Lifecycle(database, None, announcer, 3)  # type: ignore[arg-type]
    try:
        yield Recovery(database, lifecycle, announcer, doorbell, None, SweepLimits(10, 24 * 365)), database  # type: ignore[arg-type]
    finally:
        doorbell.close()
        database.close()


class Silence:
    """Announces nothing: the sweep is to find nothing that wants it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **more: None


def sweeps(stage: Stage, number: int) -> float:
    """p50 of a whole sweep in milliseconds."""
    with recovery(stage) as (sweeper, _):
        sweeper._in_touch_since = 0.0  # it has listened for long enough to call a worker dead
        return middle([seconds(sweeper.sweep) for _ in range(number)]) * 1000


def claims(stage: Stage, number: int) -> float:
    """p50 of a worker's look for the oldest 64 of its queues in milliseconds; taken back."""
    with recovery(stage) as (_, database):

        def claim() -> None:
            with Session(database.engine) as session:
                table.steal(session, [QUEUE, f"{QUEUE}:0@host", "any"], uuid4(), 64)
                session.rollback()

        return middle([seconds(claim) for _ in range(number)]) * 1000


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def fill(stage: Stage, like: str, number: int) -> float:
    """So many copies of a waiting prediction, made an hour ago; seconds."""
    prefix = new_id((int(time.time()) - 3600) * 1000)[:10]
    with psycopg2.connect(stage.platform.database_url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        cursor.execute(INSERT, {"prefix": prefix, "number": number, "like": like})
        connection.commit()
        cursor.execute("ANALYZE predictions")
        return time.perf_counter() - began


def measure(stage: Stage, calls: Calls, number: int) -> dict[str, float]:
    """Everything once, p50 in milliseconds."""
    return {**calls.all(), "the sweep": sweeps(stage, number // 10), "a worker's claim of 64": claims(stage, number // 10)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.million", description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--number", type=int, default=200, help="calls of each kind")
    arguments = parser.parse_args()
    with stage(MAX_WAITING_PER_USER="2000000") as platform:
        wanted = {"runtime": "echo", "config": {"device": QUEUE}}
        made = platform.client.post("/v1/models", json={"name": "elsewhere", "version": wanted})
        made.raise_for_status()
        calls = Calls(platform, made.json()["latest_version"]["id"], arguments.number)
        calls.create()
        like = calls.ids[0]
        platform.predict("demo/echo", {"text": "x"})
        measure(platform, calls, 20)  # caches and connections
        empty = measure(platform, calls, arguments.number)
        took = fill(platform, like, arguments.waiting)
        full = measure(platform, calls, arguments.number)
    print(f"{arguments.waiting:,} inserted in {took:.0f} s")
    show(
        [
            Line(f"{name}, {arguments.waiting:,} waiting: p50", f"{full[name]:.1f} ms ({full[name] / empty[name]:.2f} times)",
                 "" if name == "/status" else f"≤ {MOST_TIMES:.0f} times", f"empty {empty[name]:.1f} ms")
            for name in full
        ]
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
