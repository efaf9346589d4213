"""Whether Redis still has what was put into it: a marker key that a flush or a fresh server lacks. Knows no table."""

import redis

from app.queue import names

MARKER = names.KEY_PREFIX + "marker"


class Doorbell:
    """`was_wiped` is False while Redis cannot be reached: nothing can be rung then anyway."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=1, retry=None)

    def was_wiped(self) -> bool:
        """True when the marker is gone: on the very first start, after FLUSHALL, or when Redis lost its data."""
        try:
            return not self._redis.exists(MARKER)
        except redis.RedisError:
            return False

    def mark(self) -> None:
        """Sets the marker; failure only means that the next sweep rings again."""
        try:
            self._redis.set(MARKER, "1")
        except redis.RedisError:
            return

    def close(self) -> None:
        self._redis.close()
