"""The Celery tasks. Each is a doorbell: an id comes in, the truth is in Postgres, nothing is returned.

The final state of a task follows its prediction's, so that Flower tells it: SUCCESS, FAILURE, REVOKED.
"""

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, Task
from celery.exceptions import Ignore

from app.domain.errors import Unavailable
from app.domain.predictions import Status
from app.queue import names

log = structlog.get_logger(__name__)


class PredictionFailed(Exception):
    """Tells Celery, and so Flower, that the prediction's end was `failed`. The reason is in its row."""


def register_predict(app: Celery, predict: Callable[[str], Status | None]) -> None:
    """`lovage.predict` on this worker."""

    @app.task(name=names.TASK_PREDICT, bind=True, ignore_result=True, throws=(PredictionFailed,))  # type: ignore[untyped-decorator]
    def predict_task(self: Task, prediction_id: str) -> None:
        try:
            status = predict(prediction_id)
        except Unavailable:
            log.warning("doorbell_unanswered", prediction=prediction_id, reason="the database cannot be reached")
            return
        if status is Status.FAILED:
            raise PredictionFailed(prediction_id)
        if status is Status.CANCELED:
            self.send_event("task-revoked", terminated=True, signum=None, expired=False)
            raise Ignore


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
