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
from app.redis_pipe import Command, RedisSender

log = structlog.get_logger(__name__)

T = TypeVar("T")

HELD_AT_MOST = 50_000
GROUP = 500
# news that is in no hurry waits so long for company: it informs people, and no prediction waits for it
CHANGES_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What is sent at once."""

    done: list[tuple[str, str | None]]
    cancel: list[str]
    chunks: list[tuple[str, ChunkFrame]]
    state_changes: list[list[str]]


class EventWriter(RedisSender[EventBatch]):
    """`dropped` counts what was not sent."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__(client, "events")
        self._done: deque[tuple[str, str | None]] = deque(maxlen=HELD_AT_MOST)
        self._cancel: deque[str] = deque(maxlen=HELD_AT_MOST)
        self._chunks: deque[tuple[str, ChunkFrame]] = deque(maxlen=HELD_AT_MOST)
        self._state_changes: deque[list[str]] = deque(maxlen=HELD_AT_MOST)
        self._soon = self._asleep = False
        self.dropped = 0

    def done(self, endings: Mapping[str, str | None], changes: Iterable[list[str]]) -> None:
        """These predictions have ended (their rows are committed), and how, where that is short
        (`channels.ending`). While Redis takes nothing, only that they have. `changes`: the news of it."""
        brief = len(self._done) > GROUP
        with self._wake:
            self._state_changes.extend(changes)
            self._done.extend((one, None if brief else ending) for one, ending in endings.items())
            batch = self._begin_batch()
        self._send(batch)

    def cancel(self, ids: Iterable[str]) -> None:
        """Whoever runs these predictions is asked to stop them."""
        self._hand_over(self._cancel, ids)

    def chunk(self, prediction_id: str, frame: ChunkFrame) -> None:
        """One more element of a growing output."""
        self._hand_over(self._chunks, [(prediction_id, frame)])

    def _hand_over(self, waiting: deque[T], items: Iterable[T]) -> None:
        with self._wake:
            waiting.extend(items)
            batch = self._begin_batch()
        self._send(batch)

    def state_changes(self, changes: Iterable[list[str]], *, soon: bool = False) -> None:
        """[user, prediction, status, model] of each change of state. `soon`: the next one may be another
        process's to tell, and must not overtake it; else it rides along with what is sent next."""
        with self._wake:
            self._state_changes.extend(changes)
            self._soon = self._soon or (soon and bool(self._state_changes))
            if self._soon or (self._state_changes and self._asleep):
                self._wake.notify()

    def _has_some(self) -> bool:
        return bool(self._soon or self._done or self._cancel or self._chunks)

    def _wait(self) -> None:
        """News wakes nobody within a moment of the last that was sent: it finds company."""
        if not self._wake.wait_for(self._due, CHANGES_SECONDS) and not self._state_changes:
            self._asleep = True
            self._wake.wait_for(lambda: self._due() or self._state_changes)
            self._asleep = False
            self._wake.wait_for(self._due, CHANGES_SECONDS)

    def _take(self) -> EventBatch | None:
        if not (self._done or self._cancel or self._chunks or self._state_changes):
            return None
        self._soon = False
        return EventBatch(
            take(self._done, GROUP),
            take(self._cancel, GROUP),
            take(self._chunks, GROUP),
            take(self._state_changes, GROUP),
        )

    def _commands(self, group: EventBatch) -> list[Command]:
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
        if group.state_changes:
            commands.append(("PUBLISH", channels.STATE_CHANGES, orjson.dumps(group.state_changes)))
        return commands

    def _on_error(self, group: EventBatch, error: redis.RedisError) -> None:
        self.dropped += _urgent(group)
        log.warning("events_dropped", total=self.dropped, reason=str(error))

    def _on_bug(self, group: EventBatch) -> None:
        self.dropped += _urgent(group)
        log.exception("events_broken")


def _urgent(group: EventBatch) -> int:
    return len(group.done) + len(group.cancel) + len(group.chunks)
