"""Has workers look at once at what administrators want of them: what it is, they read in Postgres."""

import contextlib

import redis

from app.events import channels


class FleetChangePublisher:
    """Best effort: a worker that misses it looks at its next heartbeat."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def publish(self) -> None:
        """Workers look within a second."""
        with contextlib.suppress(redis.RedisError, OSError):
            self._client.publish(channels.FLEET_CHANGES, b"")
