"""One running request of a text model: its tokens so far, the pieces that are safe to give out, and how it
ends.

Knows the events of `domain.work`; nothing of the model, the cache or its neighbours in the batch.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.work import Canceled, Chunk, Event, Failed, Finished
from app.runtimes.base import Job
from app.runtimes.finite import NOT_FINITE, rows_not_finite
from app.runtimes.text.message_pieces import Piece, Pieces, PlainPieces
from app.runtimes.text.prompt_pictures import PromptPictures
from app.runtimes.text.sampling import Sampling, UniformGenerator, choose_tokens
from app.runtimes.text.text_pieces import Decode, Detokenizer, StopFilter
from app.runtimes.text.token_masks import TokenMasks
from app.runtimes.text.token_scores import Score, TokenScorer

NOTHING_ALLOWED = "its grammar allows nothing more: {reason}"


@dataclass(frozen=True, slots=True)
class Request:
    """What `prepare` makes of a job: the prompt's ids, at most `limit` new tokens, stop strings.

    `ends`: ids that end the answer; `logprobs`: so many others are scored with each token (None: nothing is);
    `echo`: the prompt's text, which then begins the answer; `matcher`: a grammar's, at its beginning;
    `split`: makes what splits the answer into pieces; `calls_once`: the first tool call ends it; `tokens`:
    those of an earlier run, behind which this one goes on; `pictures`: those of the prompt.
    """

    ids: list[int]
    limit: int
    stops: list[str]
    seed: int
    sampling: Sampling
    ends: frozenset[int]
    decode: Decode
    logprobs: int | None = None
    echo: str | None = None
    matcher: Any = None
    split: Callable[[], Pieces] = PlainPieces
    calls_once: bool = False
    tokens: Sequence[int] = ()
    pictures: PromptPictures | None = None

    @property
    def can_be_continued(self) -> bool:
        """Whether its tokens are all that a later run needs."""
        return self.logprobs is None and self.echo is None


class TextRun:
    """`finish_reason` is empty while it runs; then it is stop, length, tool_calls, canceled or failed."""

    def __init__(self, job: Job, scorer: TokenScorer) -> None:
        request: Request = job.prepared
        self.job, self.request = job, request
        self.scorer = scorer
        self.sampling = request.sampling
        self.generator = UniformGenerator(request.seed, len(request.tokens))
        self.last: int = request.ids[-1]
        self.seen: list[int] = list(dict.fromkeys(request.ids)) if self._remembers else []
        self.counts: dict[int, int] = Counter()
        self.matcher = request.matcher.deep_copy() if request.matcher is not None else None
        self.finish_reason = ""
        self.cached = 0  # tokens of the prompt that had been read before, for another
        self._generated = 0
        self._chunks: list[Piece] = []
        self._unchunked: list[int] = []  # tokens since the last chunk
        self._scores: list[Score] = []  # of those tokens
        self._pieces = Detokenizer(request.decode, request.ids)
        self._filter = StopFilter(request.stops)
        self._split = request.split()
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

    def follows(self, chunks: Sequence[Piece]) -> bool:
        """Whether it has made these very chunks of its tokens, and is not at its end."""
        return self._chunks == chunks and not (self._unchunked or self.finish_reason)

    def begin(self) -> Iterator[tuple[str, Event]]:
        """Before the first new token: the prompt, where it is to be echoed; the end, where nothing is to
        follow."""
        request = self.request
        if request.echo is not None:
            if request.logprobs is not None:
                self._scores = self.scorer.score_prompt(request.ids, request.logprobs)
            yield from self._emit([request.echo])
        if not request.limit:
            self.finish_reason = "length"
            yield from self._finish()

    def add_token(self, token: int, score: Score | None = None) -> Iterator[tuple[str, Event]]:
        """The events that this token brings."""
        self.last = token
        self._generated += 1
        self._unchunked.append(token)
        self._remember(token)
        text = self._text(token)
        if score is not None and token not in self.request.ends:
            self._scores.append(score)
        pieces = self._split.feed(text)
        if self.request.calls_once and self._split.has_called:
            self.finish_reason = "stop"
        if self.finish_reason:
            pieces += self._split.finish()
        yield from self._emit(pieces)
        if self.finish_reason:
            yield from self._finish()

    def _remember(self, token: int) -> None:
        if self._remembers and token not in self.seen:
            self.seen.append(token)
        if self.sampling.counts_tokens:
            self.counts[token] += 1

    def _emit(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, Event]]:
        """The pieces as chunks; the first one has the tokens that made it, and their scores."""
        for piece in pieces:
            chunk = self._with_scores(piece)
            tokens, self._unchunked = self._unchunked, []
            self._chunks.append(chunk)
            yield self.job.id, Chunk(chunk, tokens if self.request.can_be_continued else None)

    def _with_scores(self, piece: Piece) -> Piece:
        if not self._scores:
            return piece
        scores, self._scores = self._scores, []
        return {**({"content": piece} if isinstance(piece, str) else piece), "logprobs": scores}

    def _finish(self) -> Iterator[tuple[str, Event]]:
        if self._scores:  # of tokens that made no text
            yield from self._emit([""])
        if self.finish_reason == "stop" and self._split.has_called:
            self.finish_reason = "tool_calls"
        yield self.job.id, Finished(self._chunks, self.metrics())

    @property
    def nothing_allowed(self) -> str:
        """Why its grammar lets no token through."""
        reason = self.matcher.get_error() if self.matcher is not None else ""
        return NOTHING_ALLOWED.format(reason=reason or "no token fits")

    def cancel(self) -> tuple[str, Event]:
        self.finish_reason = "canceled"
        return self.job.id, Canceled(self.metrics())

    def fail(self, error: str) -> tuple[str, Event]:
        self.finish_reason = "failed"
        return self.job.id, Failed(error, metrics=self.metrics())

    def metrics(self) -> dict[str, Any]:
        metrics: dict[str, Any] = {
            "prompt_tokens": len(self.request.ids),
            "output_tokens": self._generated,
            "finish_reason": self.finish_reason,
        }
        if self.cached:
            metrics["cached_tokens"] = self.cached
        if self._filter.matched:
            metrics["stop"] = self._filter.matched
        return {**metrics, "seed": self.request.seed} if self.sampling.temperature > 0 else metrics

    def _text(self, token: int) -> str:
        if token in self.request.ends:
            self.finish_reason = "stop"
            return self._with_held_back("")
        text = self._filter.add(self._pieces.add(token))
        if self._filter.stopped:
            self.finish_reason = "stop"
        elif self._has_matched(token):
            self.finish_reason = "stop"
            return self._with_held_back(text)
        elif self._generated >= self.request.limit:
            self.finish_reason = "length"
            return self._with_held_back(text)
        return text

    def _has_matched(self, token: int) -> bool:
        """Whether the grammar is at its end, where nothing can follow."""
        if self.matcher is None:
            return False
        self.matcher.consume_token(token)
        return bool(self.matcher.is_stopped()) and not self.matcher.is_error()

    def _with_held_back(self, text: str) -> str:
        """The text and what was held back, as far as no stop string begins in it."""
        text += self._filter.add(self._pieces.flush())
        if self._filter.stopped:
            self.finish_reason = "stop"
            return text
        return text + self._filter.flush()


def continue_runs(runs: Sequence[TextRun], logits: Any, masks: TokenMasks) -> Iterator[tuple[str, Event]]:
    """One more token for every run, from its row of logits; a run whose row holds no finite choice fails.
    `masks` have begun with the same runs."""
    broken = dict.fromkeys(rows_not_finite(logits), NOT_FINITE)
    allowed = masks.apply(logits)
    if masks.is_used:
        for row in rows_not_finite(allowed):
            broken.setdefault(row, runs[row].nothing_allowed)
    for row, error in broken.items():
        if not runs[row].finish_reason:
            yield runs[row].fail(error)
    kept = [row for row in range(len(runs)) if row not in broken]
    if broken:
        runs = [runs[row] for row in kept]
        logits, allowed = logits[kept], allowed[kept]
    tokens = choose_tokens(allowed, runs) if runs else []
    scores = score_tokens(runs, logits, tokens)
    for number, (run, token) in enumerate(zip(runs, tokens, strict=True)):
        if not run.finish_reason:
            yield from run.add_token(token, scores.get(number))


def score_tokens(runs: Sequence[TextRun], logits: Any, tokens: Sequence[int]) -> dict[int, Score]:
    """Of those runs that are asked for log probabilities, by their number."""
    rows = [number for number, run in enumerate(runs) if run.request.logprobs is not None]
    if not rows:
        return {}
    top = [runs[row].request.logprobs or 0 for row in rows]
    scores = runs[rows[0]].scorer.score(logits[rows], [tokens[row] for row in rows], top)
    return dict(zip(rows, scores, strict=True))


StartRun = Callable[[Job], TextRun]
