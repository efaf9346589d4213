"""One worker or courier process, from its start to its orderly end. Its parts are put together in
`app/composition.py`."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from app.broker.celery_app import CeleryApp
from app.broker.task_events import TaskEvents
from app.db import workers
from app.db.session import Database
from app.domain.errors import StorageFailed, Unavailable
from app.runtimes import registry
from app.services.catalogue import runtime_index
from app.services.platform.storage_identity import StorageIdentity, WrongStorage
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.recovery import Recovery
from app.worker.command_listener import CommandListener
from app.worker.courier import Courier
from app.worker.direct_runs import DirectServer
from app.worker.ending_writer import EndingWriter
from app.worker.health import HealthPort
from app.worker.heartbeat import Heartbeat, Post
from app.worker.identity import WorkerIdentity
from app.worker.intake import Intake
from app.worker.model_preload import ModelPreloader
from app.worker.namesake import refuse_namesake
from app.worker.run import Stop
from app.worker.runner import Runner
from app.worker.work_engine import WorkEngine

log = structlog.get_logger(__name__)

FINAL_SECONDS = 3.0  # for what a stopping worker still writes
STORAGE_CHECK_SECONDS = 2.0  # between two looks


class StorageCheck:
    """Ends a worker whose files nobody could read: at its start, or, when it was there before the first API,
    as soon as that has said which storage the platform's is."""

    def __init__(self, identity: StorageIdentity, end: Callable[[], None]) -> None:
        self._identity, self._end = identity, end

    def start(self) -> None:
        """Raises WrongStorage."""
        if not self._is_verified():
            log.warning("storage_not_verified_yet", reason="no API has started with this database yet")
            threading.Thread(target=self._verify_later, name="storage-check", daemon=True).start()

    def _is_verified(self) -> bool:
        try:
            return self._identity.verify()
        except (Unavailable, StorageFailed):
            return False

    def _verify_later(self) -> None:
        try:
            while not self._is_verified():
                time.sleep(STORAGE_CHECK_SECONDS)
        except WrongStorage as error:
            log.error("wrong_storage", reason=error.detail)
            self._end()


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """`grace_seconds` that running predictions get at the end; `preload`: names of models or versions to load
    at the start."""

    grace_seconds: float
    dead_after_seconds: float
    preload: Sequence[str]
    runtime_folders: Sequence[Path]


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker consists of, beside what every process has and what is Celery's."""

    engine: WorkEngine
    identity: WorkerIdentity
    ending_writer: EndingWriter
    runner: Runner
    intake: Intake
    heartbeat: Heartbeat
    recovery: Recovery
    preloader: ModelPreloader
    listener: CommandListener


@dataclass(slots=True)
class AcceleratorWorker:
    """Runs predictions on one device. `start` once, `drain` at the end; `close` disconnects."""

    options: WorkerOptions
    post: Post
    celery: CeleryApp
    queues: Sequence[str]
    hostname: str
    database: Database
    lifecycle: Lifecycle
    parts: WorkerParts
    task_events: TaskEvents
    health: HealthPort
    storage_check: StorageCheck
    close: Callable[[], None]
    direct: DirectServer | None = None

    def start(self) -> None:
        """The engine warms up while the worker registers. Raises WrongStorage and NameTaken before anything
        has begun."""
        parts = self.parts
        refuse_namesake(self.database, self.post.facts.pinned, self.options.dead_after_seconds)
        self.storage_check.start()
        parts.engine.start()
        specs = registry.list_all(list(self.options.runtime_folders))
        with self.database.unit() as session:
            runtime_index.write(session, specs)
        parts.heartbeat.register()
        starting: tuple[Any, ...] = (
            parts.ending_writer,
            parts.heartbeat,
            parts.intake,
            parts.listener,
            self.task_events,
            self.health,
        )
        for part in starting:
            part.start()
        if self.direct:
            self.direct.start()
        parts.preloader.load_all(self.options.preload)
        log.info(
            "worker_ready",
            worker=str(parts.identity.id),
            device=self.post.device.id,
            queues=list(self.queues),
        )

    def is_alive(self) -> bool:
        """Whether its heartbeat arrives. Raises Unavailable."""
        with self.database.unit() as session:
            live = workers.live(session, self.options.dead_after_seconds)
        return any(row.id == self.parts.identity.id for row in live)

    def drain(self) -> None:
        """Stops claiming, gives what runs its grace, hands the rest back."""
        parts, grace = self.parts, self.options.grace_seconds
        if self.direct:
            self.direct.refuse()
        parts.intake.stop()
        parts.listener.stop()
        parts.preloader.close()
        parts.runner.draining = True
        parts.heartbeat.drain()
        log.info("draining", running=len(parts.runner.in_flight), grace_seconds=grace)
        self._hand_back_waiting()
        parts.engine.stop(grace)
        self._await_runs(lambda: len(parts.runner.in_flight) > 0)
        parts.ending_writer.close(FINAL_SECONDS)
        if self.direct:
            self.direct.close()
        parts.heartbeat.stop(self._hand_back_running)
        self.health.stop()
        parts.runner.close()
        self.close()

    def _hand_back_waiting(self) -> None:
        """What has not begun is for the other workers now, and so is what waits in this worker's own
        queue."""
        in_flight = self.parts.runner.in_flight
        in_flight.hand_back_waiting()
        self._await_runs(lambda: any(run.stopped is Stop.HAND_BACK for run in in_flight.list_all()))
        self._empty_own_queue()

    @staticmethod
    def _await_runs(any_left: Callable[[], bool]) -> None:
        until = time.monotonic() + FINAL_SECONDS
        while time.monotonic() < until and any_left():
            time.sleep(0.02)

    def _empty_own_queue(self) -> None:
        try:
            self.parts.recovery.empty_unread_queues()
        except Unavailable:
            log.warning("queue_left_to_the_sweep", reason="the database cannot be reached")

    def _hand_back_running(self) -> None:
        count = self.lifecycle.hand_back_all(self.parts.identity.id)
        if count:
            log.info("handed_back", count=count)
            self._empty_own_queue()


@dataclass(slots=True)
class CourierProcess:
    """Delivers webhooks. `close` disconnects."""

    courier: Courier
    health: HealthPort
    celery: CeleryApp
    queues: Sequence[str]
    hostname: str
    task_events: TaskEvents
    close: Callable[[], None]

    def start(self) -> None:
        self.courier.start()
        self.task_events.start()
        self.health.start()
        log.info("courier_ready", concurrency=self.courier.concurrency)

    def drain(self) -> None:
        self.courier.close()
        self.health.stop()
        self.close()
