"""The sending side, for threads: hand over and go on.

Bounded; what Redis does not take is dropped, because readers re-read Postgres when nothing comes.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
import redis
import structlog

from app.coalesce import next_group
from app.events import channels
from app.events.channels import ChunkFrame
from app.redis_pipe import BatchSender, Command

log = structlog.get_logger(__name__)

HELD_AT_MOST = 50_000
HELD_BYTES = 50_000_000  # of chunks
GROUP = 500
# State changes that are in no hurry wait so long for company: they inform people, and no prediction waits for
# them.
CHANGES_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What is sent at once."""

    endings: list[tuple[str, str | None]]
    cancel: list[str]
    chunks: list[tuple[str, bytes]]
    state_changes: list[list[str]]


class EventWriter(BatchSender[EventBatch]):
    """`dropped` counts what was not sent."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__(client, "events")
        self._endings: deque[tuple[str, str | None]] = deque(maxlen=HELD_AT_MOST)
        self._cancel: deque[str] = deque(maxlen=HELD_AT_MOST)
        self._chunks: deque[tuple[str, bytes]] = deque()
        self._chunk_bytes = 0  # of what waits
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
        with self._wake:
            self._cancel.extend(ids)
            batch = self._begin_batch()
        self._send(batch)

    def chunk(self, prediction_id: str, frame: ChunkFrame) -> None:
        """One more element of an output. One that is too large, or too much while Redis takes nothing, is
        dropped: readers see the gap and read it from Postgres."""
        raw = frame.encode()
        with self._wake:
            has_capacity = len(self._chunks) < HELD_AT_MOST and self._chunk_bytes + len(raw) <= HELD_BYTES
            if not has_capacity or not channels.most_kept(len(raw)):
                self.dropped += 1
                return
            self._chunk_bytes += len(raw)
            self._chunks.append((prediction_id, raw))
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
        chunks = next_group(self._chunks, GROUP, _size_of)
        self._chunk_bytes -= sum(len(raw) for _, raw in chunks)
        return EventBatch(
            next_group(self._endings, GROUP, _size_of),
            next_group(self._cancel, GROUP),
            chunks,
            next_group(self._state_changes, GROUP),
        )

    def _commands(self, group: EventBatch) -> list[Command]:
        commands: list[Command] = []
        for prediction_id, raw in group.chunks:
            kept, most = channels.kept(prediction_id), channels.most_kept(len(raw))
            commands.append(("XADD", kept, "MAXLEN", "~", most, "*", "f", raw))
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

    def _on_lost(self, group: EventBatch, error: redis.RedisError, answered: int) -> None:
        self.dropped += _urgent(group)
        log.warning("events_dropped", total=self.dropped, reason=str(error))

    def _on_refused(self, group: EventBatch, refused: Mapping[int, redis.ResponseError]) -> None:
        self.dropped += len(refused)
        log.warning("events_refused", total=self.dropped, reason=str(next(iter(refused.values()))))

    def _on_bug(self, group: EventBatch) -> None:
        self.dropped += _urgent(group)
        log.exception("events_broken")


def _size_of(named: tuple[str, str | bytes | None]) -> int:
    return len(named[1] or "")


def _urgent(group: EventBatch) -> int:
    return len(group.endings) + len(group.cancel) + len(group.chunks)
