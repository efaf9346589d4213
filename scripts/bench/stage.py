"""What the benches share: a platform of their own on loopback, the processes of it, lines of the table.

Knows no single measurement. `python -m scripts.bench.NAME` runs one bench and prints its rows.
"""

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
from rich.console import Console
from rich.table import Table

from app.local.platform_state import Platform
from scripts.bench.http_load import Target, flood
from scripts.chaos.faults import Family
from scripts.own_platform import start, stop, terminable

LINES_FILE = "LOVAGE_BENCH_LINES"


@dataclass(frozen=True)
class Line:
    """One line of the table: the figure, the bar beside it, and the limit that the same run measured without
    the path. `is_missed`: the figure is not what is wanted."""

    what: str
    value: str
    wanted: str
    limit: str = ""
    is_missed: bool = False


@dataclass(frozen=True)
class Stage:
    """A platform that runs, and how to speak to it as its administrator."""

    platform: Platform
    family: Family
    target: Target
    client: httpx.Client

    def model(self, name: str, folder: Path, runtime: str, **config: Any) -> str:
        """Registers a folder of this machine as a model; the id of its version."""
        version = {"source": f"path:{folder}", "runtime": runtime, "config": config}
        answer = self.client.post("/v1/models", json={"name": name, "version": version})
        if answer.is_error:
            raise RuntimeError(answer.text)
        return str(answer.json()["latest_version"]["id"])

    def predict(self, version: str, values: dict[str, Any]) -> dict[str, Any]:
        """One prediction, waited for. It must succeed."""
        answer = self.client.post(
            "/v1/predictions", json={"version": version, "input": values}, headers={"Prefer": "wait=60"}
        )
        answer.raise_for_status()
        prediction: dict[str, Any] = answer.json()
        while prediction["status"] in ("starting", "processing"):  # a first load may try several engines
            time.sleep(0.5)
            prediction = self.client.get(f"/v1/predictions/{prediction['id']}").raise_for_status().json()
        if prediction["status"] != "succeeded":
            raise RuntimeError(f"{version}: {prediction['status']} {prediction['error']}")
        return prediction

    def predict_all(
        self, version: str, inputs: list[dict[str, Any]], connections: int
    ) -> tuple[float, list[float], list[dict[str, Any]]]:
        """(seconds in all, seconds of each, the predictions as they ended), so many in flight. All must
        succeed."""
        requests = [
            self.target.request(
                "POST", "/v1/predictions", {"version": version, "input": values}, Prefer="wait=60"
            )
            for values in inputs
        ]
        seconds, times, bodies = asyncio.run(flood(self.target, requests, connections, 201))
        predictions = [orjson.loads(body) for body in bodies]
        if bad := next((each for each in predictions if each["status"] != "succeeded"), None):
            raise RuntimeError(str(bad)[:500])
        return seconds, times, predictions


@contextlib.contextmanager
def stage(**env: str) -> Iterator[Stage]:
    """One worker on the processor, `env` as settings beside the usual ones; ended and removed afterwards."""
    with (
        terminable(),
        tempfile.TemporaryDirectory(prefix="lovage-bench-", ignore_cleanup_errors=True) as folder,
    ):
        try:
            platform = start(Path(folder), devices=("cpu",), **env)
            key = Path(platform.key_file).read_text().strip()
            target = Target(int(platform.api_url.rpartition(":")[2]), {"Authorization": f"Bearer {key}"})
            with httpx.Client(
                base_url=platform.api_url, headers=target.headers, timeout=300, trust_env=False
            ) as client:
                yield Stage(platform, Family(platform), target, client)
        finally:
            stop(Path(folder))


def cpu(processes: list[psutil.Process]) -> float:
    """User and system seconds of these processes alone."""
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


def show(lines: list[Line]) -> int:
    """Prints the table; for `make bench` also as data, into the file that it names. Returns the exit code: 1
    when a line is missed."""
    table = Table("what", "measured", "wanted", "limit in the same run", "")
    for line in lines:
        table.add_row(line.what, line.value, line.wanted, line.limit, "MISSED" if line.is_missed else "")
    Console(width=180).print(table)
    if file := os.environ.get(LINES_FILE):
        Path(file).write_text(json.dumps([asdict(line) for line in lines]), "utf-8")
    return int(any(line.is_missed for line in lines))
