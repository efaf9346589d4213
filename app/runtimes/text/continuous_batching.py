"""Continuous batching: one token a step for every running request; requests join and leave between steps.

transformers has a ContinuousBatchingManager. It serves paged attention on accelerators, with a scheduler, a
thread and one random generator of its own; here the engine decides what runs, on a CPU as well, every request
has its own seed, and this loop is faster on a CPU (issue 5: 5.1 times one at a time against 4.1). Models that
`CachedModel.supports_slots` turns down, such as state-space and ALiBi ones, are run by `static_batching`.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from app.domain.work import Event
from app.runtimes.base import Feed, Job
from app.runtimes.text.kv_cache import CachedModel
from app.runtimes.text.text_runs import StartRun, TextRun, continue_runs
from app.runtimes.text.token_masks import TokenMasks

# Prompt tokens prefilled between two steps, padding included, so that those who stream are not held up for
# long. A longer prompt is prefilled alone. 512 take one core 50 ms with a model of 25 million parameters.
PREFILL_TOKENS = {"cpu": 512}
PREFILL_TOKENS_ELSEWHERE = 8_192


class ContinuousBatch:
    """One batch, and all who join it. `start` makes a run of a job; at most `slots` run at once."""

    def __init__(self, model: CachedModel, start: StartRun, slots: int, device: str) -> None:
        self._model, self._slots = model, slots
        self._start = start
        self._budget = PREFILL_TOKENS.get(device, PREFILL_TOKENS_ELSEWHERE)
        self._runs: list[TextRun] = []
        self._waiting: deque[TextRun] = deque()
        self._cache: Any = model.new_cache()
        self._masks = TokenMasks()

    def generate(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        """Until nobody runs or waits. Prompts are prefilled before the step, so a new request has its first
        token at once."""
        self._waiting.extend(map(self._start, batch))
        try:
            while self._waiting or self._runs:
                yield from self._stop_canceled(feed)
                if (capacity := self._slots - len(self._runs) - len(self._waiting)) > 0:
                    self._waiting.extend(map(self._start, feed.join(capacity)))
                yield from self._prefill()
                yield from self._decode()
        finally:
            self._masks.close()

    def _prefill(self) -> Iterator[tuple[str, Event]]:
        """Puts those who wait, oldest first, into free rows, as many as the budget of tokens allows."""
        fresh = self._pop_waiting()
        for run in fresh:
            yield from run.begin()
        if fresh := [run for run in fresh if not run.finish_reason]:
            self._masks.begin(fresh)
            contexts = [run.context for run in fresh]
            logits = self._model.prefill(self._cache, contexts, fresh[0].request.pictures)
            for run, count in zip(fresh, self._model.cached, strict=True):
                run.cached = count
            self._runs += fresh
            yield from continue_runs(fresh, logits, self._masks)
            self._drop_ended()

    def _pop_waiting(self) -> list[TextRun]:
        """A prompt with pictures is prefilled alone."""
        fresh: list[TextRun] = []
        longest = 0
        while self._waiting and len(self._runs) + len(fresh) < self._slots:
            longest = max(longest, self._waiting[0].job.length)
            sees = any(run.request.pictures for run in (*fresh[:1], self._waiting[0]))
            if fresh and (sees or longest * (len(fresh) + 1) > self._budget):
                break
            fresh.append(self._waiting.popleft())
        return fresh

    def _decode(self) -> Iterator[tuple[str, Event]]:
        if self._runs:
            self._masks.begin(self._runs)  # beside the step
            logits = self._model.decode(self._cache, [run.last for run in self._runs])
            yield from continue_runs(self._runs, logits, self._masks)
            self._drop_ended()

    def _stop_canceled(self, feed: Feed) -> Iterator[tuple[str, Event]]:
        for run in (*self._runs, *self._waiting):
            if feed.canceled(run.job.id):
                yield run.cancel()
        self._waiting = deque(run for run in self._waiting if not run.finish_reason)
        self._drop_ended()

    def _drop_ended(self) -> None:
        """From the back, because the last run takes the row of the one that is removed."""
        for row in reversed(range(len(self._runs))):
            if self._runs[row].finish_reason:
                self._cache.remove(row)
                self._runs[row] = self._runs[-1]
                self._runs.pop()
