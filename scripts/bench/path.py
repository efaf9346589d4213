"""`python -m scripts.bench.path`: what a prediction costs when its model does nothing, beside the usual
style.

CPU seconds are the operating system's own of each process tree.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
import orjson
import psutil
import psycopg2

from app.bench.process_cpu import cpu_seconds
from app.domain.predictions import TERMINAL
from app.local.platform_state import Platform
from app.local.ports import choose_port
from scripts.bench.http_load import Target, flood
from scripts.bench.stage import Line, Stage, show, stage

ECHO: dict[str, object] = {"version": "demo/echo", "input": {"text": "x"}}


class Bench:
    """Runs against one platform."""

    def __init__(self, stage: Stage, runs: int) -> None:
        self.platform, self.family = stage.platform, stage.family
        self.runs = runs
        self.target, self.client = stage.target, stage.client

    def accept(self, number: int) -> list[Line]:
        """Durable creates at 64 connections, ours and the baseline's in turn."""
        ours, theirs = [], []
        with baseline(self.platform) as (process, port):
            for _ in range(self.runs):
                ours.append(self._creates(self.target, self.family.of("api"), number))
                theirs.append(self._creates(Target(port, {}), [process], number))
                self._forget_baseline()
                self._drain()
        rate, cost = (median(figures) for figures in zip(*ours, strict=True))
        their_rate, their_cost = (median(figures) for figures in zip(*theirs, strict=True))
        return [
            Line(
                "create, 64 connections: API CPU of one",
                f"{cost:.2f} ms (usual style {their_cost:.2f} ms)",
                "≤ 0.8 ms",
            ),
            Line(
                "create, 64 connections: requests/s",
                f"{rate:.0f} (usual style {their_rate:.0f}: {rate / their_rate:.1f} times)",
                "≥ 3.5 times",
            ),
        ]

    @staticmethod
    def _creates(target: Target, processes: list[psutil.Process], number: int) -> tuple[float, float]:
        """(requests/s, CPU milliseconds each)."""
        before = cpu_seconds(processes)
        seconds, _, _ = asyncio.run(
            flood(target, [target.request("POST", "/v1/predictions", ECHO)] * number, 64, 201)
        )
        return number / seconds, (cpu_seconds(processes) - before) / number * 1000

    def _forget_baseline(self) -> None:
        """Its rows wait for a worker that does not exist."""
        with (
            psycopg2.connect(self.platform.database_url.replace("+psycopg2", "")) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("DELETE FROM predictions WHERE queue = 'baseline'")

    def _drain(self) -> None:
        """Until nothing of ours waits or runs."""
        while True:
            status = self.client.get("/status").json()
            if not status["waiting"] and not status["running"]:
                return
            time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        family = self.family
        return [
            *family.of("api"),
            *family.of("worker", "--device"),
            *family.server("postgres"),
            *family.server("valkey-server"),
        ]

    def flood(self, number: int) -> list[Line]:
        """All submitted, then waited for; and 64 in flight with Prefer: wait."""
        whole: list[float] = []
        closed: list[float] = []
        rates: list[float] = []
        for _ in range(self.runs):
            before = cpu_seconds(self.processes())
            requests = [self.target.request("POST", "/v1/predictions", ECHO)] * number
            _, _, bodies = asyncio.run(flood(self.target, requests, 64, 201))
            self.wait_for([orjson.loads(body)["id"] for body in bodies])
            whole.append((cpu_seconds(self.processes()) - before) / number * 1000)
            before = cpu_seconds(self.processes())
            waiting = [self.target.request("POST", "/v1/predictions", ECHO, Prefer="wait=30")] * number
            seconds, _, bodies = asyncio.run(flood(self.target, waiting, 64, 201))
            if any(orjson.loads(body)["status"] != "succeeded" for body in bodies):
                raise RuntimeError("a prediction of the closed loop did not succeed")
            closed.append((cpu_seconds(self.processes()) - before) / number * 1000)
            rates.append(number / seconds)
        return [
            Line(
                f"flood of {number}: CPU of API, worker, Postgres, Redis for one",
                f"{median(whole):.2f} ms",
                "≤ 2.0 ms",
            ),
            Line("64 in flight, Prefer: wait: CPU for one", f"{median(closed):.2f} ms", "≤ 2.5 ms"),
            Line("64 in flight, Prefer: wait: predictions/s", f"{median(rates):.0f}", "≥ 400"),
        ]

    def wait_for(self, ids: list[str]) -> None:
        """By lists, as a caller with so many would: until none of them waits or runs."""
        for status in ("starting", "processing"):
            while self.client.get("/v1/predictions", params={"status": status, "limit": 1}).json()["results"]:
                time.sleep(0.05)
        last = self.client.get(f"/v1/predictions/{ids[-1]}").json()
        if last["status"] not in TERMINAL:
            raise RuntimeError(f"the flood's last prediction is {last['status']}")

    def idle(self, number: int) -> list[Line]:
        """One caller, one prediction after the other."""
        request = self.target.request("POST", "/v1/predictions", ECHO, Prefer="wait=30")
        _, times, _ = asyncio.run(flood(self.target, [request] * number, 1, 201))
        ordered = sorted(times)
        p50, p99 = ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000
        return [
            Line(
                f"idle, {number} in sequence, Prefer: wait: p50 / p99",
                f"{p50:.1f} / {p99:.1f} ms",
                "≤ 12 / 40 ms",
            )
        ]


@contextmanager
def baseline(platform: Platform) -> Iterator[tuple[psutil.Process, int]]:
    """The usual-style app on a port of its own: (process, port)."""
    port = choose_port()
    env = {
        **os.environ,
        "DATABASE_URL": platform.database_url,
        "REDIS_URL": platform.redis_url,
        "LOVAGE_ENV": "development",
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "scripts.bench.baseline_app:app",
        "--log-level",
        "error",
        "--no-access-log",
    ]
    process = subprocess.Popen([*command, "--port", str(port)], env=env, cwd=Path(__file__).parents[2])
    try:
        _until_served(port)
        yield psutil.Process(process.pid), port
    finally:
        process.terminate()
        process.wait(10)


def _until_served(port: int) -> None:
    for _ in range(200):
        try:
            httpx.get(f"http://127.0.0.1:{port}/docs", trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the baseline did not start")


def lines(runs: int, number: int = 2000) -> list[Line]:
    """The rows of the table."""
    with stage() as here:
        here.predict("demo/echo", {"text": "x"})
        bench = Bench(here, runs)
        return [*bench.idle(500), *bench.accept(number), *bench.flood(number)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.path", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--number", type=int, default=2000, help="predictions in one run")
    arguments = parser.parse_args()
    show(lines(arguments.runs, arguments.number))
    return 0


if __name__ == "__main__":
    sys.exit(main())
