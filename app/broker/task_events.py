"""Publishes to Celery's event stream, and so to Flower, what becomes of the predictions that this worker
takes, and of a courier's deliveries: received, started, then succeeded, failed, retried or revoked.

One thread publishes whatever has gathered as one message; nothing waits for it.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog
from celery import Celery
from celery.worker import state

from app.broker import names
from app.domain.deliveries import DeliveryResult, DueDelivery
from app.domain.predictions import Prediction, Status

log = structlog.get_logger(__name__)

HELD_AT_MOST = 20_000  # dropped beyond: they inform a dashboard
GATHER_SECONDS = 0.5  # Flower shows seconds, and each message costs as much as some ten events in it
RECONNECT_SECONDS = 2.0

KINDS = {Status.SUCCEEDED: "task-succeeded", Status.FAILED: "task-failed", Status.CANCELED: "task-revoked"}


def shown_url(url: str) -> str:
    """A receiver's address without what may be secret in it: logins and queries."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class TaskEvents:
    """Thread-safe. `hostname` is the Celery worker's node name. Its thread ends with the process."""

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app, self._hostname = app, hostname
        self._waiting: deque[dict[str, Any]] = deque(maxlen=HELD_AT_MOST)
        self._some = threading.Event()
        self._thread = threading.Thread(target=self._run, name="task-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def on_claimed(self, predictions: Sequence[Prediction]) -> None:
        """They begin."""
        for prediction in predictions:
            about = {"model": prediction.model, "version": prediction.version_id[:12]}
            self._begin(names.TASK_PREDICT, prediction.id, prediction.id, about, prediction.attempt - 1)
        state.all_total_count[0] += len(predictions)
        state.total_count.update(Counter({names.TASK_PREDICT: len(predictions)}))
        self._some.set()

    def on_ended(self, prediction: Prediction, status: Status | None) -> None:
        """Its end; None: it was handed back, and its next worker publishes that."""
        if status is None:
            return
        now, started_at = time.time(), prediction.started_at
        event: dict[str, Any] = {"type": KINDS[status], "uuid": prediction.id, "timestamp": now}
        if status is Status.SUCCEEDED:  # by this machine's clock: it is for a dashboard
            event |= {"result": "", "runtime": max(0.0, now - started_at.timestamp()) if started_at else 0.0}
        elif status is Status.FAILED:
            event |= {"exception": f"PredictionFailed('{prediction.id}')", "traceback": ""}
        else:
            event |= {"terminated": True, "signum": None, "expired": False}
        self._waiting.append(event)
        self._some.set()

    def on_delivery_begun(self, delivery: DueDelivery) -> None:
        """A webhook is tried: a task under the delivery's id, a retry more for each try."""
        about = {"event": delivery.event, "url": shown_url(delivery.url)}
        self._begin(names.TASK_DELIVER, delivery.id, delivery.prediction_id, about, delivery.tries)
        self._some.set()

    def on_delivery_tried(self, result: DeliveryResult) -> None:
        """What came of it."""
        event: dict[str, Any] = {"uuid": result.id, "timestamp": time.time()}
        if result.error is None:
            event |= {"type": "task-succeeded", "result": str(result.status), "runtime": result.seconds}
        else:
            kind = "task-failed" if result.delay is None else "task-retried"
            event |= {"type": kind, "exception": result.error, "traceback": ""}
        self._waiting.append(event)
        self._some.set()

    def _begin(self, task: str, uuid: str, prediction: str, about: dict[str, str], retries: int) -> None:
        now = time.time()
        received = {
            "type": "task-received",
            "uuid": uuid,
            "name": task,
            "args": f"['{prediction}']",
            "kwargs": str(about),
            "retries": retries,
            "root_id": prediction,
            "parent_id": None if uuid == prediction else prediction,
            "eta": None,
            "expires": None,
            "timestamp": now,
        }
        self._waiting.extend((received, {"type": "task-started", "uuid": uuid, "timestamp": now}))

    def _run(self) -> None:
        while True:
            try:
                with self._app.connection_for_write() as connection:
                    self._publish_to(connection)
            except Exception as error:  # noqa: BLE001 - kombu passes all errors of Redis on
                log.debug("task_events_dropped", reason=str(error))
                time.sleep(RECONNECT_SECONDS)

    def _publish_to(self, connection: Any) -> None:
        dispatcher = self._app.events.Dispatcher(
            connection,
            hostname=self._hostname,
            buffer_while_offline=False,
            buffer_group={"task"},
            buffer_limit=HELD_AT_MOST * 2,
        )
        while True:
            self._some.wait()
            time.sleep(GATHER_SECONDS)
            self._some.clear()
            while self._waiting:
                event = self._waiting.popleft()
                dispatcher.send(event.pop("type"), **event)
            dispatcher.flush(errors=False)
