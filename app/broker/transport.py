"""Kombu's transport over Redis for a broker that fails over: a server that has become read-only is a lost
connection, which Celery knows how to mend, where kombu's own classes let the answer end the process."""

from contextlib import suppress
from typing import Any

import kombu
import redis
from celery.app.amqp import AMQP
from kombu.transport import redis as kombu_redis

from app.redis_client import Connection, SSLConnection

NAME = "app.broker.transport:Transport"
# Between two tries. Kombu's own waits grow to 30 s: a worker would sweep again so long after its broker's
# return.
RECONNECT_SECONDS = 1.0
PROBE = "writable"
PROBE_SECONDS = 60


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    connection_class = Connection
    connection_class_ssl = SSLConnection


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """Connects only to a server that can be written to."""

    Channel = Channel

    def establish_connection(self) -> Any:
        connection = super().establish_connection()
        try:
            with suppress(redis.ResponseError):  # without memory it is the primary all the same
                self._avail_channels[0].client.set(PROBE, 1, ex=PROBE_SECONDS)
        except BaseException:  # it is closed, then it is raised on
            self.close_connection(connection)
            raise
        return connection


class SteadyConnection(kombu.Connection):  # type: ignore[misc]
    """Tries again at a steady pace."""

    def ensure_connection(
        self, errback: Any = None, max_retries: int | None = None, **more: Any
    ) -> "SteadyConnection":
        pace = {"interval_start": RECONNECT_SECONDS, "interval_step": 0, "interval_max": RECONNECT_SECONDS}
        super().ensure_connection(errback, max_retries, **{**pace, **more})
        return self

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """With Redis' own scheme, where kombu's has our transport's name: Flower reads queues by it."""
        address = str(super().as_uri(*args, **kwargs))
        return address.replace(f"{NAME}://", "rediss://" if self.ssl else "redis://", 1)


class Amqp(AMQP):  # type: ignore[misc]
    """Makes the application use these connections."""

    Connection = SteadyConnection
