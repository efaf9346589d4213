"""How long an encoder's batches take as predictions make them, for the choice of an engine. Knows no engine
and no network."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from app.domain.version_settings import number_of
from app.domain.work import ModelSpec
from app.runtimes.base import Alone, Job
from app.runtimes.encoders.parallel_passes import Forward, ParallelPasses

# Tokens of eight texts: the quantiles of a log-normal distribution, as questions and paragraphs have. A batch
# has the same ones again and again, up to the version's size.
LENGTHS = (8, 13, 17, 22, 27, 34, 46, 90)
ALONE_LENGTH = 24
USUAL_BATCH = 32
# A batch is run until it has taken so long, and so often at least; the quickest run counts.
SAMPLE_SECONDS = 0.2
LEAST_RUNS = 3


def batch_lengths(model: ModelSpec) -> list[list[int]]:
    """Lengths of the rows of what is timed: a text alone, and a batch as large as the version's."""
    size = int(number_of(model.config, "max_batch_size") or USUAL_BATCH)
    if size == 1:
        return [[ALONE_LENGTH]]
    return [[ALONE_LENGTH], [LENGTHS[number % len(LENGTHS)] for number in range(size)]]


def time_batches(
    model: ModelSpec,
    row_of: Callable[[int], Any],
    forward: Forward,
    length: Callable[[Any], int],
    *,
    unpadded: bool,
) -> list[float]:
    """Seconds of each of `batch_lengths`, by passes as `run` has them. `row_of`: a row of so many tokens."""
    passes = ParallelPasses(model, length, unpadded=unpadded)
    try:
        return [
            _quickest(passes, [row_of(each) for each in lengths], forward) for lengths in batch_lengths(model)
        ]
    finally:
        passes.close()


def _quickest(passes: ParallelPasses, rows: Sequence[Any], forward: Forward) -> float:
    jobs = [Job(str(number), {}, prepared=[row]) for number, row in enumerate(rows)]
    times: list[float] = []
    while len(times) <= LEAST_RUNS or sum(times[1:]) < SAMPLE_SECONDS:
        began = time.perf_counter()
        for _ in passes.run_batch(jobs, Alone(), forward):
            pass
        times.append(time.perf_counter() - began)
    return min(times[1:])  # the first one compiles kernels
