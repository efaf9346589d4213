"""`python -m scripts.bench.generation`: 32 texts streamed to 32 readers at once, against one at a time
through the same path.

A randomly initialised GPT-2 of 25 million parameters continues 32 prompts by 16 to 128 tokens, greedily. One
at a time is measured on every eighth of them. The limit is the same in this process, without the path. Greedy
outputs must be the same in all of these. At the end one more request arrives in the middle of 16 running
ones: the tokens that a neighbour's reader gets until the newcomer's first one are counted.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psutil

from app.domain.work import Finished, ModelSpec
from app.runtimes.base import Alone, Job
from scripts.bench import random_models
from scripts.bench.http_load import Connection
from scripts.bench.stage import Line, Stage, cpu, show, stage
from scripts.bench.streams import open_stream

TIMES_BAR, STEPS_BAR = 3.5, 3
REQUESTS = 32
LEAST, MOST = 16, 128  # new tokens
RUNNING, LATE_AFTER = 16, 8  # neighbours, and tokens that one of them has when the newcomer arrives
TRIES = 3


def inputs() -> list[dict[str, Any]]:
    """The same ones every time."""
    generator = random.Random(1)
    lengths = [LEAST + n * (MOST - LEAST) // (REQUESTS - 1) for n in range(REQUESTS)]
    generator.shuffle(lengths)
    prompts = [" ".join(generator.choices(random_models.WORDS, k=generator.randint(4, 24))) for _ in lengths]
    return [
        {"prompt": prompt, "max_new_tokens": length, "temperature": 0}
        for prompt, length in zip(prompts, lengths, strict=True)
    ]


ALL = inputs()
SOME = ALL[::8]


@dataclass
class Speed:
    """Tokens made, in how many seconds, and what they cost the model's process; `texts` by number of the
    request."""

    tokens: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds

    @property
    def rate_of_cpu(self) -> float:
        return self.tokens / self.cpu


class InProcess:
    """The runtime alone, in this process."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch

        from app.runtimes.text.text_generation import TextGeneration

        torch.set_num_threads(threads)
        self._runtime = TextGeneration.load(
            ModelSpec("alone", "bench/alone", "text-generation", path=str(folder), threads=threads)
        )

    def run(self, inputs: list[dict[str, Any]]) -> Speed:
        """All of them as one batch."""
        speed, own = Speed(), psutil.Process()
        jobs = [Job(values["prompt"], dict(values)) for values in inputs]
        for job in jobs:
            self._runtime.prepare(job)
        began, before = time.perf_counter(), cpu([own])
        for job_id, event in self._runtime.run(jobs, Alone()):
            if isinstance(event, Finished):
                speed.texts[job_id] = "".join(event.output)
                speed.tokens += int(event.metrics["output_tokens"])
        speed.seconds, speed.cpu = time.perf_counter() - began, cpu([own]) - before
        return speed

    def one_at_a_time(self, inputs: list[dict[str, Any]]) -> Speed:
        whole = Speed()
        for values in inputs:
            part = self.run([values])
            whole.tokens += part.tokens
            whole.seconds += part.seconds
            whole.cpu += part.cpu
            whole.texts |= part.texts
        return whole


class Served:
    """The whole path: a POST and a stream of each."""

    def __init__(self, stage: Stage, version: str) -> None:
        self._stage, self._version = stage, version

    async def _stream(self, values: dict[str, Any]) -> Any:
        """The pieces as they come, after the POST."""
        target, connection = self._stage.target, Connection(self._stage.target)
        status, body = await connection.send(
            target.request("POST", "/v1/predictions", {"version": self._version, "input": values})
        )
        connection.close()
        if status != 201:
            raise RuntimeError(f"answered {status}: {body!r}")
        reader, writer = await open_stream(target, orjson.loads(body)["urls"]["stream"])
        kind = b""
        while line := await reader.readline():
            if line.startswith(b"event: "):
                kind = line[7:].strip()
            elif line.startswith(b"data: ") and kind == b"output":
                yield line[6:-1].decode()
            elif kind == b"done":
                break
        writer.close()

    async def _read(self, values: dict[str, Any], speed: Speed) -> None:
        speed.texts[values["prompt"]] = "".join([piece async for piece in self._stream(values)])
        speed.tokens += values["max_new_tokens"]

    def run(self, inputs: list[dict[str, Any]], at_once: int) -> Speed:
        """So many at once, each with a reader of its own."""
        models = self._stage.family.models()
        speed, waiting = Speed(), list(reversed(inputs))

        async def work() -> None:
            while waiting:
                await self._read(waiting.pop(), speed)

        async def everybody() -> None:
            await asyncio.gather(*(work() for _ in range(at_once)))

        began, before = time.perf_counter(), cpu(models)
        asyncio.run(everybody())
        speed.seconds, speed.cpu = time.perf_counter() - began, cpu(models) - before
        return speed

    def late(self) -> int:
        """Tokens that a running neighbour's reader got from the late POST until the late one's first
        token."""
        counted: list[int] = [0]

        async def neighbour(values: dict[str, Any], is_under_way: asyncio.Event | None) -> None:
            async for _ in self._stream(values):
                if is_under_way is not None:
                    counted[0] += 1
                    if counted[0] == LATE_AFTER:
                        is_under_way.set()

        async def story() -> int:
            is_under_way = asyncio.Event()
            others = [dict(values, max_new_tokens=32) for values in ALL[: RUNNING + 1]]
            tasks = [asyncio.ensure_future(neighbour(values, None)) for values in others[2:]]
            tasks.append(asyncio.ensure_future(neighbour(others[1], is_under_way)))
            await is_under_way.wait()
            before, stream = counted[0], self._stream(dict(others[0], max_new_tokens=LEAST))
            await anext(stream)
            steps = counted[0] - before
            async for _ in stream:
                pass
            await asyncio.gather(*tasks)
            return steps

        return asyncio.run(story())


def same(ours: Speed, truth: Speed) -> int:
    """How many texts of `truth` differ in `ours`."""
    return sum(ours.texts[name] != text for name, text in truth.texts.items() if name in ours.texts)


def measure(path: Served, alone: InProcess, runs: int) -> list[Line]:
    ratios: list[float] = []
    costs: list[float] = []
    limits: list[float] = []
    rates: list[float] = []
    wrong = 0
    for _ in range(runs):
        single, batch = path.run(SOME, 1), path.run(ALL, REQUESTS)
        own, together = alone.one_at_a_time(SOME), alone.run(ALL)
        ratios.append(batch.rate / single.rate)
        costs.append(batch.rate_of_cpu / single.rate_of_cpu)
        limits.append(together.rate / own.rate)
        rates.append(batch.rate)
        wrong += same(batch, single) + same(batch, together) + same(single, own)
    steps = sorted(path.late() for _ in range(TRIES))
    what = f"{REQUESTS} texts of {LEAST} to {MOST} tokens to {REQUESTS} readers"
    value = f"{median(ratios):.1f} times ({median(rates):.0f} tokens/s)"
    limit = f"in process {median(limits):.1f} times"
    waited = f"{steps[len(steps) // 2]}, {steps[-1]}"
    return [
        Line(f"{what}: tokens/s of one at a time", value, f"≥ {TIMES_BAR} times", limit),
        Line("the same by the CPU time of the model's process", f"{median(costs):.1f} times", ""),
        Line("greedy texts that differ: batch, one at a time, in process", str(wrong), "0"),
        Line(
            f"steps until a newcomer among {RUNNING} has its first token, median and worst",
            waited,
            f"≤ {STEPS_BAR}",
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.generation", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with random_models.models_folder() as root:
        folder = random_models.causal(root / "text")
        with stage(MODEL_ROOTS=str(root)) as platform:
            version = platform.model("text", folder, "text-generation")
            platform.predict(version, {**ALL[0], "max_new_tokens": 4})
            show(measure(Served(platform, version), InProcess(folder, os.cpu_count() or 1), arguments.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
