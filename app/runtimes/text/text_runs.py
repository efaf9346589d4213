"""One running request of a text model: its tokens so far, the text that is safe to give out, and how it ends.

Knows the events of `domain.work`; nothing of the model, the cache or its neighbours in the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.work import Canceled, Chunk, Event, Finished
from app.runtimes.base import Job
from app.runtimes.text.sampling import Dice, Sampling
from app.runtimes.text.text_pieces import Decode, Detokenizer, StopFilter


@dataclass(frozen=True, slots=True)
class Request:
    """What `prepare` makes of a job: the prompt's ids, at most `limit` new tokens, stop strings."""

    ids: list[int]
    limit: int
    stops: list[str]
    seed: int
    sampling: Sampling


class TextRun:
    """`reason` is empty while it runs; then it is stop, length or canceled."""

    def __init__(self, job: Job, decode: Decode, ends: frozenset[int]) -> None:
        request: Request = job.prepared
        self.job, self.request, self._ends = job, request, ends
        self.sampling, self.dice = request.sampling, Dice(request.seed)
        self.last = request.ids[-1]
        self.seen: list[int] = list(dict.fromkeys(request.ids)) if self._remembers else []
        self.reason = ""
        self._made = 0
        self._chunks: list[str] = []
        self._pieces = Detokenizer(decode, request.ids)
        self._filter = StopFilter(request.stops)

    @property
    def _remembers(self) -> bool:
        return self.sampling.repetition_penalty != 1.0

    def take(self, token: int) -> Iterator[tuple[str, Event]]:
        """The events that this token brings."""
        self.last = token
        self._made += 1
        if self._remembers and token not in self.seen:
            self.seen.append(token)
        if text := self._text(token):
            self._chunks.append(text)
            yield self.job.id, Chunk(text)
        if self.reason:
            yield self.job.id, Finished(self._chunks, self.metrics())

    def cancel(self) -> tuple[str, Event]:
        self.reason = "canceled"
        return self.job.id, Canceled(self.metrics())

    def metrics(self) -> dict[str, Any]:
        told = {
            "prompt_tokens": len(self.request.ids),
            "output_tokens": self._made,
            "finish_reason": self.reason,
        }
        return {**told, "seed": self.request.seed} if self.sampling.temperature > 0 else told

    def _text(self, token: int) -> str:
        if token in self._ends:
            self.reason = "stop"
            return self._flush_text("")
        text = self._filter.add(self._pieces.add(token))
        if self._filter.stopped:
            self.reason = "stop"
        elif self._made >= self.request.limit:
            self.reason = "length"
            return self._flush_text(text)
        return text

    def _flush_text(self, text: str) -> str:
        """What was held back, as far as no stop string begins in it."""
        text += self._filter.add(self._pieces.rest())
        if self._filter.stopped:
            self.reason = "stop"
            return text
        return text + self._filter.rest()


def advance(runs: Sequence[TextRun], tokens: Sequence[int]) -> Iterator[tuple[str, Event]]:
    """One more token for every run."""
    for run, token in zip(runs, tokens, strict=True):
        yield from run.take(token)


Start = Callable[[Job], TextRun]
