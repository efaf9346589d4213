"""A runtime that misbehaves on request, for the engine's tests; found by discovery, run in real model
processes."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from app.domain.work import Canceled, Chunk, Event, Finished, ModelSpec, Progress
from app.runtimes import schema
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfault() -> None:
    ctypes.string_at(0)


class Trial(Runtime):
    """Each job's `do` says what happens; a batch with an evil job suffers as a whole, as with real models."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        "trial", "Misbehaves.", {"": schema.inputs({})}, {"": {}}, needs_source=False
    )

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.ballast = b"x" * int(config.get("ballast", 0))
        self.sizes: list[int] = []

    @classmethod
    def load(cls, model: ModelSpec) -> "Trial":
        config = model.config
        print("loading trial")
        if path := config.get("count_loads"):
            with open(path, "a") as file:
                file.write(f"{os.getpid()}\n")
        time.sleep(config.get("load_seconds", 0))
        if config.get("load_crash"):
            segfault()
        if (path := config.get("load_without")) and not os.path.exists(path):
            raise FileNotFoundError(path)
        if config.get("load_error"):
            raise RuntimeError(config["load_error"])
        return cls(config)

    def probe(self, length: int) -> dict[str, Any] | None:
        if not self.config.get("probe"):
            return None
        return {"length": length, "seconds": length * float(self.config.get("token_seconds", 0))}

    def prepare(self, job: Job) -> None:
        do = job.input.get("do")
        if do == "bad":
            raise ValueError("the text is too long")
        if do == "prepare_error":
            raise KeyError("tokenizer")
        if do == "prepare_crash":
            die()
        if do == "prepare_hang":
            time.sleep(600)
        time.sleep(job.input.get("prepare_seconds", 0))
        job.length = int(job.input.get("length", 1))
        job.batch_key = job.input.get("key", "")

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        self.sizes.append(len(batch))
        rows = int(self.config.get("rows", 0))
        if rows and sum(job.length for job in batch) > rows:
            raise MemoryError("does not fit")
        time.sleep(max(float(job.input.get("seconds", 0)) for job in batch))
        for job in batch:
            evil(str(job.input.get("do")), job)
        for job in batch:
            yield from answer(job, feed, self.sizes)


def evil(do: str, job: Job) -> None:
    """What one job does to its whole batch."""
    if do == "crash":
        print("about to die", flush=True)
        die()
    if do == "segfault":
        segfault()
    if do == "hang":
        time.sleep(600)
    if do == "hang_in_c":
        ctypes.PyDLL(None).sleep(
            600
        )  # PyDLL keeps the interpreter's lock: no thread of this process ever runs again
    if do == "raise":
        raise RuntimeError("index out of range")
    if do == "sticky":
        raise RuntimeError("CUDA error: device-side assert triggered")
    if do == "exit":
        sys.exit(3)
    if do == "print":
        print(f"hello from {job.id}")
        os.write(2, "straight to the descriptor: ä\n".encode())


def answer(job: Job, feed: Feed, sizes: list[int]) -> Iterator[tuple[str, Event]]:
    do = job.input.get("do")
    if do == "silent":
        return
    if do == "steps":
        for step in range(int(job.input["steps"])):
            if feed.canceled(job.id):
                yield job.id, Canceled()
                return
            time.sleep(0.01)
            yield job.id, Progress(step + 1, int(job.input["steps"]))
            yield job.id, Chunk(f"piece {step} ")
    if do == "chunks_then_wait":
        yield job.id, Chunk("first")
        time.sleep(float(job.input.get("wait", 0)))
        yield job.id, Chunk("second")
    if do == "no_json":
        yield job.id, Finished(object())
    elif do == "stranger":
        yield "nobody", Finished(1)
    yield job.id, Finished(facts(do, sizes, job))


def facts(do: Any, sizes: list[int], job: Job) -> Any:
    match do:
        case "sizes":
            return sizes
        case "pid":
            return os.getpid()
        case "environment":
            return dict(os.environ)
        case "threads":
            import torch

            return [torch.get_num_threads(), threading.active_count()]
        case "random":
            import random

            return random.random()
    return job.input.get("text", "")


class JoiningTrial(Trial):
    """Admits waiting jobs between steps; answers each after three steps with the ids it met."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        "trial-joining", "Joins.", {"": schema.inputs({})}, {"": {}}, needs_source=False
    )
    joins = True

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        left = {job.id: int(job.input.get("steps", 3)) for job in batch}
        met: dict[str, set[str]] = {job.id: set() for job in batch}
        while left:
            time.sleep(0.02)
            for job in feed.join(4 - len(left)):
                left[job.id], met[job.id] = int(job.input.get("steps", 3)), set()
            for job_id in list(left):
                met[job_id] |= set(left)
                left[job_id] -= 1
                if left[job_id] == 0:
                    del left[job_id]
                    yield job_id, Finished(sorted(met[job_id]))
