"""`python -m scripts.bench.siblings`: a second worker of the same kind comes while one has a backlog.

One worker is warm and gets all the predictions of a few seconds each; then another one starts. How long from
its registration until it has work, and whether both are busy until the end.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2

from app.local.platform_state import Platform
from scripts.bench.http_load import flood
from scripts.bench.stage import Line, Stage, show, stage
from scripts.own_platform import UNLIMITED

MOST_SECONDS = 2.0  # from the registration of a worker to its first claim
LEAST_BUSY = 0.9  # of the time between a worker's first claim and the end of all
CLAIMED = """
    SELECT extract(epoch FROM min(p.started_at) - min(w.started_at))::float AS first,
           (extract(epoch FROM max(e.ended) - min(p.started_at)))::float AS seconds,
           sum((p.metrics ->> 'run')::float) AS busy, count(*) AS n
    FROM predictions AS p JOIN workers AS w ON w.id = p.worker,
         (SELECT max(completed_at) AS ended FROM predictions WHERE model = %(model)s) AS e
    WHERE p.model = %(model)s AND p.input ->> 'text' = 'x' GROUP BY p.worker ORDER BY min(w.started_at)"""


@dataclass(frozen=True)
class Part:
    """Of one worker: seconds from its registration to its first claim, and from that to the end of all; how
    long it was at work of these; and how many it ran."""

    first: float
    seconds: float
    busy: float
    count: int


@contextlib.contextmanager
def another_worker(platform: Platform) -> Iterator[None]:
    """Of the processor, on the platform's servers and storage; it loads nothing before it is asked to."""
    env = {
        **os.environ,
        "DATABASE_URL": platform.database_url,
        "REDIS_URL": platform.redis_url,
        "SECRET_KEY": platform.secret_key,
        "LOVAGE_ENV": "development",
        "LOVAGE_DATA_DIR": platform.data_dir,
    }
    command = [sys.executable, "-m", "app", "worker", "--device", "cpu", "--name", "second"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=env, stdout=quiet, stderr=quiet)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def send(on: Stage, model: str, number: int, seconds: float) -> None:
    body: dict[str, Any] = {"version": model, "input": {"text": "x", "seconds": seconds}}
    requests = [on.target.request("POST", "/v1/predictions", body)] * number
    asyncio.run(flood(on.target, requests, 16, 201))


def wait_until_ended(on: Stage) -> None:
    for status in ("starting", "processing"):
        while on.client.get("/v1/predictions", params={"status": status, "limit": 1}).json()["results"]:
            time.sleep(0.2)


def parts(platform: Platform, model: str) -> list[Part]:
    """Of the workers, in the order in which they came."""
    connection = psycopg2.connect(platform.database_url.replace("+psycopg2", ""))
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(CLAIMED, {"model": model})
        return [Part(*row) for row in cursor.fetchall()]


def measure(on: Stage, number: int, seconds: float) -> list[Line]:
    version = {"runtime": "echo", "config": {"max_batch_size": 1}}
    made = on.client.post("/v1/models", json={"name": "slow", "version": version}).raise_for_status().json()
    model = f"{made['owner']}/{made['name']}"
    on.predict(model, {"text": "warm"})
    send(on, model, number, seconds)
    with another_worker(on.platform):
        wait_until_ended(on)
    ran = parts(on.platform, model)
    if len(ran) < 2:
        return [Line("work of a worker that is added under load", "none", "some", is_missed=True)]
    _, added = ran
    least = min(part.busy / part.seconds for part in ran)
    shares = ", ".join(f"{part.count}: {part.busy / part.seconds:.0%}" for part in ran)
    return [
        Line(
            f"a worker that is added beside {number} predictions of {seconds:g} s: its first one after",
            f"{added.first:.2f} s",
            f"≤ {MOST_SECONDS:g} s",
            is_missed=added.first > MOST_SECONDS,
        ),
        Line(
            "both at work, of the time until the end",
            f"{least:.0%} at least ({shares})",
            f"≥ {LEAST_BUSY:.0%}",
            is_missed=least < LEAST_BUSY,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.siblings", description=__doc__)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each prediction")
    options = parser.parse_args()
    with stage(WORKERS_ON_HOST="2", **UNLIMITED) as on:
        return show(measure(on, options.number, options.seconds))


if __name__ == "__main__":
    sys.exit(main())
