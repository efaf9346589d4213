"""What one reader of a stream has had, and which events come next: from frames as they were published, and
from the row, which has everything that was lost on the way. Plain state; knows no Redis and no database.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from app.domain.predictions import Prediction, Status
from app.domain.streamed_output import list_pieces
from app.events.channels import ChunkFrame, Ownership

SHARED = 64  # events remembered in the form that many readers share

# A chunk with URLs for its files.
Sign = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event: `event` is output, restart (the output before it is void), error or done;
    `data` is text, and `value` the piece of output that it was made of, which may be an object."""

    id: str
    event: str
    data: str
    value: Any = field(default=None, compare=False)


class Tail:
    """The number of the next chunk that the reader needs, and the output's generation that it reads. `gap`: a
    later chunk has come than that."""

    def __init__(self, prediction: Prediction, after: str | None, sign: Sign) -> None:
        """`after`: the id of the last event that it has had."""
        self._created = int(prediction.created_at.timestamp())
        self._generation, self._next = parse_event_id(after)
        self._sign = sign
        self._ownership = Ownership()
        self.gap = False

    def read(self, frames: Sequence[ChunkFrame]) -> list[StreamEvent]:
        """Those of the frames that are next; a later one means that something was missed."""
        events: list[StreamEvent] = []
        for frame in frames:
            if self._ownership.is_void(frame) or frame.generation < self._generation:
                continue
            if frame.generation > self._generation:
                events += self._restart(frame.generation)
            self.gap = frame.number > self._next
            if self.gap:
                break
            if frame.number == self._next and not frame.is_takeover:
                self._next += 1
                events.append(_output(self._base, frame))
        return events

    def lacks_stored(self, prediction: Prediction) -> bool:
        """Whether a stored output has more chunks than were seen."""
        if "output" not in prediction.not_here:
            return False
        items = (prediction.output or {}).get("items")
        anew = prediction.generation != self._generation
        return anew or self._next < (1 if items is None else items)

    def catch_up(self, prediction: Prediction) -> list[StreamEvent]:
        """What the row's output has beyond the chunks seen so far. An output that is no list counts as one
        chunk."""
        self.gap = False
        if prediction.generation < self._generation and not prediction.ended:
            return []  # what is published is newer
        if "output" in prediction.not_here:
            return []  # every chunk of it was seen
        chunks = _chunks(prediction)
        events = [] if prediction.generation == self._generation else self._restart(prediction.generation)
        for number in range(self._next, len(chunks)):
            value = self._sign(chunks[number])
            events.append(StreamEvent(f"{self._base}:{number}", "output", as_text(value), value))
        self._next = max(self._next, len(chunks))
        return events

    def ending(self, prediction: Prediction) -> list[StreamEvent]:
        """The last events. Clients stop at `done`; they raise on `error`."""
        first, second = (f"{self._base}:{self._next + n}" for n in (0, 1))
        if prediction.status is Status.FAILED:
            detail = json.dumps({"detail": prediction.error or "The prediction failed."})
            return [StreamEvent(first, "error", detail), StreamEvent(second, "done", '{"reason": "error"}')]
        reason = '{"reason": "canceled"}' if prediction.status is Status.CANCELED else "{}"
        return [StreamEvent(first, "done", reason)]

    @property
    def _base(self) -> str:
        """What event ids begin with."""
        return f"{self._created}.{self._generation}" if self._generation else str(self._created)

    def _restart(self, generation: int) -> list[StreamEvent]:
        """The output began anew; who has had nothing of it need not know."""
        had = self._next
        self._next, self._generation = 0, generation
        return [StreamEvent(f"{self._base}:", "restart", "{}")] if had else []


def _chunks(prediction: Prediction) -> list[Any]:
    output = prediction.output
    if isinstance(output, list):
        return output
    if output is None or not prediction.ended:
        return []
    return list_pieces(output) if prediction.stream else [output]


@lru_cache(SHARED)
def _output(base: str, frame: ChunkFrame) -> StreamEvent:
    """The event of a frame, made once for all who read it at about the same time."""
    return StreamEvent(f"{base}:{frame.number}", "output", as_text(frame.data), frame.data)


def as_text(data: Any) -> str:
    """A chunk as the text of an event: strings as they are, anything else as JSON."""
    return data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))


def parse_event_id(event_id: str | None) -> tuple[int, int]:
    """The generation, and the number after that of a `Last-Event-ID` of ours; zeros for none or for one that
    is not ours."""
    base, _, number = (event_id or "").rpartition(":")
    generation = base.partition(".")[2] or "0"
    if not all(part.isdecimal() and len(part) < 10 for part in (number or "0", generation)):
        return 0, 0
    return int(generation), int(number) + 1 if number else 0
