"""A running platform, its processes, and callers who time the answers."""

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from waiting import eventually

from app.local.platform_state import Platform
from app.local.ports import choose_port
from scripts.chaos.faults import Family


@dataclass
class Timed:
    """An answer and how long it took, in seconds."""

    answer: httpx.Response
    seconds: float


@dataclass
class BrokenPlatform:
    state: Platform
    stopped: list[psutil.Process] = field(default_factory=list)

    @property
    def family(self) -> Family:
        return Family(self.state)

    @property
    def launcher(self) -> psutil.Process:
        return psutil.Process(self.state.pid)

    @property
    def key(self) -> str:
        return Path(self.state.key_file).read_text().strip()

    def client(self, url: str = "", **more: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(
            base_url=url or self.state.api_url, headers=headers, timeout=30, trust_env=False, **more
        )

    def stop(self, *processes: psutil.Process) -> None:
        """SIGSTOP, until `mend`."""
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                self.stopped.append(process)

    def mend(self) -> None:
        """Everything that was stopped goes on, and the platform is waited for until it is ready."""
        for process in self.stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self.stopped.clear()
        eventually(self.is_ready, 60)

    def is_ready(self) -> bool:
        try:
            answer = httpx.get(f"{self.state.api_url}/ready", trust_env=False, timeout=10)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and len(answer.json()["workers"]) == 2

    @contextmanager
    def another_api(self, **env: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
        """Another API process of the same platform; its URL and the process."""
        port = choose_port()
        secret = json.loads((Path(self.state.data_dir) / "secrets.json").read_text())["secret_key"]
        env = {
            **os.environ,
            "LOVAGE_ENV": "development",
            "DATABASE_URL": self.state.database_url,
            "SECRET_KEY": secret,
            "REDIS_URL": self.state.redis_url,
            "LOVAGE_DATA_DIR": self.state.data_dir,
            "RATE_LIMIT_CREATES": "off",
            "RATE_LIMIT_CALLS": "off",
            **env,
        }
        command = [sys.executable, "-m", "app", "api", "--port", str(port)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: answers(f"http://127.0.0.1:{port}/health"))
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def timed(call: Callable[[], httpx.Response]) -> Timed:
    began = time.monotonic()
    answer = call()
    return Timed(answer, time.monotonic() - began)


def median_seconds(calls: list[Timed]) -> float:
    return statistics.median(call.seconds for call in calls)


def side_by_side(*calls: Callable[[], Any]) -> list[Any]:
    """All at once; their answers in order. An exception is an answer too."""
    answers: dict[int, Any] = {}

    def run(number: int) -> None:
        try:
            answers[number] = calls[number]()
        except Exception as error:  # noqa: BLE001 - an exception of a call is its answer
            answers[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[number] for number in range(len(calls))]


def echo(client: httpx.Client, text: str, **inputs: Any) -> httpx.Response:
    return client.post("/v1/predictions", json={"version": "demo/echo", "input": {"text": text, **inputs}})


def succeeded(client: httpx.Client, ids: list[str]) -> bool:
    predictions = [client.get(f"/v1/predictions/{prediction}").json() for prediction in ids]
    statuses = {prediction["status"] for prediction in predictions}
    assert statuses.isdisjoint({"failed", "canceled"}), predictions
    return statuses <= {"succeeded"}
