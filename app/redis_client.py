"""The one way to open a client of Redis for threads: every part of a process shares its connections.

No part waits for long, and none tries again by itself: whoever calls knows better what to do about a Redis
that is away.
"""

import redis

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0  # a stopped server closes no connection: only its silence tells


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> "redis.Redis":
    """A thread-safe client that connects when it is first used. Close it at the end."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=min(CONNECT_SECONDS, answer_seconds),
        socket_timeout=answer_seconds,
        socket_keepalive=True,
        retry=None,
    )
