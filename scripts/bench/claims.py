"""`python -m scripts.bench.claims`: what a worker's claims take, of one and of 64, with capacity to spare and
without.

On an embedded Postgres, through the lifecycle, from a thread that does nothing else. To compare two commits,
run both in turns: each line is the median of its claims, in milliseconds.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from uuid import uuid4

from app.composition_core import open_core
from app.db.migrate import upgrade
from app.domain.predictions import Prediction, new_id
from app.local.embedded import EmbeddedServers, Urls
from app.services.predictions.lifecycle import Lifecycle
from app.settings import Settings
from app.worker.backlog import LOOKED_AT

QUEUE, VERSION = "bench", "v" * 64
GROUP = 64
WARM_UP = 5
WORKER = uuid4()


def accept(lifecycle: Lifecycle, number: int, users: int = 1) -> list[str]:
    """So many waiting predictions."""
    rows, people = [], [str(uuid4()) for _ in range(users)]
    for place in range(number):
        row = {"id": new_id(time.time_ns() // 1_000_000), "version_id": VERSION, "model": "demo/echo"}
        row["user_id"] = people[place % users]
        rows.append({**row, "queue": QUEUE, "source": "api", "input": {"text": "x"}, "stream": True})
    for start in range(0, number, GROUP):
        lifecycle.accept(rows[start : start + GROUP])
    return [str(row["id"]) for row in rows]


def claim(
    lifecycle: Lifecycle, ids: Sequence[str], capacity: Mapping[str, int], expect: int
) -> Callable[[], None]:
    """One claim by ids."""

    def call() -> None:
        check(lifecycle.claim(ids, WORKER, capacity).predictions, expect)

    return call


def check(claimed: Sequence[Prediction], expect: int) -> None:
    if len(claimed) != expect:
        raise SystemExit(f"{len(claimed)} were claimed, not {expect}")


def timed(calls: Sequence[Callable[[], None]]) -> float:
    """The median in milliseconds."""
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times[WARM_UP:]) * 1_000


def by_ids(lifecycle: Lifecycle, number: int, size: int, capacity: Mapping[str, int], expect: int) -> float:
    ids = accept(lifecycle, number * size)
    groups = [ids[start : start + size] for start in range(0, len(ids), size)]
    return timed([claim(lifecycle, group, capacity, expect) for group in groups])


def look(lifecycle: Lifecycle, number: int, users: int) -> float:
    """Who waits, while so many users do."""
    accept(lifecycle, 20 * users, users)

    def call() -> None:
        if len(lifecycle.list_next([QUEUE], LOOKED_AT)) < users:
            raise SystemExit("a look has not seen everybody")

    return timed([call] * number)


def gone(lifecycle: Lifecycle, number: int) -> float:
    """Of one that somebody else has: a late message."""
    ids = accept(lifecycle, 1)
    lifecycle.claim(ids, WORKER, {})
    return timed([claim(lifecycle, ids, {VERSION: GROUP}, 0)] * number)


def measure(lifecycle: Lifecycle, number: int) -> dict[str, float]:
    few = max(WARM_UP + 5, number // 8)
    return {
        "one": by_ids(lifecycle, number, 1, {VERSION: 32}, 1),
        "one that is gone": gone(lifecycle, number),
        "64 of 64": by_ids(lifecycle, few, GROUP, {VERSION: GROUP}, GROUP),
        "64 of 64, another version is full": by_ids(lifecycle, few, GROUP, {VERSION: GROUP, "o": 1}, GROUP),
        "32 of 64": by_ids(lifecycle, few, GROUP, {VERSION: 32}, 32),
        "a look, one user waits": look(lifecycle, few, 1),
        "a look, 100 users wait": look(lifecycle, few, 100),
    }


def settings_over(urls: Urls, folder: Path) -> Settings:
    return Settings(
        lovage_env="development",
        lovage_data_dir=folder,
        database_url=urls.database_url,
        redis_url=urls.redis_url,
        secret_key="x" * 40,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.claims", description=__doc__)
    parser.add_argument("--number", type=int, default=400, help="claims of one; an eighth as many of 64")
    number = parser.parse_args().number
    with tempfile.TemporaryDirectory() as folder, EmbeddedServers(Path(folder)) as urls:
        upgrade(urls.database_url)
        core = open_core(settings_over(urls, Path(folder)), application="claims", pool=2)
        for name, milliseconds in measure(core.lifecycle, number).items():
            print(f"{name:40}{milliseconds:8.3f} ms")
        core.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
