"""One running request of a text model: its tokens so far, the text that is safe to give out, and how it ends.

Knows the events of `domain.work`; nothing of the model, the cache or its neighbours in the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.work import Canceled, Chunk, Event, Failed, Finished
from app.runtimes.base import Job
from app.runtimes.finite import NOT_FINITE, rows_not_finite
from app.runtimes.text.sampling import Sampling, UniformGenerator, choose_tokens
from app.runtimes.text.text_pieces import Decode, Detokenizer, StopFilter


@dataclass(frozen=True, slots=True)
class Request:
    """What `prepare` makes of a job: the prompt's ids, at most `limit` new tokens, stop strings. `tokens`:
    those of an earlier run, behind which this one goes on."""

    ids: list[int]
    limit: int
    stops: list[str]
    seed: int
    sampling: Sampling
    tokens: Sequence[int] = ()


class TextRun:
    """`finish_reason` is empty while it runs; then it is stop, length, canceled or failed."""

    def __init__(self, job: Job, decode: Decode, ends: frozenset[int]) -> None:
        request: Request = job.prepared
        self.job, self.request = job, request
        self._ends = ends
        self.sampling = request.sampling
        self.generator = UniformGenerator(request.seed, len(request.tokens))
        self.last = request.ids[-1]
        self.seen: list[int] = list(dict.fromkeys(request.ids)) if self._remembers else []
        self.finish_reason = ""
        self._generated = 0
        self._chunks: list[str] = []
        self._unchunked: list[int] = []  # tokens since the last chunk
        self._pieces = Detokenizer(decode, request.ids)
        self._filter = StopFilter(request.stops)
        for token in request.tokens:  # the run that it follows has given their events out
            list(self.add_token(token))

    @property
    def _remembers(self) -> bool:
        return self.sampling.repetition_penalty != 1.0

    @property
    def context(self) -> list[int]:
        """What the model has to read before the first new token."""
        return [*self.request.ids, *self.request.tokens]

    @property
    def left(self) -> int:
        """How many more tokens there may be."""
        return self.request.limit - self._generated

    def follows(self, chunks: Sequence[str]) -> bool:
        """Whether it has made these very chunks of its tokens, and is not at its end."""
        return self._chunks == chunks and not (self._unchunked or self.finish_reason)

    def add_token(self, token: int) -> Iterator[tuple[str, Event]]:
        """The events that this token brings."""
        self.last = token
        self._generated += 1
        self._unchunked.append(token)
        if self._remembers and token not in self.seen:
            self.seen.append(token)
        if text := self._text(token):
            self._chunks.append(text)
            yield self.job.id, Chunk(text, self._unchunked)
            self._unchunked = []
        if self.finish_reason:
            yield self.job.id, Finished(self._chunks, self.metrics())

    def cancel(self) -> tuple[str, Event]:
        self.finish_reason = "canceled"
        return self.job.id, Canceled(self.metrics())

    def fail(self, error: str) -> tuple[str, Event]:
        self.finish_reason = "failed"
        return self.job.id, Failed(error, metrics=self.metrics())

    def metrics(self) -> dict[str, Any]:
        metrics = {
            "prompt_tokens": len(self.request.ids),
            "output_tokens": self._generated,
            "finish_reason": self.finish_reason,
        }
        return {**metrics, "seed": self.request.seed} if self.sampling.temperature > 0 else metrics

    def _text(self, token: int) -> str:
        if token in self._ends:
            self.finish_reason = "stop"
            return self._with_held_back("")
        text = self._filter.add(self._pieces.add(token))
        if self._filter.stopped:
            self.finish_reason = "stop"
        elif self._generated >= self.request.limit:
            self.finish_reason = "length"
            return self._with_held_back(text)
        return text

    def _with_held_back(self, text: str) -> str:
        """The text and what was held back, as far as no stop string begins in it."""
        text += self._filter.add(self._pieces.flush())
        if self._filter.stopped:
            self.finish_reason = "stop"
            return text
        return text + self._filter.flush()


def continue_runs(runs: Sequence[TextRun], logits: Any) -> Iterator[tuple[str, Event]]:
    """One more token for every run, from its row of logits; a run whose row holds no finite choice fails."""
    broken = rows_not_finite(logits)
    for row in broken:
        yield runs[row].fail(NOT_FINITE)
    if broken:
        rows = [row for row in range(len(runs)) if row not in broken]
        runs, logits = [runs[row] for row in rows], logits[rows]
    for run, token in zip(runs, choose_tokens(logits, runs) if runs else [], strict=True):
        yield from run.add_token(token)


StartRun = Callable[[Job], TextRun]
