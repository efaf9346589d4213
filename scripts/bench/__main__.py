"""`make bench`: a platform of its own on loopback, each figure a median of several runs, beside a baseline of the usual style.

Prints a table; `--write` puts it into docs/benchmarks.md. CPU seconds are the operating system's own of each process tree.
"""

import argparse
import asyncio
import os
import platform as machine
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import psycopg2
from rich.console import Console
from rich.table import Table

from app.bench.process_cpu import cpu_seconds as cpu
from app.local.platform_state import Platform, read_platform
from scripts.bench.http_load import Target, flood
from scripts.chaos.__main__ import free_port, start
from scripts.chaos.faults import Family

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
ECHO = {"version": "demo/echo", "input": {"text": "x"}}
TERMINAL = ("succeeded", "failed", "canceled")


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    value: str
    wanted: str


def median(values: list[float]) -> float:
    return statistics.median(values)


class Bench:
    """Runs against one platform."""

    def __init__(self, platform: Platform, runs: int) -> None:
        self.platform, self.runs = platform, runs
        self.family = Family(platform)
        key = Path(platform.key_file).read_text().strip()
        self.target = Target(int(platform.api_url.rpartition(":")[2]), {"Authorization": f"Bearer {key}"})
        self.client = httpx.Client(base_url=platform.api_url, headers=self.target.headers, timeout=60, trust_env=False)

    def accept(self, number: int) -> list[Figure]:
        """Durable creates at 64 connections, ours and the baseline's in turn."""
        ours, theirs = [], []
        with baseline(self.platform) as (process, port):
            for _ in range(self.runs):
                ours.append(self._creates(self.target, self.family.of("api"), number))
                theirs.append(self._creates(Target(port, {}), [process], number))
                self._forget_baseline()
                self._drain()
        rate, their_rate = median([one[0] for one in ours]), median([one[0] for one in theirs])
        cost, their_cost = median([one[1] for one in ours]), median([one[1] for one in theirs])
        return [
            Figure("create, 64 connections: API CPU of one", f"{cost:.2f} ms (usual style {their_cost:.2f} ms)", "≤ 0.8 ms"),
            Figure(
                "create, 64 connections: requests/s", f"{rate:.0f} (usual style {their_rate:.0f}: {rate / their_rate:.1f} times)",
                "≥ 3.5 times",
            ),
        ]  # fmt: skip

    @staticmethod
    def _creates(target: Target, processes: list[psutil.Process], number: int) -> tuple[float, float]:
        """(requests/s, CPU milliseconds each)."""
        before = cpu(processes)
        seconds, _, _ = asyncio.run(flood(target, [target.request("POST", "/v1/predictions", ECHO)] * number, 64, 201))
        return number / seconds, (cpu(processes) - before) / number * 1000

    def _forget_baseline(self) -> None:
        """Its rows wait for a worker that does not exist."""
        with psycopg2.connect(self.platform.database_url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM predictions WHERE queue = 'baseline'")

    def _drain(self) -> None:
        """Until nothing of ours waits or runs."""
        while True:
            status = self.client.get("/status").json()
            if not status["waiting"] and not status["running"]:
                return
            time.sleep(0.2)

    def _platform_processes(self) -> list[psutil.Process]:
        family = self.family
        return [*family.of("api"), *family.of("worker", "--device"), *family.server("postgres"), *family.server("valkey-server")]

    def flood(self, number: int) -> list[Figure]:
        """All submitted, then waited for; and 64 in flight with Prefer: wait."""
        whole, closed, rates = [], [], []
        for _ in range(self.runs):
            before = cpu(self._platform_processes())
            requests = [self.target.request("POST", "/v1/predictions", ECHO)] * number
            _, _, bodies = asyncio.run(flood(self.target, requests, 64, 201))
            self._wait_for([orjson.loads(body)["id"] for body in bodies])
            whole.append((cpu(self._platform_processes()) - before) / number * 1000)
            before = cpu(self._platform_processes())
            waiting = [self.target.request("POST", "/v1/predictions", ECHO, Prefer="wait=30")] * number
            seconds, _, bodies = asyncio.run(flood(self.target, waiting, 64, 201))
            if any(orjson.loads(body)["status"] != "succeeded" for body in bodies):
                raise RuntimeError("a prediction of the closed loop did not succeed")
            closed.append((cpu(self._platform_processes()) - before) / number * 1000)
            rates.append(number / seconds)
        return [
            Figure(f"flood of {number}: CPU of API, worker, Postgres, Redis for one", f"{median(whole):.2f} ms", "≤ 2.0 ms"),
            Figure("64 in flight, Prefer: wait: CPU for one", f"{median(closed):.2f} ms", "≤ 2.5 ms"),
            Figure("64 in flight, Prefer: wait: predictions/s", f"{median(rates):.0f}", "≥ 400"),
        ]

    def _wait_for(self, ids: list[str]) -> None:
        """By lists, as a caller with so many would: until none of them waits or runs."""
        for status in ("starting", "processing"):
            while self.client.get("/v1/predictions", params={"status": status, "limit": 1}).json()["results"]:
                time.sleep(0.05)
        last = self.client.get(f"/v1/predictions/{ids[-1]}").json()
        if last["status"] not in TERMINAL:
            raise RuntimeError(f"the flood's last prediction is {last['status']}")

    def idle(self, number: int) -> list[Figure]:
        """One caller, one prediction after the other."""
        request = self.target.request("POST", "/v1/predictions", ECHO, Prefer="wait=30")
        _, times, _ = asyncio.run(flood(self.target, [request] * number, 1, 201))
        ordered = sorted(times)
        p50, p99 = ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000
        return [Figure(f"idle, {number} in sequence, Prefer: wait: p50 / p99", f"{p50:.1f} / {p99:.1f} ms", "≤ 12 / 40 ms")]


class baseline:  # noqa: N801
    """The usual-style app on a port of its own, as a context: (process, port)."""

    def __init__(self, platform: Platform) -> None:
        self._port = free_port()
        env = {**os.environ, "DATABASE_URL": platform.database_url, "REDIS_URL": platform.redis_url, "LOVAGE_ENV": "development"}
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "scripts.bench.baseline_app:app",
            "--port",
            str(self._port),
            "--log-level",
            "error",
        ]
        self._process = subprocess.Popen([*command, "--no-access-log"], env=env, cwd=Path(__file__).parents[2])

    def __enter__(self) -> tuple[psutil.Process, int]:
        for _ in range(200):
            try:
                httpx.get(f"http://127.0.0.1:{self._port}/docs", trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        return psutil.Process(self._process.pid), self._port

    def __exit__(self, *_: Any) -> None:
        self._process.terminate()
        self._process.wait(10)


def write(figures: list[Figure], runs: int) -> None:
    """The page with the table and how it was measured."""
    rows = "\n".join(f"| {one.what} | {one.value} | {one.wanted} |" for one in figures)
    today = time.strftime("%d %B %Y")
    processor = machine.processor() or machine.machine()
    PAGE.write_text(f"""# Benchmarks

Made by `make bench ARGS=--write` on {today}: {os.cpu_count()} cores ({processor}),
Python {machine.python_version()}, embedded Postgres (fsync on) and Valkey, one API process,
the load on the same machine over loopback.
Medians of {runs} runs; CPU is user and system time of the process trees as the operating system counts it.

| what | measured | wanted |
|---|---|---|
{rows}

"Usual style" is `scripts/bench/baseline_app.py`: FastAPI with a synchronous SQLAlchemy session for each request and Celery's
`send_task` in the handler, on the same Postgres and Valkey in the same run.
""")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--number", type=int, default=2000, help="predictions in one run")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lovage-bench-"))
    start(folder, devices=("cpu",))
    platform = read_platform(folder)
    if platform is None:
        raise SystemExit("the platform does not run")
    figures: list[Figure] = []
    try:
        bench = Bench(platform, arguments.runs)
        bench.client.post("/v1/predictions", json=ECHO, headers={"Prefer": "wait=60"}).raise_for_status()
        parts: list[Callable[[int], list[Figure]]] = [bench.accept, bench.flood]
        figures += bench.idle(500)
        for part in parts:
            figures += part(arguments.number)
    finally:
        from app.local.detached import down

        down(folder, lambda text: None)
        shutil.rmtree(folder, ignore_errors=True)
    table = Table("what", "measured", "wanted")
    for one in figures:
        table.add_row(one.what, one.value, one.wanted)
    Console(width=160).print(table)
    if arguments.write:
        write(figures, arguments.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
