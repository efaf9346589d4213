"""`python -m scripts.bench.gateway`: predictions at a backend that takes 2 s, 500 in flight: the rate, and
the CPU that one costs the gateway worker.

The backend is a bare asyncio server in a process of its own: it waits, then streams two pieces. All
predictions wait while the backend drains; the clock runs from its first call to the last recorded end. The
limit is what the backend itself can answer."""

import argparse
import multiprocessing
import sys
import time
from datetime import datetime

from app.domain.predictions import Status
from scripts.bench.stage import Line, Stage, cpu, show, stage
from scripts.slow_backend import serve

SECONDS, IN_FLIGHT = 2.0, 500
RATE_BAR, CPU_BAR_MS = 240.0, 2.5
KNOWN_SECONDS = 3.0  # until the gateway worker knows of a change


def prepare(on: Stage, port: int) -> str:
    """Registers the backend, and its model; nothing runs there yet."""
    url = f"http://127.0.0.1:{port}"
    body = {"name": "slow", "kind": "openai", "url": url, "max_concurrency": IN_FLIGHT}
    on.client.post("/v1/backends", json=body).raise_for_status()
    synced = on.client.post("/v1/backends/slow/sync", json={}).raise_for_status().json()
    version = str(synced["results"][0]["version"])
    on.predict(version, {"prompt": "warm up"})
    on.client.patch("/v1/backends/slow", json={"draining": True}).raise_for_status()
    time.sleep(KNOWN_SECONDS)
    return version


def measure(on: Stage, version: str, number: int) -> tuple[float, float]:
    """(predictions a second, milliseconds of the gateway's CPU for each)."""
    ids = [
        str(
            on.client.post("/v1/predictions", json={"version": version, "input": {"prompt": "x"}})
            .raise_for_status()
            .json()["id"]
        )
        for _ in range(number)
    ]
    gateways = on.family.of("--backends")
    before = cpu(gateways)
    on.client.patch("/v1/backends/slow", json={"draining": False}).raise_for_status()
    ends = [ended(on, prediction_id) for prediction_id in (ids[0], *ids[-IN_FLIGHT:])]
    spent = cpu(gateways) - before
    times = [each for end in ends for each in end]
    return number / (max(times) - min(times)), spent / number * 1_000


def ended(on: Stage, prediction_id: str) -> tuple[float, float]:
    """When it was started and when it ended, in seconds; waits for it. It must have succeeded."""
    while True:
        shown = on.client.get(f"/v1/predictions/{prediction_id}").raise_for_status().json()
        if shown["completed_at"]:
            break
        time.sleep(0.2)
    if shown["status"] != Status.SUCCEEDED.value:
        raise SystemExit(f"{shown['status']}: {shown['error']}")
    started, completed = (datetime.fromisoformat(shown[name]) for name in ("started_at", "completed_at"))
    return started.timestamp(), completed.timestamp()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=5_000, help="predictions")
    number = parser.parse_args().number
    ours, theirs = multiprocessing.Pipe()
    backend = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, SECONDS), daemon=True)
    backend.start()
    try:
        with stage() as on:
            rate, milliseconds = measure(on, prepare(on, ours.recv()), number)
    finally:
        backend.terminate()
    return show(
        [
            Line(
                f"{number} predictions at a backend that takes {SECONDS:g} s, {IN_FLIGHT} in flight",
                f"{rate:.0f}/s",
                f">= {RATE_BAR:g}/s",
                f"{IN_FLIGHT / SECONDS:g}/s",
                is_missed=rate < RATE_BAR,
            ),
            Line(
                "CPU of the gateway worker for each",
                f"{milliseconds:.2f} ms",
                f"<= {CPU_BAR_MS} ms",
                is_missed=milliseconds > CPU_BAR_MS,
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
