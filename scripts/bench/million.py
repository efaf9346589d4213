"""`python -m scripts.bench.million`: create, get, list, cancel and the sweep while a million predictions
wait.

They are inserted by one statement for the same user into the queue that is measured, `cuda`, which nobody
consumes here. `--ended 10000000` inserts so many beside them that have ended, a tenth of them that user's,
the others a thousand other users'. The p50 of each call, one after the other over one connection, is
compared with that of a second, empty platform, in turns.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psycopg2
from sqlalchemy.orm import Session

from app import redis_client
from app.broker.queue_lists import UnreadLists
from app.broker.redis_marker import RedisMarker
from app.db.session import Database, connect
from app.db.turns import next_of_groups
from app.domain.predictions import new_id
from app.services.predictions.after_commit import Notifier
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.recovery import Recovery, SweepLimits
from app.services.predictions.webhook_outbox import WebhookOutbox
from app.storage.local import LocalStorage
from app.storage.signing import UrlSigner
from app.worker.backlog import LOOKED_AT
from scripts.bench.http_load import Connection
from scripts.bench.stage import Line, Stage, show, stage

MOST_TIMES = 1.25  # two empty platforms differ by a fifth on a machine with other work
QUEUE = "cuda"
WITHOUT_BAR = ("/status", LOOK := "a worker's look for the next 1,024")  # the empty platform has none
INSERT = """
    INSERT INTO predictions (id, user_id, version_id, model, queue, routing, input, notified_at)
    SELECT %(prefix)s || lpad(n::text, 16, '0'), user_id, version_id, model, queue, routing, input, now()
    FROM predictions, generate_series(1, %(number)s) AS n WHERE id = %(like)s"""

ENDED = """
    INSERT INTO predictions (id, user_id, version_id, model, queue, routing, input, output, metrics, status,
        error_code, started_at, completed_at, created_at, notified_at)
    SELECT %(prefix)s || lpad(n::text, 16, '0'),
        CASE n %% 10 WHEN 0 THEN user_id ELSE md5((n %% 1000)::text)::uuid END,
        version_id, CASE n %% 7 WHEN 0 THEN 'demo/echo' ELSE model END, queue, routing, input,
        '"x"', '{"run": 0.1}',
        CASE n %% 20 WHEN 1 THEN 'failed' WHEN 2 THEN 'canceled' ELSE 'succeeded' END,
        CASE n %% 20 WHEN 1 THEN 'model_failed' END, at, at, at, at
    FROM predictions, generate_series(%(first)s, %(last)s) AS n,
        LATERAL (SELECT now() - interval '30 days' + n * interval '0.2 s' AS at) AS ended
    WHERE id = %(like)s"""
STEP = 250_000


class Calls:
    """Each method makes `number` calls one after the other and gives the seconds of each."""

    def __init__(self, stage: Stage, version: str, number: int) -> None:
        self._target, self._number = stage.target, number
        self._body = {"version": version, "input": {"text": "x"}}
        self.ids: list[str] = []

    async def _send(self, requests: list[bytes], expect: int) -> tuple[list[float], list[bytes]]:
        connection = Connection(self._target)
        times: list[float] = []
        bodies: list[bytes] = []
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
            self.ids = [orjson.loads(body)["id"] for body in bodies]
        return times

    def create(self) -> list[float]:
        return self._timed("POST", ["/v1/predictions"] * self._number, self._body, 201)

    def get(self) -> list[float]:
        return self._timed("GET", [f"/v1/predictions/{prediction_id}" for prediction_id in self.ids])

    def listing(self, query: str) -> Callable[[], list[float]]:
        return lambda: self._timed("GET", [f"/v1/predictions?{query}"] * (self._number // 4))

    def cancel(self) -> list[float]:
        return self._timed("POST", [f"/v1/predictions/{prediction_id}/cancel" for prediction_id in self.ids])

    def status(self) -> list[float]:
        return self._timed("GET", ["/status"] * (self._number // 10))

    def kinds(self) -> dict[str, Callable[[], list[float]]]:
        """All of them by name."""
        queries = {
            "list": "limit=20",
            "list, waiting": "limit=20&status=starting",
            "list, running": "limit=20&status=processing",
            "list, succeeded": "limit=20&status=succeeded",
            "list of another model": "limit=20&model=demo/echo",
        }
        calls = {"create": self.create, "get (with its position in the queue)": self.get}
        calls |= {name: self.listing(query) for name, query in queries.items()}
        return {**calls, "cancel": self.cancel, "/status": self.status}


@contextmanager
def recovery(stage: Stage) -> Iterator[tuple[Recovery, Database]]:
    """The clock's sweep in this process, on the platform's servers."""
    platform = stage.platform
    database = Database(connect(platform.database_url, application="bench"))
    redis = redis_client.connect(platform.redis_url)
    silence: Any = Silence()
    notifier = Notifier(silence, silence)
    storage = LocalStorage(Path(platform.data_dir) / "files", UrlSigner(platform.secret_key))
    lifecycle = Lifecycle(database, WebhookOutbox(silence, silence), notifier, 3)
    limits = SweepLimits(10, 24 * 365)
    try:
        marker, lists = RedisMarker(redis), UnreadLists(redis)
        yield Recovery(database, lifecycle, notifier, marker, lists, storage, limits), database
    finally:
        redis.close()
        database.close()


class Silence:
    """Notifies nobody: the sweep is to find nothing that wants it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **more: None


def sweeps(stage: Stage, number: int) -> list[float]:
    """Of whole sweeps: every part of it, whether or not the platform's own clock is at it."""
    with recovery(stage) as (sweeper, _):

        def sweep() -> None:
            sweeper.notify_again()
            sweeper.cancel_overdue()
            sweeper.recover_dead()
            sweeper.expiry.run()

        return [seconds(sweep) for _ in range(number)]


def looks(stage: Stage, number: int) -> list[float]:
    """Of a worker's looks for whose turn it is in its queues."""
    with recovery(stage) as (_, database):

        def look() -> None:
            with Session(database.engine) as session:
                next_of_groups(session, [QUEUE, f"{QUEUE}:0@host", "any"], LOOKED_AT)

        return [seconds(look) for _ in range(number)]


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def fill(stage: Stage, like: str, number: int, ended: int) -> float:
    """So many copies of a waiting prediction, made an hour ago, and `ended` ones of before; seconds.
    Vacuumed, as Postgres does by itself a minute later."""
    prefix = new_id((int(time.time()) - 3600) * 1000)[:10]
    connection = psycopg2.connect(stage.platform.database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        began = time.perf_counter()
        before = new_id((int(time.time()) - 30 * 86_400) * 1000)[:10]
        for first in range(1, ended + 1, STEP):
            last = min(first + STEP - 1, ended)
            cursor.execute(ENDED, {"prefix": before, "first": first, "last": last, "like": like})
        cursor.execute(INSERT, {"prefix": prefix, "number": number, "like": like})
        cursor.execute("VACUUM ANALYZE predictions")
        cursor.execute("CHECKPOINT")
        return time.perf_counter() - began


def measured(stage: Stage, calls: Calls, number: int) -> dict[str, Callable[[], list[float]]]:
    """Everything that is compared, by name."""
    own = {
        "the sweep": lambda: sweeps(stage, number // 10),
        LOOK: lambda: looks(stage, number // 10),
    }
    return {**calls.kinds(), **own}


def prepared(stage: Stage, number: int) -> Calls:
    """A platform with a version that nobody runs, and with warm caches and connections."""
    answer = stage.client.post(
        "/v1/models", json={"name": "elsewhere", "version": {"runtime": "echo", "config": {"device": QUEUE}}}
    )
    answer.raise_for_status()
    calls = Calls(stage, answer.json()["latest_version"]["id"], number)
    stage.predict("demo/echo", {"text": "x"})
    for call in measured(stage, calls, number).values():
        call()
    return calls


@dataclass(frozen=True)
class Rows:
    """How many predictions are there beside those of the calls."""

    waiting: int
    ended: int

    def __str__(self) -> str:
        return f"{self.waiting:,} waiting" + (f", {self.ended:,} ended" if self.ended else "")


def compared(empty: Stage, full: Stage, rows: Rows, number: int, rounds: int) -> list[Line]:
    """In turns, so that what else the machine does hits both alike."""
    idle_calls, loaded_calls = prepared(empty, number), prepared(full, number)
    loaded_calls.create()
    took = fill(full, loaded_calls.ids[0], rows.waiting, rows.ended)
    print(f"{rows} inserted in {took:.0f} s", flush=True)
    without: dict[str, list[float]] = {}
    under: dict[str, list[float]] = {}
    for _ in range(rounds):
        on_empty = measured(empty, idle_calls, number)
        on_full = measured(full, loaded_calls, number)
        pairs = zip(on_empty.items(), on_full.values(), strict=True)
        for (name, idle), loaded in pairs:
            without.setdefault(name, []).extend(idle())
            under.setdefault(name, []).extend(loaded())
    return [line(name, rows, median(without[name]) * 1000, median(under[name]) * 1000) for name in under]


def line(name: str, rows: Rows, without: float, under: float) -> Line:
    """A row; times in milliseconds."""
    has_bar, times = name not in WITHOUT_BAR, under / without
    return Line(
        f"{name}, {rows}: p50",
        f"{under:.1f} ms ({times:.2f} times)",
        f"≤ {MOST_TIMES} times" if has_bar else "",
        f"empty {without:.1f} ms",
        is_missed=has_bar and times > MOST_TIMES,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.million", description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--ended", type=int, default=0)
    parser.add_argument("--number", type=int, default=40, help="calls of each kind in a round")
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    with stage(MAX_WAITING_PER_USER="2000000") as empty, stage(MAX_WAITING_PER_USER="2000000") as full:
        rows = Rows(arguments.waiting, arguments.ended)
        lines = compared(empty, full, rows, arguments.number, arguments.rounds)
    return show(lines)


if __name__ == "__main__":
    sys.exit(main())
