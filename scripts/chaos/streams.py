"""Model processes are killed in mid-stream: `python -m scripts.chaos.streams`; with `--worker`, workers.

Streams of a real text model, greedy, in rounds; in each, all processes of that kind are killed once. Exit
code 1 when a stream did not end, was not the text of an undisturbed run or not the `output` on record, or
stood still for longer than the bound.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.local.platform_state import Platform
from scripts.chaos.faults import Family
from scripts.own_platform import UNLIMITED, judged

PROMPTS = ("The whale", "Alice was beginning to get very tired of", "It was the best of", "The captain said")
TOKENS = 450
KILLED_AFTER = 60  # pieces
LONGEST_GAP = {"model": 3.5, "worker": 30.0}  # seconds: a process and a prefill; a worker's lease


@dataclass
class Reader:
    """One stream, read on a thread of its own."""

    client: httpx.Client
    prompt: str
    pieces: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    longest_gap: float = 0.0
    last: float = 0.0  # when the last piece came
    prediction: dict[str, Any] = field(default_factory=dict)

    def start(self) -> "Reader":
        values = {"prompt": self.prompt, "max_new_tokens": TOKENS, "temperature": 0}
        created = self.client.post("/v1/predictions", json={"version": "demo/words", "input": values})
        self.prediction = created.raise_for_status().json()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        return self

    def _read(self) -> None:
        for event, data in self._events():
            now = time.monotonic()
            if event != "output":
                self.events.append(event)
                continue
            self.pieces.append(data)
            self.longest_gap = max(self.longest_gap, now - self.last if self.last else 0.0)
            self.last = now

    def _events(self) -> Iterator[tuple[str, str]]:
        event, data = "", []
        with self.client.stream("GET", self.prediction["urls"]["stream"], timeout=120) as answer:
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data.append(line.removeprefix("data: "))
                elif not line and event:
                    yield event, "\n".join(data)
                    event, data = "", []

    def finish(self) -> str:
        """The text that was read."""
        self.thread.join(180)
        address = f"/v1/predictions/{self.prediction['id']}"
        self.prediction = self.client.get(address).raise_for_status().json()
        return "".join(self.pieces)


def list_processes(family: Family, part: str) -> list[psutil.Process]:
    """All model processes, or all workers."""
    return {"": [], "model": family.models(), "worker": family.of("worker", "--device")}[part]


def run_round(client: httpx.Client, family: Family, part: str) -> list[Reader]:
    """All prompts at once; when each has some pieces, the processes are killed, unless `part` is empty."""
    readers = [Reader(client, prompt).start() for prompt in PROMPTS]
    while part and any(reader.thread.is_alive() and len(reader.pieces) < KILLED_AFTER for reader in readers):
        time.sleep(0.002)
    for process in list_processes(family, part):  # whichever of them has the streams
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    for reader in readers:
        reader.finish()
    return readers


def measure(platform: Platform, rounds: int, part: str) -> bool:
    """Prints what came of it; True when all is well."""
    key = Path(platform.key_file).read_text().strip()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=platform.api_url, headers=headers, timeout=60, trust_env=False) as client:
        family = Family(platform)
        run_round(client, family, "")  # loads the model
        undisturbed = [reader.finish() for reader in run_round(client, family, "")]
        gaps, wrong = [], 0
        for number in range(rounds):
            readers = run_round(client, family, part)
            bad = [
                reader
                for reader, text in zip(readers, undisturbed, strict=True)
                if not ("".join(reader.pieces) == "".join(reader.prediction["output"] or ()) == text)
                or reader.events != ["done"]
            ]
            wrong += len(bad)
            gaps += [reader.longest_gap for reader in readers]
            print(
                f"{part} {number + 1}: longest gap {max(gaps[-len(readers) :]):.2f} s, wrong {len(bad)}",
                flush=True,
            )
            for reader in bad:
                print(
                    f"  {reader.prediction['id']} {reader.prediction['status']} {reader.events}"
                    f" {reader.prediction['error'] or ''}",
                    flush=True,
                )
    print(
        f"{rounds} kills, {len(gaps)} streams: wrong {wrong} (wanted 0), longest gap {max(gaps):.2f} s"
        f" (wanted ≤ {LONGEST_GAP[part]:g} s)"
    )
    return not wrong and max(gaps) <= LONGEST_GAP[part]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos.streams", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="rounds, each with one kill")
    parser.add_argument("--worker", action="store_true", help="kill the worker, not its model's process")
    arguments = parser.parse_args()
    part = "worker" if arguments.worker else "model"
    return judged("lovage-streams-", lambda platform: measure(platform, arguments.kills, part), **UNLIMITED)


if __name__ == "__main__":
    sys.exit(main())
