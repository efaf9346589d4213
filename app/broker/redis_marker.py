"""Whether Redis still has what was put into it: a marker key that a flush or a fresh server lacks. Knows no
table."""

import redis

from app.broker import names

MARKER = names.KEY_PREFIX + "marker"


class RedisMarker:
    """Thread-safe."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def is_missing(self) -> bool:
        """True on the very first start, after FLUSHALL, or when Redis lost its data. False while Redis cannot
        be reached: no message can be published then anyway."""
        try:
            return not self._client.exists(MARKER)
        except redis.RedisError:
            return False

    def set(self) -> None:
        """Failure only means that the next sweep publishes everything again."""
        try:
            self._client.set(MARKER, "1")
        except redis.RedisError:
            return
