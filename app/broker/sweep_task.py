"""The one Celery task that runs on the pool's threads, the sweep; `lovage.predict` and `lovage.deliver` go to
`consumer`."""

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery

from app.broker import names
from app.domain.errors import Unavailable

log = structlog.get_logger(__name__)


def register_sweep(app: Celery, sweep: Callable[[], Any]) -> None:
    """`lovage.sweep` wherever the clock's queue is consumed."""

    # Without events: thirty sweeps a minute would push the predictions off Flower's first page.
    @app.task(name=names.TASK_SWEEP, ignore_result=True, send_events=False)  # type: ignore[untyped-decorator]
    def sweep_task() -> None:
        try:
            sweep()
        except Unavailable:
            log.warning("sweep_skipped", reason="the database cannot be reached")
