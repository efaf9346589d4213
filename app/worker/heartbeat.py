"""Says every few seconds that this worker lives, learns what is to be stopped, and sweeps when nobody else
does."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import getpid
from typing import Any

import structlog

from app.db import predictions, versions, workers
from app.db.session import Database
from app.domain import queue_names
from app.domain.errors import Unavailable
from app.domain.routing import WorkerFacts
from app.domain.workers import NewWorker
from app.engine.devices import Device
from app.engine.engine import Engine
from app.engine.loaded_model import LoadedModel
from app.services.predictions.lifecycle import HandBack
from app.services.predictions.recovery import Recovery
from app.worker.recorder import Recorder
from app.worker.runner import Runner

log = structlog.get_logger(__name__)

LOOK_SECONDS = (
    1.0  # a version that was loaded or has become unhealthy is told sooner than the next heartbeat is due
)


@dataclass(frozen=True, slots=True)
class Post:
    """This worker's place in the fleet."""

    device: Device
    host: str
    slots: int

    @property
    def queues(self) -> list[str]:
        """Its own pinned queue, its class's, and the one for when no worker is known."""
        return [queue_names.pinned(self.device.id, self.host), self.device.kind, queue_names.ANY]

    @property
    def facts(self) -> WorkerFacts:
        """Itself, as routing sees it."""
        return WorkerFacts(
            self.device.id, self.host, self.slots, running=0, memory_bytes=self.device.total_bytes
        )


def this_host() -> str:
    """A name for this machine that may stand in a queue's name."""
    return socket.gethostname().replace("@", "-")[:64]


def on_recorded(model: LoadedModel) -> dict[str, Any]:
    """What the fleet is told of a version on this worker. `in_use` counts what runs and waits; `pace` is in
    seconds."""
    said: dict[str, Any] = {
        "version": model.version,
        "model": model.model,
        "state": model.state,
        "bytes": model.bytes,
        "in_use": model.in_use,
        "batch_size": model.batch_size,
        "pace": round(model.pace, 6),
        "limit": model.limit,
        "pinned": model.pinned,
    }
    return {**said, "reason": model.reason, "retry_in": round(model.retry_in, 1)} if model.reason else said


class Heartbeat:
    """Two threads of its own; `register` before the first claim."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        recorder: Recorder,
        runner: Runner,
        recovery: Recovery,
        post: Post,
        seconds: float,
    ) -> None:
        self._database, self._engine, self._recorder, self._runner = database, engine, recorder, runner
        self._recovery, self._post, self._seconds = recovery, post, seconds
        self._strangers: set[tuple[str, int]] = set()
        self._told: dict[str, str] = {}
        self._learnt: dict[str, dict[str, Any]] = {}
        self._stop = threading.Event()
        # A sweep may take long (a slow storage); nobody may take this worker for dead meanwhile.
        self._threads = [
            threading.Thread(target=self._run, name="heartbeat", daemon=True),
            threading.Thread(target=self._sweep, name="sweep", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def register(self) -> None:
        """Adds this incarnation's row. Raises Unavailable."""
        device = self._post.device
        facts = {
            "name": device.name,
            "total_bytes": device.total_bytes,
            "capability": device.capability,
            "driver": device.driver,
        }
        worker = NewWorker(
            id=self._recorder.worker,
            host=self._post.host,
            pid=getpid(),
            device=device.id,
            device_class=device.kind,
            device_facts=facts,
            queues=self._post.queues,
            slots=self._post.slots,
        )
        with self._database.unit() as session:
            workers.register(session, worker)

    def _run(self) -> None:
        due = time.monotonic() + self._seconds
        while not self._stop.wait(min(LOOK_SECONDS, self._seconds)):
            if time.monotonic() >= due:
                self._try(self._beat)
                due = time.monotonic() + self._seconds
            elif self._engine.states() != self._told:
                self._try(self._beat)

    def _sweep(self) -> None:
        while not self._stop.wait(self._seconds):
            self._try(self._recovery.sweep)

    @staticmethod
    def _try(step: Callable[[], None]) -> None:
        try:
            step()
        except Unavailable:
            log.warning("heartbeat_missed", reason="the database cannot be reached")
        except Exception:  # one bad step must not end the heartbeat
            log.exception("heartbeat_broken")

    def _beat(self) -> None:
        self._told = self._engine.states()
        loaded = self._engine.models()
        models = [on_recorded(model) for model in loaded]
        with self._database.unit() as session:
            alive = workers.beat(
                session, self._recorder.worker, running=len(self._runner.running), models=models
            )
            held = predictions.held(session, self._recorder.worker)
        self._runner.cancel([prediction_id for prediction_id, _, stop in held if stop])
        self._learn(loaded)
        if alive:
            self._return_strangers([(prediction_id, attempt) for prediction_id, attempt, _ in held])
        else:
            self._start_again()

    def _learn(self, loaded: Sequence[LoadedModel]) -> None:
        """What a load found out (dtype, batches) is written to its version, once for each load."""
        new = [one for one in loaded if one.facts and self._learnt.get(one.version) != one.facts]
        if not new:
            return
        with self._database.unit() as session:
            for one in sorted(new, key=lambda one: one.version):
                versions.learn(session, one.version, self._post.device.kind, one.facts)
        self._learnt |= {one.version: one.facts for one in new}

    def _return_strangers(self, held: list[tuple[str, int]]) -> None:
        """What is ours by the database's account and does not run here at two beats in a row: a claim whose
        answer was lost with its connection, or an end that could not be written. Somebody else gets it."""
        strangers = {one for one in held if one[0] not in self._runner.running}
        for prediction_id, attempt in strangers & self._strangers:
            log.warning("claim_returned", prediction=prediction_id, attempt=attempt)
            self._recorder.hand_back(HandBack(prediction_id, attempt, self._recorder.worker))
        self._strangers = strangers

    def _start_again(self) -> None:
        """Declared dead (this process was stopped for long): what it holds belongs to others now, and it says
        so by a new id."""
        held = list(self._runner.running)
        log.warning("declared_dead", worker=str(self._recorder.worker), dropped=len(held))
        self._recorder.renew()
        self.register()
        self._runner.cancel(held)

    def drain(self) -> None:
        """From now on nothing more is routed here; it still says that it lives, because it ends what it has
        begun."""
        try:
            with self._database.unit() as session:
                workers.drain(session, self._recorder.worker)
        except Unavailable:
            log.warning("draining_not_heard", reason="the database cannot be reached")

    def stop(self, last: Callable[[], None]) -> None:
        """Ends the threads, runs `last`, and closes the row."""
        self._stop.set()
        until = time.monotonic() + self._seconds + 5
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        try:
            last()
            with self._database.unit() as session:
                workers.stop(session, self._recorder.worker)
        except Unavailable:
            log.warning("goodbye_not_heard", reason="the database cannot be reached; the sweep will notice")
