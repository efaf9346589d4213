"""The sending side, for threads: hand over and go on.

Bounded; what Redis does not take is dropped, because readers re-read Postgres when nothing comes.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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
class WaitingChunk:
    """A chunk as it is sent: its frame, and the state that a later attempt needs to go on behind it (empty:
    it cannot). `begins`: it is the first of an output that began anew. `len` is its size in bytes."""

    prediction_id: str
    raw: bytes
    state: bytes
    begins: bool

    @classmethod
    def from_frame(cls, prediction_id: str, frame: ChunkFrame, state: Any) -> "WaitingChunk":
        begins = bool(frame.generation) and frame.number == 0
        return cls(prediction_id, frame.encode(), b"" if state is None else orjson.dumps(state), begins)

    def __len__(self) -> int:
        return len(self.raw) + len(self.state)

    def commands(self) -> Iterator[Command]:
        """An output that begins anew replaces what was kept of it."""
        kept, most = channels.kept(self.prediction_id), channels.most_kept(len(self))
        if self.begins:
            yield ("DEL", kept)
        more = ("s", self.state) if self.state else ()
        yield ("XADD", kept, "MAXLEN", "~", most, "*", "f", self.raw, *more)
        yield ("PUBLISH", channels.live(self.prediction_id), self.raw)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What is sent at once."""

    endings: list[tuple[str, str | None]]
    cancel: list[str]
    chunks: list[WaitingChunk]
    forgotten: list[str]
    state_changes: list[list[str]]


class EventWriter(BatchSender[EventBatch]):
    """`dropped` counts what was not sent."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__(client, "events")
        self._endings: deque[tuple[str, str | None]] = deque(maxlen=HELD_AT_MOST)
        self._cancel: deque[str] = deque(maxlen=HELD_AT_MOST)
        self._chunks: deque[WaitingChunk] = deque()
        self._chunk_bytes = 0  # of what waits
        self._forgotten: deque[str] = deque(maxlen=HELD_AT_MOST)
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

    def forget(self, ids: Iterable[str]) -> None:
        """The chunks of these predictions are not to be kept any more."""
        with self._wake:
            self._forgotten.extend(ids)
            batch = self._begin_batch()
        self._send(batch)

    def chunk(self, prediction_id: str, frame: ChunkFrame, state: Any = None) -> None:
        """One more element of an output; `state` as in domain.work.Chunk. One that is too large, or too much
        while Redis takes nothing, is dropped: readers see the gap and read it from Postgres."""
        chunk = WaitingChunk.from_frame(prediction_id, frame, state)
        with self._wake:
            has_capacity = len(self._chunks) < HELD_AT_MOST and self._chunk_bytes + len(chunk) <= HELD_BYTES
            if not has_capacity or not channels.most_kept(len(chunk)):
                self.dropped += 1
                return
            self._chunk_bytes += len(chunk)
            self._chunks.append(chunk)
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
        return bool(self._changes_due or self._endings or self._cancel or self._chunks or self._forgotten)

    def _wait(self) -> None:
        """State changes wake nobody within a moment of the last that were sent: they find company."""
        if not self._wake.wait_for(self._due, CHANGES_SECONDS) and not self._state_changes:
            self._asleep = True
            self._wake.wait_for(lambda: self._due() or self._state_changes)
            self._asleep = False
            self._wake.wait_for(self._due, CHANGES_SECONDS)

    def _next_group(self) -> EventBatch | None:
        if not (self._has_some() or self._state_changes):
            return None
        self._changes_due = False
        chunks = next_group(self._chunks, GROUP, len)
        self._chunk_bytes -= sum(map(len, chunks))
        return EventBatch(
            next_group(self._endings, GROUP, _size_of),
            next_group(self._cancel, GROUP),
            chunks,
            next_group(self._forgotten, GROUP),
            next_group(self._state_changes, GROUP),
        )

    def _commands(self, group: EventBatch) -> list[Command]:
        commands = [command for chunk in group.chunks for command in chunk.commands()]
        for prediction_id in {chunk.prediction_id for chunk in group.chunks}:
            commands.append(("EXPIRE", channels.kept(prediction_id), channels.KEEP_SECONDS))
        if group.forgotten:
            commands.append(("DEL", *map(channels.kept, group.forgotten)))
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


def _size_of(named: tuple[str, str | None]) -> int:
    return len(named[1] or "")


def _urgent(group: EventBatch) -> int:
    return len(group.endings) + len(group.cancel) + len(group.chunks)
