"""The Celery tasks that run on the pool's threads. Each is a doorbell: the truth is in Postgres, nothing is returned.

`lovage.predict` is not among them: see `doorstep`.
"""

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery

from app.domain.errors import Unavailable
from app.queue import names

log = structlog.get_logger(__name__)


def register_deliver(app: Celery, deliver: Callable[[str], bool]) -> None:
    """`lovage.deliver` on this courier."""

    @app.task(name=names.TASK_DELIVER, ignore_result=True)  # type: ignore[untyped-decorator]
    def deliver_task(delivery_id: str) -> None:
        deliver(delivery_id)


def register_sweep(app: Celery, sweep: Callable[[], Any]) -> None:
    """`lovage.sweep` wherever the clock's queue is consumed."""

    @app.task(name=names.TASK_SWEEP, ignore_result=True)  # type: ignore[untyped-decorator]
    def sweep_task() -> None:
        try:
            sweep()
        except Unavailable:
            log.warning("sweep_skipped", reason="the database cannot be reached")
