"""Forward passes side by side: on a processor, two of one thread each do more than one of two, and pad less.

A pass of small matrices is a hundred short pieces of work with a barrier after each. Measured on two cores
with MiniLM and texts of 5 to 250 tokens, 100 waiting, batches of 32: 340 texts/s in bfloat16 with two
threads, 455 with two lanes; in 32 bits 187 and 222. A lane that has done its part takes the next, of this
batch or of what waits: neither waits for the other. Knows no model: it is given rows, their lengths and a
function.
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

LANES = 2  # more of them would wait for each other's Python
# Fewer cells than this are done sooner by all threads together.
LEAST_CELLS = 256
# Cells (rows x longest) of one forward pass. On a CPU more gains nothing: MiniLM on one core gave 141 texts/s
# in batches of 16 and 123 in batches of 32; an accelerator is idle with less.
CELLS_ON_CPU = 2_048
CELLS_ELSEWHERE = 65_536

Work = Callable[[list[Any]], Sequence[Any]]


@dataclass(slots=True)
class Answered:
    """A job and the answers of its rows, in their order. `padding` is the share of the cells it met that held
    nothing."""

    job: Job
    answers: list[Any]
    paddings: list[float] = field(default_factory=list)

    @property
    def padding(self) -> float:
        return sum(self.paddings) / len(self.paddings)


@dataclass(slots=True)
class _Part:
    """Rows of one pass, each as (whose, its number there), and their padding."""

    rows: list[tuple[Answered, int]]
    padding: float


class Lanes:
    """Used by one thread. A job's `prepared` is the list of its rows; `length` is that of a row, in cells;
    `unpadded` as the runtime is."""

    def __init__(
        self, model: ModelSpec, length: Callable[[Any], int] = len, *, unpadded: bool = False
    ) -> None:
        on_cpu = model.device == "cpu"
        one_threads = (
            value_of(model.config, "torch_compile") or model.trust_remote_code
        )  # transformers' own layers may be shared
        self._count = min(LANES, model.threads) if on_cpu and not one_threads else 1
        self._threads, self._length, self._unpadded = model.threads, length, unpadded
        self._cells = CELLS_ON_CPU if on_cpu else CELLS_ELSEWHERE
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="lane") if self._count > 1 else None

    def run(self, batch: Sequence[Job], feed: Feed, work: Work) -> Iterator[Answered]:
        """Each job of the batch, and of those that join it, when it is done. `work` gives the answers of rows
        of similar length; it may be called by several threads at once."""
        parts = deque(self._parts(batch))
        if self._pool is None:
            for part in parts:
                yield from self._answered(part, work([self._row(one) for one in part.rows]))
                feed.flush()
            return
        running: dict[Future[Sequence[Any]], _Part] = {}
        try:
            while self._fill(parts, running, feed, work):
                if len(parts) == 1 and not running:
                    yield from self._answered(part := parts.popleft(), self._work(part, work, self._threads))
                else:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield from self._answered(running.pop(future), future.result())
                feed.flush()
        finally:
            wait(running)  # whoever is next must not meet what still runs

    def _fill(
        self, parts: deque[_Part], running: dict[Future[Sequence[Any]], _Part], feed: Feed, work: Work
    ) -> bool:
        """Gives every free lane a part, but leaves one that is alone: it is for the caller's own thread.
        False when there is nothing to do.

        In lanes, a pass has its share of the threads, of two cores one. OpenMP keeps a team for each thread
        that ever asked for more, and once they are more than cores, whoever waits for the others of his team
        sleeps: a text took 11.3 ms, and 7.7 in the one thread that has a team.
        """
        assert self._pool is not None
        while len(running) < self._count:
            if not parts:
                parts.extend(self._parts(feed.more()))
            if not parts or (len(parts) == 1 and not running):
                break
            part = parts.popleft()
            running[self._pool.submit(self._work, part, work, self._threads // self._count)] = part
        return bool(running or parts)

    def _work(self, part: _Part, work: Work, threads: int) -> Sequence[Any]:
        """torch counts its threads for each of ours, its libraries for all of them together: so it is said
        before every pass."""
        import torch

        torch.set_num_threads(threads)
        return work([self._row(one) for one in part.rows])

    def _parts(self, jobs: Sequence[Job]) -> Iterator[_Part]:
        """Largest first, so that the lanes end together."""
        rows = [
            (one, n)
            for one in (Answered(job, [None] * len(job.prepared)) for job in jobs)
            for n in range(len(one.answers))
        ]
        lengths = [self._length(self._row(row)) for row in rows]
        lanes = self._count if sum(lengths) >= LEAST_CELLS else 1
        groups = cut_evenly(lengths, self._cells, lanes, unpadded=self._unpadded)
        sizes = [cells(lengths, group, unpadded=self._unpadded) for group in groups]
        for size, group in sorted(zip(sizes, groups, strict=True), key=lambda one: -one[0]):
            padding = 1.0 - sum(lengths[n] for n in group) / size
            yield _Part([rows[n] for n in group], padding)

    @staticmethod
    def _row(one: tuple[Answered, int]) -> Any:
        return one[0].job.prepared[one[1]]

    @staticmethod
    def _answered(part: _Part, answers: Sequence[Any]) -> Iterator[Answered]:
        """Those who have all their answers now."""
        for (whose, number), answer in zip(part.rows, answers, strict=True):
            whose.answers[number] = answer
            whose.paddings.append(part.padding)
            if len(whose.paddings) == len(whose.answers):
                yield whose
