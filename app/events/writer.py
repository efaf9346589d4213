"""The sending side, for threads: hand over and go on.

Bounded; what Redis does not take is dropped, because readers re-read Postgres when they hear nothing.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import orjson
import redis
import structlog

from app.coalesce import take
from app.events import channels
from app.events.channels import ChunkFrame
from app.redis_sender import Command, RedisSender

log = structlog.get_logger(__name__)

T = TypeVar("T")

HELD_AT_MOST = 50_000
GROUP = 500
NEWS_SECONDS = 0.05  # news that is in no hurry waits so long for company: it informs people, and no prediction waits for it


@dataclass(frozen=True, slots=True)
class Said:
    """What is sent at once."""

    done: list[tuple[str, str | None]]
    cancel: list[str]
    chunks: list[tuple[str, ChunkFrame]]
    news: list[list[str]]


class EventWriter(RedisSender[Said]):
    """`dropped` counts what was not sent."""

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url, "events")
        self._done: deque[tuple[str, str | None]] = deque(maxlen=HELD_AT_MOST)
        self._cancel: deque[str] = deque(maxlen=HELD_AT_MOST)
        self._chunks: deque[tuple[str, ChunkFrame]] = deque(maxlen=HELD_AT_MOST)
        self._news: deque[list[str]] = deque(maxlen=HELD_AT_MOST)
        self._soon = self._asleep = False
        self.dropped = 0

    def done(self, endings: Mapping[str, str | None], changes: Iterable[list[str]]) -> None:
        """These predictions have ended (their rows are committed), and how, where that is short (`channels.ending`). While Redis
        takes nothing, only that they have. `changes`: the news of it."""
        brief = len(self._done) > GROUP
        with self._wake:
            self._news.extend(changes)
            self._done.extend((one, None if brief else told) for one, told in endings.items())
            mine = self._own_turn()
        self._send(mine)

    def cancel(self, ids: Iterable[str]) -> None:
        """Whoever runs these predictions is asked to stop them."""
        self._hand_over(self._cancel, ids)

    def chunk(self, prediction_id: str, frame: ChunkFrame) -> None:
        """One more element of a growing output."""
        self._hand_over(self._chunks, [(prediction_id, frame)])

    def _hand_over(self, waiting: deque[T], items: Iterable[T]) -> None:
        with self._wake:
            waiting.extend(items)
            mine = self._own_turn()
        self._send(mine)

    def news(self, changes: Iterable[list[str]], *, soon: bool = False) -> None:
        """[user, prediction, status, model] of each change of state. `soon`: the next one may be another process's to tell, and
        must not overtake it; else it rides along with what is sent next."""
        with self._wake:
            self._news.extend(changes)
            self._soon = self._soon or (soon and bool(self._news))
            if self._soon or (self._news and self._asleep):
                self._wake.notify()

    def _has_some(self) -> bool:
        return bool(self._soon or self._done or self._cancel or self._chunks)

    def _wait(self) -> None:
        """News wakes nobody within a moment of the last that was sent: it finds company."""
        if not self._wake.wait_for(self._due, NEWS_SECONDS) and not self._news:
            self._asleep = True
            self._wake.wait_for(lambda: self._due() or self._news)
            self._asleep = False
            self._wake.wait_for(self._due, NEWS_SECONDS)

    def _take(self) -> Said | None:
        if not (self._done or self._cancel or self._chunks or self._news):
            return None
        self._soon = False
        return Said(take(self._done, GROUP), take(self._cancel, GROUP), take(self._chunks, GROUP), take(self._news, GROUP))

    def _commands(self, group: Said) -> list[Command]:
        commands: list[Command] = []
        for prediction_id, frame in group.chunks:
            raw, kept = frame.encode(), channels.kept(prediction_id)
            commands.append(("XADD", kept, "MAXLEN", "~", channels.LONGEST, "*", "f", raw))
            commands.append(("PUBLISH", channels.live(prediction_id), raw))
        for prediction_id in {prediction_id for prediction_id, _ in group.chunks}:
            commands.append(("EXPIRE", channels.kept(prediction_id), channels.KEEP_SECONDS))
        if group.done:
            commands.append(("PUBLISH", channels.DONE, orjson.dumps(dict(group.done))))
        if group.cancel:
            commands.append(("PUBLISH", channels.CANCEL, orjson.dumps(group.cancel)))
        if group.news:
            commands.append(("PUBLISH", channels.NEWS, orjson.dumps(group.news)))
        return commands

    def _lost(self, group: Said, error: redis.RedisError) -> None:
        self.dropped += _urgent(group)
        log.warning("events_dropped", total=self.dropped, reason=str(error))

    def _broken(self, group: Said) -> None:
        self.dropped += _urgent(group)
        log.exception("events_broken")


def _urgent(group: Said) -> int:
    return len(group.done) + len(group.cancel) + len(group.chunks)
