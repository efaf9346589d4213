"""The sending side, for threads: hand over and go on.

Bounded; what Redis does not take is dropped, because readers re-read Postgres when nothing comes.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import orjson
import redis
import structlog

from app.coalesce import next_group
from app.events import channels
from app.events.channels import ChunkFrame
from app.redis_pipe import BatchSender, Command

log = structlog.get_logger(__name__)

T = TypeVar("T")

HELD_AT_MOST = 50_000
GROUP = 500
# State changes that are in no hurry wait so long for company: they inform people, and no prediction waits for
# them.
CHANGES_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What is sent at once."""

    endings: list[tuple[str, str | None]]
    cancel: list[str]
    chunks: list[tuple[str, ChunkFrame]]
    state_changes: list[list[str]]


class EventWriter(BatchSender[EventBatch]):
    """`dropped` counts what was not sent."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__(client, "events")
        self._endings: deque[tuple[str, str | None]] = deque(maxlen=HELD_AT_MOST)
        self._cancel: deque[str] = deque(maxlen=HELD_AT_MOST)
        self._chunks: deque[tuple[str, ChunkFrame]] = deque(maxlen=HELD_AT_MOST)
        self._state_changes: deque[list[str]] = deque(maxlen=HELD_AT_MOST)
        self._changes_due = False  # now, without company
        self._asleep = False  # with nothing to send
        self.dropped = 0

    def ended(self, endings: Mapping[str, str | None], changes: Iterable[list[str]]) -> None:
        """These predictions have ended (their rows are committed), and how, where that is short
        (`channels.encode_ending`). While Redis takes nothing, only that they have. `changes`: their changes
        of state."""
        brief = len(self._endings) > GROUP
        with self._wake:
            self._state_changes.extend(changes)
            self._endings.extend((id_, None if brief else ending) for id_, ending in endings.items())
            batch = self._begin_batch()
        self._send(batch)

    def cancel(self, ids: Iterable[str]) -> None:
        """Whoever runs these predictions is to stop them."""
        self._hand_over(self._cancel, ids)

    def chunk(self, prediction_id: str, frame: ChunkFrame) -> None:
        """One more element of an output."""
        self._hand_over(self._chunks, [(prediction_id, frame)])

    def _hand_over(self, waiting: deque[T], items: Iterable[T]) -> None:
        with self._wake:
            waiting.extend(items)
            batch = self._begin_batch()
        self._send(batch)

    def state_changes(self, changes: Iterable[list[str]], *, soon: bool = False) -> None:
        """[user, prediction, status, model] of each change of state. `soon`: the next one may be another
        process's to publish, and must not overtake it; else it goes along with what is sent next."""
        with self._wake:
            self._state_changes.extend(changes)
            self._changes_due = self._changes_due or (soon and bool(self._state_changes))
            if self._changes_due or (self._state_changes and self._asleep):
                self._wake.notify()

    def _has_some(self) -> bool:
        return bool(self._changes_due or self._endings or self._cancel or self._chunks)

    def _wait(self) -> None:
        """State changes wake nobody within a moment of the last that were sent: they find company."""
        if not self._wake.wait_for(self._due, CHANGES_SECONDS) and not self._state_changes:
            self._asleep = True
            self._wake.wait_for(lambda: self._due() or self._state_changes)
            self._asleep = False
            self._wake.wait_for(self._due, CHANGES_SECONDS)

    def _next_group(self) -> EventBatch | None:
        if not (self._endings or self._cancel or self._chunks or self._state_changes):
            return None
        self._changes_due = False
        return EventBatch(
            next_group(self._endings, GROUP),
            next_group(self._cancel, GROUP),
            next_group(self._chunks, GROUP),
            next_group(self._state_changes, GROUP),
        )

    def _commands(self, group: EventBatch) -> list[Command]:
        commands: list[Command] = []
        for prediction_id, frame in group.chunks:
            raw, kept = frame.encode(), channels.kept(prediction_id)
            commands.append(("XADD", kept, "MAXLEN", "~", channels.LONGEST, "*", "f", raw))
            commands.append(("PUBLISH", channels.live(prediction_id), raw))
        for prediction_id in {prediction_id for prediction_id, _ in group.chunks}:
            commands.append(("EXPIRE", channels.kept(prediction_id), channels.KEEP_SECONDS))
        if group.endings:
            commands.append(("PUBLISH", channels.ENDED, orjson.dumps(dict(group.endings))))
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
    return len(group.endings) + len(group.cancel) + len(group.chunks)
