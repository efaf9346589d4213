"""Names and frames on Redis. A chunk's number is its place in the prediction's output list, so Postgres can
fill any gap."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.domain.predictions import Prediction, Status
from app.json_text import JsonText

ENDED = "lovage:done"  # {prediction: how it ended (`encode_ending`), or null}
CANCEL = "lovage:cancel"
STATE_CHANGES = "lovage:changes"  # lists of [user, prediction, status, model]: every change of state
MODEL_COMMANDS = "lovage:commands"  # [action, version, [worker, …]]; workers by their pinned queues
FLEET_CHANGES = "lovage:fleet"  # workers are to look at once what administrators want of them
BREAKERS = "lovage:breakers"  # BreakerChange
KEEP_SECONDS = 3600  # how long a stream can be re-read after its last chunk
LONGEST = 20_000  # chunks kept of one prediction; older ones are read from Postgres
KEPT_BYTES = (
    1_000_000  # of the chunks kept of one prediction; a larger chunk does not go through Redis at all
)
ENTRY_BYTES = 50  # what a stream's entry costs beside its chunk


def breakers_of(backend: str) -> str:
    """The hash of a backend's circuit breakers that are open, by model: [seconds of rest, until when]."""
    return f"lovage:b:{backend}"


def breaker_try(backend: str, model: str) -> str:
    """Which gateway worker tries it now."""
    return f"lovage:bt:{backend}:{model}"


def live(prediction_id: str) -> str:
    """The channel of one prediction's chunks."""
    return f"lovage:p:{prediction_id}"


def kept(prediction_id: str) -> str:
    """The stream of one prediction's chunks."""
    return f"lovage:s:{prediction_id}"


def most_kept(chunk_bytes: int) -> int:
    """How many chunks are kept when the newest is so large. Trimmed with it at each one, no stream holds more
    than twice KEPT_BYTES, however its chunks' sizes vary."""
    return min(LONGEST, KEPT_BYTES // (chunk_bytes + ENTRY_BYTES))


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """`worker` has opened a circuit breaker until a Unix time, or, with `rest` 0, closed it."""

    worker: str
    backend: str
    model: str
    rest: float
    until: float

    def encode(self) -> bytes:
        return orjson.dumps([getattr(self, name) for name in self.__slots__])

    @classmethod
    def decode(cls, raw: bytes) -> "BreakerChange":
        return cls(*orjson.loads(raw))


LONGEST_ENDING = 16_384  # bytes; what is longer is read from Postgres
# What of a prediction can have changed between its acceptance and its end.
CHANGING = (
    "status",
    "queue",
    "error",
    "error_code",
    "progress",
    "metrics",
    "attempt",
    "generation",
    "crashes",
    "worker",
    "cancel_requested",
    "started_at",
    "completed_at",
    "output_bytes",
    "output_key",
)


def encode_ending(prediction: Prediction, output: JsonText | None, logs: str) -> str | None:
    """What an ended prediction's row says that it did not say when it was accepted; None when that is long.
    It spares those who wait for it a look into Postgres."""
    if len(logs) + (len(output) if output else 0) > LONGEST_ENDING:
        return None
    changed = {name: getattr(prediction, name) for name in CHANGING}
    raw = orjson.dumps(changed | {"output": output and output.fragment, "logs": logs})
    return raw.decode() if len(raw) <= LONGEST_ENDING else None


def apply_ending(accepted: Prediction, ending: str) -> Prediction | None:
    """The prediction as its row is now, from what it was before and its encoded ending; None for an ending
    that another release has encoded."""
    now = orjson.loads(ending)
    try:
        now["status"], now["worker"] = Status(now["status"]), UUID(now["worker"]) if now["worker"] else None
        for name in ("started_at", "completed_at"):
            now[name] = datetime.fromisoformat(now[name]) if now[name] else None
        return replace(accepted, **now)
    except (KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True, eq=False)
class ChunkFrame:
    """Chunk `number` (from 0) of an output, from attempt `attempt`. A greater `generation` means that the
    output began anew. `is_takeover`: no chunk; from this number on, chunks of earlier attempts are void.

    Frames are told apart by identity: what is made of one that many readers share can be remembered.
    """

    attempt: int
    number: int
    data: Any
    generation: int = 0
    is_takeover: bool = False

    def encode(self) -> bytes:
        """The usual frame is short, and as the release before reads it."""
        more = [self.generation, self.is_takeover] if self.generation or self.is_takeover else []
        return orjson.dumps([self.attempt, self.number, self.data, *more])

    @classmethod
    def decode(cls, raw: bytes) -> "ChunkFrame":
        return cls(*orjson.loads(raw))


class Ownership:
    """Which attempt may add to an output, as one reads its frames in order: a worker that slept past its
    lease and wakes may go on publishing what is another's to tell."""

    def __init__(self) -> None:
        self._attempt = self._first = 0

    def is_void(self, frame: ChunkFrame) -> bool:
        """Whether it is of an attempt that had lost the output before this chunk."""
        if frame.attempt > self._attempt:
            self._attempt, self._first = frame.attempt, frame.number
        return frame.attempt < self._attempt and frame.number >= self._first
