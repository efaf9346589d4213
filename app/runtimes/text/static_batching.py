"""The fallback for models whose cache has no rows that can be moved (state spaces, ALiBi, …): transformers'
own `generate`.

Requests with prompts of one length run together (one with pictures runs alone), so that no padding is needed
and every family gives what it gives alone; nobody joins. `generate` blocks, so it runs on a thread of its own
and hands out events as they come. Choosing tokens, stop strings and endings are those of continuous batching.
Knows no family by name.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch

from app.domain.work import Event
from app.runtimes.base import Feed, Job
from app.runtimes.text.text_runs import StartRun, TextRun, continue_runs
from app.runtimes.text.token_masks import TokenMasks

# Runs end by their own tokens, and some by none; None would mean the model's.
NO_TOKEN = -1


class StaticBatch:
    """Runs one batch of requests, group by group."""

    def __init__(self, net: Any, start: StartRun, device: str, threads: int) -> None:
        self._net, self._start = net, start
        self._device, self._threads = device, threads

    def generate(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        runs = sorted(map(self._start, batch), key=_size)
        for run in runs:
            yield from run.begin()
        for _, group in groupby((run for run in runs if not run.finish_reason), key=_group_of):
            yield from self._generate_group(list(group), feed)

    def _generate_group(self, runs: list[TextRun], feed: Feed) -> Iterator[tuple[str, Event]]:
        events: queue.SimpleQueue[tuple[str, Event] | BaseException | None] = queue.SimpleQueue()
        group = _Group(runs, feed, events)
        thread = threading.Thread(target=self._generate, args=(group,), daemon=True)
        thread.start()
        try:
            while (item := events.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            group.stopped = True  # closing this generator stops the thread at its next step
            thread.join()

    def _generate(self, group: "_Group") -> None:
        from transformers import GenerationConfig

        torch.set_num_threads(max(1, self._threads))  # a setting of each thread
        longest = max(run.left for run in group.runs)
        settings = GenerationConfig(
            max_new_tokens=longest, do_sample=False, pad_token_id=0, eos_token_id=NO_TOKEN, use_cache=True
        )
        try:
            ids = torch.tensor([run.context for run in group.runs], device=self._device)
            pictures = group.runs[0].request.pictures
            seen = pictures.placed(ids.shape[1], self._device, self._net.dtype) if pictures else {}
            with torch.inference_mode():
                self._net.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    **seen,
                    generation_config=settings,
                    logits_processor=[group.step],
                    stopping_criteria=[group.ended],
                )
            group.events.put(None)
        except BaseException as error:  # noqa: BLE001 - passed on to the batch thread, which raises it
            group.events.put(error)


class _Group:
    """The two hooks of `generate`: it asks `step` for scores, and then `ended` which rows are done. `events`
    is a queue of what is to be yielded."""

    def __init__(self, runs: list[TextRun], feed: Feed, events: Any) -> None:
        self.runs, self._feed = runs, feed
        self.events = events
        self.stopped = False
        self._masks = TokenMasks()

    def step(self, _ids: Any, scores: Any) -> Any:
        """Chooses a token for every row that still runs, and makes it the only possible one."""
        for run in self.runs:
            if not run.finish_reason and self._feed.canceled(run.job.id):
                self.events.put(run.cancel())
        rows = [row for row, run in enumerate(self.runs) if not run.finish_reason]
        runs = [self.runs[row] for row in rows]
        self._masks.begin(runs)
        for item in continue_runs(runs, scores[rows], self._masks) if runs else ():
            self.events.put(item)
        tokens = [run.last if row in rows else 0 for row, run in enumerate(self.runs)]
        picked = torch.tensor(tokens, device=scores.device)[:, None]
        return torch.full_like(scores, float("-inf")).scatter_(1, picked, 0.0)

    def ended(self, ids: Any, _scores: Any, **_more: Any) -> Any:
        done = [self.stopped or bool(run.finish_reason) for run in self.runs]
        return torch.tensor(done, device=ids.device)


def _size(run: TextRun) -> int:
    return run.job.length


def _group_of(run: TextRun) -> tuple[int, str]:
    return run.job.length, run.job.id if run.request.pictures else ""
