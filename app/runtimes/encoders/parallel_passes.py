"""Forward passes side by side: on a processor, two of one thread each do more than one of two, and pad less.

A pass of small matrices is a hundred short pieces of work with a barrier after each. Measured on two cores
with MiniLM and texts of 5 to 250 tokens, 100 waiting, batches of 32: 340 texts/s in bfloat16 with one pass
of two threads at a time, 455 with two passes side by side; in 32 bits 187 and 222. When a pass ends, the next
one begins, of this batch or of what waits: none waits for the one beside it. Knows no model, only rows, their
lengths and a function.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from app.domain.version_settings import value_of
from app.domain.work import ModelSpec
from app.runtimes.base import Feed, Job
from app.runtimes.encoders.rows import cells, cut_evenly

MOST_PARALLEL = 2  # more of them would wait for each other's Python
# Fewer cells than this are done sooner by all threads together.
LEAST_CELLS = 256
# Cells (rows x longest) of one forward pass. On a CPU more gains nothing: MiniLM on one core gave 141 texts/s
# in batches of 16 and 123 in batches of 32; an accelerator is idle with less.
CELLS_ON_CPU = 2_048
CELLS_ELSEWHERE = 65_536

Forward = Callable[[list[Any]], Sequence[Any]]


@dataclass(slots=True)
class JobAnswers:
    """A job and the answers of its rows, in their order. `padding` is the share of the cells it met that held
    nothing."""

    job: Job
    answers: list[Any]
    paddings: list[float] = field(default_factory=list)

    @property
    def padding(self) -> float:
        return sum(self.paddings) / len(self.paddings)


@dataclass(slots=True)
class _Pass:
    """Rows of one forward pass, each as (whose, its number there), and their padding."""

    rows: list[tuple[JobAnswers, int]]
    padding: float


_Running = dict[Future[Sequence[Any]], _Pass]


class ParallelPasses:
    """Used by one thread. A job's `prepared` is the list of its rows; `length` is that of a row, in cells;
    `unpadded` as the runtime is."""

    def __init__(
        self, model: ModelSpec, length: Callable[[Any], int] = len, *, unpadded: bool = False
    ) -> None:
        on_cpu = model.device == "cpu"
        self._count = passes_for(model)
        self._threads = model.threads
        self._length, self._unpadded = length, unpadded
        self._cells = CELLS_ON_CPU if on_cpu else CELLS_ELSEWHERE
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="pass") if self._count > 1 else None

    def close(self) -> None:
        """Ends its threads."""
        if self._pool:
            self._pool.shutdown()

    def run_batch(self, batch: Sequence[Job], feed: Feed, forward: Forward) -> Iterator[JobAnswers]:
        """Each job of the batch, and of those that join it, when all its rows are answered. `forward` gives
        the answers of rows of similar length; several threads may call it at once."""
        passes = deque(self._cut(batch))
        if self._pool is None:
            for each in passes:
                yield from self._collect(each, forward(_rows(each)))
                feed.flush()
            return
        running: _Running = {}
        try:
            while self._start_passes(passes, running, feed, forward):
                if len(passes) == 1 and not running:
                    each = passes.popleft()
                    yield from self._collect(each, self._run_pass(each, forward, self._threads))
                else:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield from self._collect(running.pop(future), future.result())
                feed.flush()
        finally:
            wait(running)  # whoever is next must not meet what still runs

    def _start_passes(self, passes: deque[_Pass], running: _Running, feed: Feed, forward: Forward) -> bool:
        """Starts a pass in every free thread, but leaves one that is alone: it is for the caller's own
        thread. False when there is nothing to do.

        Side by side, a pass has its share of the threads, of two cores one. OpenMP keeps a team for each
        thread that ever asked for more, and once they are more than cores, whoever waits for the others of
        their team sleeps: a text took 11.3 ms, and 7.7 in the one thread that has a team.
        """
        assert self._pool is not None
        while len(running) < self._count:
            if not passes:
                passes.extend(self._cut(feed.more()))
            if not passes or (len(passes) == 1 and not running):
                break
            each = passes.popleft()
            running[self._pool.submit(self._run_pass, each, forward, self._threads // self._count)] = each
        return bool(running or passes)

    @staticmethod
    def _run_pass(each: _Pass, forward: Forward, threads: int) -> Sequence[Any]:
        """torch counts its threads for each of ours, its libraries for all of them together: so the number is
        set before every pass."""
        import torch

        torch.set_num_threads(threads)
        return forward(_rows(each))

    def _cut(self, jobs: Sequence[Job]) -> Iterator[_Pass]:
        """The passes for these jobs, largest first, so that those side by side end together."""
        rows = [
            (answers, number)
            for answers in (JobAnswers(job, [None] * len(job.prepared)) for job in jobs)
            for number in range(len(answers.answers))
        ]
        lengths = [self._length(_row(*row)) for row in rows]
        count = self._count if sum(lengths) >= LEAST_CELLS else 1
        groups = cut_evenly(lengths, self._cells, count, unpadded=self._unpadded)
        sizes = [cells(lengths, group, unpadded=self._unpadded) for group in groups]
        for size, group in sorted(zip(sizes, groups, strict=True), key=lambda sized: -sized[0]):
            padding = 1.0 - sum(lengths[number] for number in group) / size
            yield _Pass([rows[number] for number in group], padding)

    @staticmethod
    def _collect(each: _Pass, answers: Sequence[Any]) -> Iterator[JobAnswers]:
        """Those that have all their answers now."""
        for (whose, number), answer in zip(each.rows, answers, strict=True):
            whose.answers[number] = answer
            whose.paddings.append(each.padding)
            if len(whose.paddings) == len(whose.answers):
                yield whose


def passes_for(model: ModelSpec) -> int:
    """How many run side by side."""
    # Layers that are compiled or of somebody's own code may have state that two threads must not share.
    is_shareable = not (value_of(model.config, "torch_compile") or model.trust_remote_code)
    return max(1, min(MOST_PARALLEL, model.threads)) if model.device == "cpu" and is_shareable else 1


def _rows(each: _Pass) -> list[Any]:
    return [_row(*row) for row in each.rows]


def _row(whose: JobAnswers, number: int) -> Any:
    return whose.job.prepared[number]
