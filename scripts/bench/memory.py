"""`python -m scripts.bench.memory`: how much memory abuse takes of an API process.

One caller registers versions with schemas of 9 MB, asks for 128 choices of a conversation of 10 MB, makes 100
predictions of 10 MB and lists them, and reads eight of them at once. The highest resident size (VmHWM, which
is set back before each) is compared with that of the idle process. `--megabytes` makes all of it smaller.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from scripts.bench.stage import Line, Stage, show, stage

MOST_ABOVE_IDLE = 300  # MB
PART = 990_000  # characters of one message: each is within what the check allows
MODEL = "demo/words"


class Meter:
    """The memory of one process, by its pid; the two are of one kernel."""

    def __init__(self, process: psutil.Process) -> None:
        self._folder = Path(f"/proc/{process.pid}")

    def reset(self) -> None:
        """From now on the highest is that of now."""
        (self._folder / "clear_refs").write_text("5")

    def highest(self) -> float:
        """In MB."""
        status = (self._folder / "status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024


def messages(megabytes: int) -> list[dict[str, str]]:
    """A conversation so long."""
    return [{"role": "user", "content": "a" * PART} for _ in range(megabytes)]


class Abuse:
    """Each method is one kind; what the server refuses is as good as what it takes."""

    def __init__(self, stage: Stage, megabytes: int, count: int) -> None:
        self._client = stage.client
        self._megabytes, self._count = megabytes, count
        self.ids: list[str] = []

    def register_long_schemas(self) -> str:
        """And the list of models that everybody reads."""
        schema = {"properties": {"text": {"description": "x" * (self._megabytes - 1) * 1_000_000}}}
        statuses = {
            self._client.post(
                "/v1/models",
                json={
                    "name": f"s{number}",
                    "visibility": "public",
                    "version": {"runtime": "echo", "input_schema": schema},
                },
            ).status_code
            for number in range(self._count)
        }
        answered = ", ".join(map(str, sorted(statuses)))
        return f"{answered}, the list has {len(self._client.get('/v1/models').content) // 1000} kB"

    def ask_for_choices(self) -> str:
        asked = {"model": MODEL, "n": 128, "max_tokens": 1, "messages": messages(self._megabytes)}
        return str(self._client.post("/v1/chat/completions", json=asked).status_code)

    def make_long_predictions(self) -> str:
        asked: dict[str, Any] = {"version": MODEL, "input": {"messages": messages(self._megabytes)}}
        answers = [self._client.post("/v1/predictions", json=asked) for _ in range(self._count)]
        self.ids = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        return f"{len(self.ids)} made"

    def list_them(self) -> str:
        return f"{len(self._client.get('/v1/predictions?limit=100').content) // 1000} kB"

    def read_eight_at_once(self) -> str:
        with ThreadPoolExecutor(8) as readers:
            sizes = readers.map(
                lambda each: len(self._client.get(f"/v1/predictions/{each}").content), self.ids[:8]
            )
        return f"{sum(sizes) // 1_000_000} MB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=10, help="of one conversation or schema")
    parser.add_argument("--count", type=int, default=100, help="of models, and of predictions")
    arguments = parser.parse_args()
    lines: list[Line] = []
    with stage() as opened:
        meter = Meter(opened.family.of("api")[0])
        opened.client.get("/v1/models")
        meter.reset()
        time.sleep(1)
        idle = meter.highest()
        abuse = Abuse(opened, arguments.megabytes, arguments.count)
        steps: list[Callable[[], str]] = [
            abuse.register_long_schemas,
            abuse.ask_for_choices,
            abuse.make_long_predictions,
            abuse.list_them,
            abuse.read_eight_at_once,
        ]
        for step in steps:
            meter.reset()
            outcome = step()
            above = meter.highest() - idle
            name = f"{step.__name__.replace('_', ' ')} ({outcome})"
            wanted, is_missed = f"≤ {MOST_ABOVE_IDLE} MB above idle", above > MOST_ABOVE_IDLE
            lines.append(Line(name, f"{above:.0f} MB", wanted, is_missed=is_missed))
    return show([Line("idle", f"{idle:.0f} MB", ""), *lines])


if __name__ == "__main__":
    sys.exit(main())
