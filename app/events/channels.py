"""Names and frames on Redis. A chunk's number is its place in the prediction's output list, so Postgres can fill any gap."""

from dataclasses import dataclass
from typing import Any

import orjson

DONE = "lovage:done"
CANCEL = "lovage:cancel"
NEWS = "lovage:news"  # lists of [user, prediction, status, model]: every change of state
ORDERS = "lovage:orders"  # [act, version, [worker, …]], for workers named by their pinned queues
KEEP_SECONDS = 3600  # how long a stream can be re-read after its last chunk
LONGEST = 20_000  # chunks kept of one prediction; older ones are read from Postgres


def live(prediction_id: str) -> str:
    """The channel of one prediction's chunks."""
    return f"lovage:p:{prediction_id}"


def kept(prediction_id: str) -> str:
    """The stream of one prediction's chunks."""
    return f"lovage:s:{prediction_id}"


@dataclass(frozen=True, slots=True, eq=False)
class ChunkFrame:
    """Chunk `number` (from 0) of attempt `attempt`. Frames are told apart by identity: what is made of one that many
    readers share can be remembered."""

    attempt: int
    number: int
    data: Any

    def encode(self) -> bytes:
        return orjson.dumps([self.attempt, self.number, self.data])

    @classmethod
    def decode(cls, raw: bytes) -> "ChunkFrame":
        attempt, number, data = orjson.loads(raw)
        return cls(attempt, number, data)
