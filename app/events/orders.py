"""What workers are told to do with a version, whoever tells it: load it, or let it go."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import redis

from app.domain.errors import Unavailable
from app.events import channels

LOAD, UNLOAD = "load", "unload"


@dataclass(frozen=True, slots=True)
class Order:
    """`act` is LOAD or UNLOAD; `workers` are named by their pinned queues."""

    act: str
    version: str
    workers: tuple[str, ...]

    def encode(self) -> bytes:
        return orjson.dumps([self.act, self.version, self.workers])

    @classmethod
    def decode(cls, raw: bytes) -> "Order":
        act, version, workers = orjson.loads(raw)
        return cls(act, version, tuple(workers))


class OrderLine:
    """The telling side; blocks for a moment, because who orders wants to know that it was heard of."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=1, retry=None)

    def tell(self, act: str, version: str, workers: Sequence[str]) -> None:
        """Raises Unavailable. A worker that is not listening just now does not hear of it: the same order again does no harm."""
        try:
            self._redis.publish(channels.ORDERS, Order(act, version, tuple(workers)).encode())
        except (redis.RedisError, OSError):
            raise Unavailable("The workers cannot be told: Redis cannot be reached.", retry_after=2) from None

    def close(self) -> None:
        self._redis.close()
