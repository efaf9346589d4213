"""What the benches share: a platform of their own on loopback, the processes of it, lines of the table.

Knows no single measurement. `python -m scripts.bench.NAME` runs one bench and prints its rows.
"""

import contextlib
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from app.local.detached import down
from app.local.platform_state import Platform, read_platform
from scripts.bench.http_load import Target
from scripts.chaos.__main__ import start
from scripts.chaos.faults import Family

LINES_FILE = "LOVAGE_BENCH_LINES"


@dataclass(frozen=True)
class Line:
    """One line of the table: the figure, the bar beside it, and the limit that the same run measured without the path."""

    what: str
    value: str
    wanted: str
    limit: str = ""


@dataclass(frozen=True)
class Stage:
    """A platform that runs, and how to speak to it as its administrator."""

    platform: Platform
    family: Family
    target: Target
    client: httpx.Client

    def model(self, name: str, folder: Path, runtime: str, **config: Any) -> str:
        """Registers a folder of this machine as a model; the id of its version."""
        wanted = {"source": f"path:{folder}", "runtime": runtime, "config": config}
        made = self.client.post("/v1/models", json={"name": name, "version": wanted})
        if made.is_error:
            raise RuntimeError(made.text)
        return str(made.json()["latest_version"]["id"])

    def predict(self, version: str, given: dict[str, Any]) -> dict[str, Any]:
        """One prediction, waited for. It must succeed."""
        made = self.client.post("/v1/predictions", json={"version": version, "input": given}, headers={"Prefer": "wait=60"})
        made.raise_for_status()
        found: dict[str, Any] = made.json()
        if found["status"] != "succeeded":
            raise RuntimeError(f"{version}: {found['status']} {found['error']}")
        return found


@contextlib.contextmanager
def stage(**env: str) -> Iterator[Stage]:
    """One worker on the processor, `env` as settings beside the usual ones; ended and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="lovage-bench-"))
    try:
        start(folder, devices=("cpu",), **env)
        platform = read_platform(folder)
        if platform is None:
            raise SystemExit("the platform does not run")
        key = Path(platform.key_file).read_text().strip()
        target = Target(int(platform.api_url.rpartition(":")[2]), {"Authorization": f"Bearer {key}"})
        client = httpx.Client(base_url=platform.api_url, headers=target.headers, timeout=300, trust_env=False)
        with client:
            yield Stage(platform, Family(platform), target, client)
    finally:
        down(folder, lambda text: None)
        shutil.rmtree(folder, ignore_errors=True)


def cpu(processes: list[psutil.Process]) -> float:
    """User and system seconds of these processes alone."""
    times = [one.cpu_times() for one in processes]
    return sum(one.user + one.system for one in times)


def middle(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def show(lines: list[Line]) -> None:
    """The table; for `make bench` also as data, into the file that it names."""
    table = Table("what", "measured", "wanted", "limit in the same run")
    for one in lines:
        table.add_row(one.what, one.value, one.wanted, one.limit)
    Console(width=180).print(table)
    if file := os.environ.get(LINES_FILE):
        Path(file).write_text(json.dumps([asdict(one) for one in lines]), "utf-8")
