"""Continuous batching: one token a step for every running request; requests join and leave between steps.

transformers has a ContinuousBatchingManager. It serves paged attention on accelerators, with a scheduler, a
thread and one random generator of its own; here the engine decides what runs, on a CPU as well, every request
has its own seed, and this loop is faster on a CPU (issue 5: 5.1 times one at a time against 4.1). Models that
`Steps.serves` turns down, such as state-space and ALiBi ones, are run by `static_text` instead.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from app.domain.work import Event
from app.runtimes.base import Feed, Job
from app.runtimes.text.kv_cache import Steps
from app.runtimes.text.sampling import choose
from app.runtimes.text.text_runs import Start, TextRun, advance

# Prompt tokens read between two steps, padding included, so that those who stream are not held up for long. A
# longer prompt is read alone. 512 take one core 50 ms with a model of 25 million parameters.
READ_AT_ONCE = {"cpu": 512}
READ_AT_ONCE_ELSEWHERE = 8_192


class StepLoop:
    """The loop of one batch, and of all who join it."""

    def __init__(self, steps: Steps, start: Start, slots: int, device: str) -> None:
        self._steps, self._start, self._slots = steps, start, slots
        self._budget = READ_AT_ONCE.get(device, READ_AT_ONCE_ELSEWHERE)
        self._runs: list[TextRun] = []
        self._waiting: deque[TextRun] = deque()
        self._cache: Any = steps.cache()

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        """Until nobody runs or waits. Prompts are read before the step, so a new request has its first token
        at once."""
        self._waiting.extend(map(self._start, batch))
        while self._waiting or self._runs:
            yield from self._stop_canceled(feed)
            if (capacity := self._slots - len(self._runs) - len(self._waiting)) > 0:
                self._waiting.extend(map(self._start, feed.join(capacity)))
            yield from self._read()
            yield from self._step()

    def _read(self) -> Iterator[tuple[str, Event]]:
        """Puts those who wait, oldest first, into free rows, as many as may be read at once."""
        if fresh := self._next():
            logits = self._steps.read(self._cache, [run.request.ids for run in fresh])
            self._runs += fresh
            yield from advance(fresh, choose(logits, fresh))
            self._drop_ended()

    def _next(self) -> list[TextRun]:
        fresh: list[TextRun] = []
        longest = 0
        while self._waiting and len(self._runs) + len(fresh) < self._slots:
            longest = max(longest, len(self._waiting[0].request.ids))
            if fresh and longest * (len(fresh) + 1) > self._budget:
                break
            fresh.append(self._waiting.popleft())
        return fresh

    def _step(self) -> Iterator[tuple[str, Event]]:
        if self._runs:
            logits = self._steps.step(self._cache, [run.last for run in self._runs])
            yield from advance(self._runs, choose(logits, self._runs))
            self._drop_ended()

    def _stop_canceled(self, feed: Feed) -> Iterator[tuple[str, Event]]:
        for run in (*self._runs, *self._waiting):
            if feed.canceled(run.job.id):
                yield run.cancel()
        self._waiting = deque(run for run in self._waiting if not run.reason)
        self._drop_ended()

    def _drop_ended(self) -> None:
        """From the back, because the last run takes the place of the one that leaves."""
        for row in reversed(range(len(self._runs))):
            if self._runs[row].reason:
                self._cache.leave(row)
                self._runs[row] = self._runs[-1]
                self._runs.pop()
