"""The Celery application: its settings, each with its reason. Tasks are registered by the processes that run
them.

Celery notifies, Postgres holds the truth: a message carries an id, is acknowledged early, and may be lost,
repeated or late without harm. There is no result backend: the one truth about a result is its row.
"""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from celery import Celery

from app.broker import names, transport
from app.broker.transport import Amqp
from app.domain import queue_names

VISIBILITY_SECONDS = 3600

CeleryApp = Celery  # the type, for those outside this room who pass one on


def make_celery(redis_url: str, *, sweep_seconds: float = 2.0) -> Celery:
    """An application on this broker; `sweep_seconds` is how often the clock publishes the sweep's message."""
    app = Celery("lovage", broker=redis_url, amqp=Amqp)
    app.conf.update(
        broker_transport=transport.NAME,
        broker_use_ssl=tls_options(redis_url),
        broker_channel_error_retry=True,  # a refused command is no reason to end a worker
        task_default_queue=names.celery_queue(queue_names.ANY),
        task_acks_late=False,  # late acks on Redis redeliver running work (docs/architecture/queue.md)
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # with early acks a reserved message is already gone: reserve nothing
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,  # Flower
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_max_tasks_per_child=None,
        worker_enable_remote_control=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # the default of 100 gives up
        broker_transport_options=transport_options(),
        task_publish_retry=False,  # the sweep is the retry
        task_serializer="json",
        accept_content=["json"],
        timezone="UTC",
        beat_schedule={
            "sweep": {
                "task": names.TASK_SWEEP,
                "schedule": sweep_seconds,
                "options": {"queue": queue_names.SWEEPS, "expires": max(sweep_seconds * 3, 10)},
            }
        },
    )
    return app


def tls_options(redis_url: str) -> dict[str, str] | None:
    """How kombu encrypts: by itself it would look at the scheme of its own transport's name only. The
    server's certificate is checked unless the URL says otherwise (`ssl_cert_reqs=none`), as redis-py does."""
    parts = urlsplit(redis_url)
    if parts.scheme != "rediss":
        return None
    own = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", **own}


def transport_options() -> dict[str, Any]:
    """How kombu talks to Redis: dead sockets are noticed in seconds, keys carry our prefix."""
    return {
        "visibility_timeout": VISIBILITY_SECONDS,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "global_keyprefix": names.KEY_PREFIX,
    }
