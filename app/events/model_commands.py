"""Commands to workers about a version, whoever sends them: load it, unload it, keep it loaded, or no more."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import redis

from app.domain.errors import Unavailable
from app.events import channels

LOAD, UNLOAD = "load", "unload"
PIN, UNPIN = "pin", "unpin"


@dataclass(frozen=True, slots=True)
class ModelCommand:
    """`action` is one of the four above; `workers` are named by their pinned queues."""

    action: str
    version: str
    workers: tuple[str, ...]

    def encode(self) -> bytes:
        return orjson.dumps([self.action, self.version, self.workers])

    @classmethod
    def decode(cls, raw: bytes) -> "ModelCommand":
        action, version, workers = orjson.loads(raw)
        return cls(action, version, tuple(workers))


class ModelCommandPublisher:
    """Blocks for a moment, because who sends a command needs to know that Redis took it."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def publish(self, action: str, version: str, workers: Sequence[str]) -> None:
        """Raises Unavailable. A worker that is not subscribed just now misses it: the same command again does
        no harm."""
        try:
            self._client.publish(
                channels.MODEL_COMMANDS, ModelCommand(action, version, tuple(workers)).encode()
            )
        except (redis.RedisError, OSError):
            sentence = "The workers cannot be reached: Redis does not answer."
            raise Unavailable(sentence, retry_after=2) from None
