"""One worker or courier process, from its start to its orderly end. Its parts are put together in
`app/composition.py`."""

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
from app.domain.errors import Unavailable
from app.domain.predictions import Prediction
from app.engine.engine import Engine
from app.runtimes import registry
from app.services.catalogue import runtime_index
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.recovery import Recovery
from app.worker.command_listener import CommandListener
from app.worker.courier import Courier
from app.worker.health import HealthPort
from app.worker.heartbeat import Heartbeat, Post
from app.worker.intake import Intake
from app.worker.model_preload import ModelPreloader
from app.worker.recorder import Recorder
from app.worker.runner import Runner

log = structlog.get_logger(__name__)

FINAL_SECONDS = 3.0  # for what a stopping worker still writes


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """`grace_seconds` that running predictions get at the end; `preload`: names of models or versions to load
    at the start."""

    grace_seconds: float
    dead_after_seconds: float
    preload: Sequence[str]
    runtime_folders: Sequence[Path]


@dataclass(slots=True)
class AcceleratorWorker:
    """Runs predictions on one device. `run` does not return; `close` disconnects."""

    options: WorkerOptions
    post: Post
    celery: CeleryApp
    queues: Sequence[str]
    hostname: str
    database: Database
    lifecycle: Lifecycle
    recovery: Recovery
    engine: Engine
    recorder: Recorder
    runner: Runner
    heartbeat: Heartbeat
    intake: Intake
    preloader: ModelPreloader
    listener: CommandListener
    task_events: TaskEvents
    health: HealthPort
    close: Callable[[], None]

    def start(self) -> None:
        """The engine warms up while the worker registers."""
        self.engine.start()
        specs = registry.list_all(list(self.options.runtime_folders))
        with self.database.unit() as session:
            runtime_index.write(session, specs)
        self.heartbeat.register()
        parts: tuple[Any, ...] = (
            self.recorder,
            self.heartbeat,
            self.intake,
            self.listener,
            self.task_events,
            self.health,
        )
        for part in parts:
            part.start()
        self.preloader.prefetch(self.options.preload)
        log.info(
            "worker_ready",
            worker=str(self.recorder.worker),
            device=self.post.device.id,
            queues=list(self.queues),
        )

    def is_alive(self) -> bool:
        """Whether its heartbeat arrives. Raises Unavailable."""
        with self.database.unit() as session:
            live = workers.live(session, self.options.dead_after_seconds)
        return any(row.id == self.recorder.worker for row in live)

    def drain(self) -> None:
        """Stops claiming, gives what runs its grace, hands the rest back."""
        self.intake.stop()
        self.listener.stop()
        self.preloader.close()
        self.runner.draining = True
        self.heartbeat.drain()
        log.info("draining", running=len(self.runner.running), grace_seconds=self.options.grace_seconds)
        self._hand_back_waiting()
        self.engine.stop(self.options.grace_seconds)
        self._await_runs(lambda: bool(self.runner.running))
        self.recorder.close(FINAL_SECONDS)
        self.heartbeat.stop(self._hand_back_running)
        self.health.stop()
        self.runner.close()
        self.close()

    def _hand_back_waiting(self) -> None:
        """What has not begun is for the other workers now, and so is what waits in this worker's own
        queue."""
        self.runner.hand_back_waiting()
        self._await_runs(lambda: any(run.handed_back for run in list(self.runner.running.values())))
        self._empty_own_queue()

    @staticmethod
    def _await_runs(any_left: Callable[[], bool]) -> None:
        until = time.monotonic() + FINAL_SECONDS
        while time.monotonic() < until and any_left():
            time.sleep(0.02)

    def _empty_own_queue(self) -> None:
        try:
            self.recovery.empty_unread_queues()
        except Unavailable:
            log.warning("queue_left_to_the_sweep", reason="the database cannot be reached")

    def _hand_back_running(self) -> None:
        count = self.lifecycle.hand_back_all(self.recorder.worker)
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
    close: Callable[[], None]

    def start(self) -> None:
        self.courier.start()
        self.health.start()
        log.info("courier_ready", concurrency=self.courier.concurrency)

    def drain(self) -> None:
        self.courier.close()
        self.health.stop()
        self.close()


def seconds_since_claim(prediction: Prediction) -> float:
    """By this machine's clock: for a dashboard."""
    return max(0.0, time.time() - prediction.started_at.timestamp()) if prediction.started_at else 0.0
