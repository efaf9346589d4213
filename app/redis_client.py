"""The one way to open a client of Redis for threads: every part of a process shares its connections.

No part waits for long, and none tries again by itself: whoever calls knows better what to do about a Redis
that is away. A server that has become read-only counts as away, and its connections are dropped: the next
ones may lead to the new primary.
"""

from typing import Any

import redis

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0  # a stopped server closes no connection: only its silence tells
# What a server says that was the primary a moment ago: to a write, and to who waits for something in a list.
DEMOTED = ("READONLY", "UNBLOCKED")


class DropsDemoted:
    """For a connection class: an answer of DEMOTED is a lost connection."""

    def read_response(self, *args: Any, **more: Any) -> Any:
        try:
            return super().read_response(*args, **more)  # type: ignore[misc]
        except redis.ResponseError as error:
            if not (isinstance(error, redis.ReadOnlyError) or str(error).startswith(DEMOTED)):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise redis.ConnectionError("Redis is read-only: it fails over") from error


class Connection(DropsDemoted, redis.Connection):
    """Over TCP."""


class SSLConnection(DropsDemoted, redis.SSLConnection):
    """Over TLS."""


class UnixDomainSocketConnection(DropsDemoted, redis.UnixDomainSocketConnection):
    """Over a socket file."""


BY_SCHEME: dict[str, Any] = {"rediss": SSLConnection, "unix": UnixDomainSocketConnection}


def connection_class(url: str) -> type[redis.Connection]:
    """For this URL."""
    chosen: type[redis.Connection] = BY_SCHEME.get(url.partition(":")[0], Connection)
    return chosen


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> "redis.Redis":
    """A thread-safe client that connects when it is first used. Close it at the end."""
    return redis.Redis.from_url(
        url,
        connection_class=connection_class(url),
        socket_connect_timeout=min(CONNECT_SECONDS, answer_seconds),
        socket_timeout=answer_seconds,
        socket_keepalive=True,
        retry=None,
    )
