"""`python -m scripts.bench.cold_model`: how soon a second model of 90 MB is ready, and whether memory comes
back.

Three randomly initialised encoders; the worker's cache holds two. While the first is loaded, the first
prediction of the second is timed, its files dropped from the system's page cache before; the third evicts the
first; then all are unloaded for being idle. Memory is the proportional share (PSS) of the worker and all its
children. The limit beside the time is the same load in this process: weights, tokenizer and one text, the
libraries being imported.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from app.domain.work import ModelSpec
from app.engine.memory import pss
from app.runtimes.base import Alone, Job
from scripts.bench import random_models
from scripts.bench.stage import Line, Stage, show, stage

READY_BAR, BACK_BAR = 1.5, 25_000_000
IDLE_SECONDS = 8
# Two of them, each 90 MB of weights, its own pages and its share of the libraries; a third does not fit
CACHE_BYTES = 600_000_000
TEXT = {"text": "a text"}


def memory(stage: Stage) -> int:
    """PSS of the worker's tree in bytes."""
    worker = stage.family.of("worker", "--device")[0]
    return sum(pss(process.pid) for process in [worker, *worker.children(recursive=True)])


def drop_from_page_cache(folder: Path) -> None:
    """Its files will be read from the disk again."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def alone(folder: Path, threads: int) -> float:
    """Seconds of the same load in this process."""
    import torch

    from app.runtimes.encoders.embedding import Embedding

    torch.set_num_threads(threads)
    drop_from_page_cache(folder)
    began = time.perf_counter()
    runtime = Embedding.load(
        ModelSpec("alone", "bench/alone", "embedding", path=str(folder), threads=threads)
    )
    job = Job("alone", dict(TEXT))
    runtime.prepare(job)
    list(runtime.run([job], Alone()))
    return time.perf_counter() - began


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Story:
    """The models of one run, and what was measured. Times in seconds, memory in bytes."""

    def __init__(self, stage: Stage, root: Path, config: dict[str, str]) -> None:
        self._stage, self._config = stage, config
        self.folders = {name: root / name for name in ("first", "second", "third")}
        self.ready: list[float] = []
        self.loads: list[float] = []
        self.left: list[int] = []
        self.evicted: list[int] = []

    def _first_call(self, name: str, run: int) -> tuple[float, float]:
        """Seconds of the first prediction of a version that was never loaded, and of its load."""
        version = self._stage.model(
            f"{name}-{run}", self.folders[name], "embedding", prompt=f"run {run}", **self._config
        )
        drop_from_page_cache(self.folders[name])
        began = time.perf_counter()
        prediction = self._stage.predict(version, TEXT)
        return time.perf_counter() - began, prediction["metrics"]["load"]

    def run(self, number: int) -> None:
        """Once: the second beside the first, the third instead of the first, none at all."""
        before = self._memory_at_rest()
        self._first_call("first", number)
        seconds, load = self._first_call("second", number)
        self.ready.append(seconds)
        self.loads.append(load)
        two = self._memory_at_rest()
        self._first_call("third", number)
        if not until(lambda: len(self._stage.family.models()) == 2, 5):
            raise RuntimeError(f"{len(self._stage.family.models())} models are loaded, and two were to be")
        self.evicted.append(self._memory_at_rest() - two)
        if not until(lambda: not self._stage.family.models(), IDLE_SECONDS * 3):
            raise RuntimeError("idle models were not unloaded")
        self.left.append(self._memory_at_rest() - before)

    def _memory_at_rest(self) -> int:
        time.sleep(0.3)
        return memory(self._stage)


def lines(story: Story, kind: str, limit: float) -> list[Line]:
    """The rows of the table."""
    each = ", ".join(f"{seconds:.2f}" for seconds in story.ready)
    ready, bar = f"{median(story.ready):.2f} s ({each})", f"≤ {BACK_BAR / 1e6:.0f} MB"
    evicted, left = f"{median(story.evicted) / 1e6:+.0f} MB", f"{median(story.left) / 1e6:+.0f} MB"
    return [
        Line(
            f"second model of {kind}, never loaded: first answer",
            ready,
            f"≤ {READY_BAR} s",
            f"in process {limit:.2f} s",
        ),
        Line("of it, loading", f"{median(story.loads):.2f} s", ""),
        Line("a third model in the place of the first: PSS of the worker's tree gained", evicted, bar),
        Line("after all were unloaded for being idle: PSS above what it was before", left, bar),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.cold_model", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtype", default="float32", help="of all three models")
    arguments = parser.parse_args()
    with random_models.models_folder() as root:
        for seed, name in enumerate(("first", "second", "third")):
            random_models.encoder(root / name, seed)
        env = {
            "MODEL_ROOTS": str(root),
            "MODEL_CACHE_BYTES": str(CACHE_BYTES),
            "MODEL_IDLE_SECONDS": str(IDLE_SECONDS),
        }
        with stage(**env) as platform:
            platform.predict("demo/echo", {"text": "x"})
            story, limits = Story(platform, root, {"dtype": arguments.dtype}), []
            story.run(0)  # the fork server imports for all later models what the first one needed
            for kept in (story.ready, story.loads, story.evicted, story.left):
                kept.clear()
            for number in range(1, arguments.runs + 1):
                limits.append(alone(story.folders["second"], os.cpu_count() or 1))
                story.run(number)
        size = (root / "second" / "model.safetensors").stat().st_size / 1e6
    show(lines(story, f"{size:.0f} MB ({arguments.dtype})", median(limits)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
