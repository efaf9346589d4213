"""Runs a runtime in this process as the engine does: prepare, then run, with a feed of late-comers and
cancels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from app.domain.work import END, Chunk, Event, ModelSpec
from app.engine.frames import HEADER, encode, pack, unpack
from app.runtimes import registry
from app.runtimes.base import Job, Runtime


class Feed:
    """What waits, and who is to stop after how many events."""

    def __init__(self, late: Sequence[Job] = (), cancel: dict[str, int] | None = None) -> None:
        self.late, self.cancel = list(late), cancel or {}
        self.asked: dict[str, int] = {}
        self.sent: list[tuple[str, Event]] = []

    def join(self, capacity: int) -> Sequence[Job]:
        coming, self.late = self.late[:capacity], self.late[capacity:]
        return coming

    def more(self) -> Sequence[Job]:
        return self.join(2)

    def flush(self) -> None:
        pass

    def send(self, job_id: str, event: Event) -> None:
        self.sent.append((job_id, event))

    def canceled(self, job_id: str) -> bool:
        self.asked[job_id] = self.asked.get(job_id, 0) + 1
        return job_id in self.cancel and self.asked[job_id] > self.cancel[job_id]


def load(name: str, path: Path | str = "", **more: Any) -> Runtime:
    """A loaded runtime of this name; in 32 bits, if nothing else is said: numbers are compared."""
    runtime = registry.find(name)
    config = {"dtype": "float32"} if "dtype" in runtime.spec.reads else {}
    more["config"] = {**config, **more.get("config", {})}
    return runtime.load(ModelSpec("v", "test/model", name, path=str(path), **more))


def jobs(runtime: Runtime, inputs: Sequence[dict[str, Any]], folder: Path, first: int = 0) -> list[Job]:
    """Prepared jobs with ids "0", "1", …"""
    made = []
    for number, given in enumerate(inputs, first):
        made.append(Job(str(number), given, files=str(folder / str(number))))
        runtime.prepare(made[-1])
    return made


def run(
    runtime: Runtime, batch: Sequence[Job], feed: Feed | None = None
) -> tuple[dict[str, Event], dict[str, list[Any]]]:
    """(endings by id, chunks by id). Asserts that nobody ends twice or speaks after the end."""
    endings: dict[str, Event] = {}
    chunks: dict[str, list[Any]] = {}
    for job_id, event in runtime.run(batch, feed or Feed()):
        assert job_id not in endings, f"{job_id} spoke after its end"
        if isinstance(event, END):
            endings[job_id] = travelled(event)
        elif isinstance(event, Chunk):
            chunks.setdefault(job_id, []).append(event.data)
    return endings, chunks


def travelled(event: Event) -> Event:
    """As it reaches the worker: arrays become lists between the processes. TypeError for what is no JSON."""
    (packed,) = orjson.loads(encode([pack("1", event)])[HEADER.size :])
    return unpack(packed)[1]


def outputs(runtime: Runtime, inputs: Sequence[dict[str, Any]], folder: Path) -> list[Any]:
    """The outputs of one batch, in order."""
    endings, _ = run(runtime, jobs(runtime, inputs, folder))
    return [endings[str(number)].output for number in range(len(inputs))]  # type: ignore[union-attr]
