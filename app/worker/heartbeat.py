"""Writes every few seconds that this worker lives, learns what is to be stopped, and sweeps when nobody else
does."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import getpid
from typing import Any
from uuid import UUID, uuid4

import structlog

from app.db import platform_facts, predictions, users, versions, workers
from app.db.session import Database
from app.domain import queue_names
from app.domain.errors import Unavailable
from app.domain.fair_shares import FairShares
from app.domain.routing import WorkerFacts
from app.domain.workers import NewWorker
from app.engine.devices import Device
from app.engine.loaded_model import LoadedModel
from app.services.predictions.attempts import HandBack
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.recovery import Recovery
from app.worker.handover import Handover
from app.worker.identity import WorkerIdentity
from app.worker.preparation import DownloadProgress
from app.worker.run import InFlight
from app.worker.work_engine import WorkEngine

log = structlog.get_logger(__name__)

# A version that was loaded or has become unhealthy is published sooner than the next heartbeat is due.
LOOK_SECONDS = 1.0


def no_certificate() -> str:
    """Of a worker that speaks plaintext, or nothing."""
    return ""


@dataclass(frozen=True, slots=True)
class Post:
    """This worker's position in the fleet."""

    device: Device
    host: str
    slots: int
    grpc_address: str = ""  # where clients call it themselves
    grpc_tls: str = ""  # "server" or "mutual": what they must speak there
    grpc_certificate: Callable[[], str] = no_certificate  # the SHA-256 of the one it shows now

    @property
    def queues(self) -> list[str]:
        """All that it consumes."""
        return queue_names.queues_of(self.device.id, self.host)

    @property
    def facts(self) -> WorkerFacts:
        """Itself, as routing sees it."""
        return WorkerFacts(
            self.device.id, self.host, self.slots, running=0, memory_bytes=self.device.total_bytes
        )

    @property
    def device_facts(self) -> dict[str, Any]:
        """As they are now."""
        device = self.device
        direct = {
            "grpc_address": self.grpc_address,
            "grpc_tls": self.grpc_tls,
            "grpc_certificate": self.grpc_certificate(),
        }
        return {
            "name": device.name,
            "total_bytes": device.total_bytes,
            "capability": device.capability,
            "driver": device.driver,
            **{name: value for name, value in direct.items() if value},
        }

    def row(self, worker: UUID) -> NewWorker:
        """An incarnation of it in the database."""
        device = self.device
        return NewWorker(
            id=worker,
            host=self.host,
            pid=getpid(),
            device=device.id,
            device_class=device.kind,
            device_facts=self.device_facts,
            queues=self.queues,
            slots=self.slots,
        )


def this_host() -> str:
    """A name for this machine that may stand in a queue's name."""
    return queue_names.as_host(socket.gethostname()[:64])


def as_published(model: LoadedModel) -> dict[str, Any]:
    """What the fleet knows of a version on this worker. `in_use` counts what runs and waits; `pace` is in
    seconds; of the batch that ended last `last_batch` items and `padding`, a share."""
    values: dict[str, Any] = {
        "version": model.version,
        "model": model.model,
        "state": model.state,
        "bytes": model.bytes,
        "in_use": model.in_use,
        "batch_size": model.batch_size,
        "pace": round(model.pace, 6),
        "last_batch": model.last_batch,
        "padding": round(model.padding, 3),
        "limit": model.limit,
        "pinned": model.pinned,
    }
    if model.loaded_bytes:
        values |= {"arrived_bytes": model.loaded_bytes, "expected_bytes": model.bytes}
    return (
        {**values, "reason": model.reason, "retry_in": round(model.retry_in, 1)} if model.reason else values
    )


def as_download(download: DownloadProgress) -> dict[str, Any]:
    """What the fleet knows of a version whose files are on their way to this worker, and take no memory."""
    return {
        "version": download.version,
        "model": download.model,
        "state": "downloading",
        "bytes": 0,
        "arrived_bytes": download.bytes,
        "expected_bytes": download.total_bytes,
        "in_use": 0,
        "pinned": False,
    }


class Heartbeat:
    """Two threads of its own; `register` before the first claim."""

    def __init__(
        self,
        database: Database,
        engine: WorkEngine,
        lifecycle: Lifecycle,
        identity: WorkerIdentity,
        in_flight: InFlight,
        shares: FairShares,
        recovery: Recovery,
        post: Post,
        seconds: float,
        handover: Handover,
    ) -> None:
        self._database, self._engine = database, engine
        self._lifecycle, self._identity = lifecycle, identity
        self._in_flight, self._shares = in_flight, shares
        self._recovery, self._handover = recovery, handover
        self._post, self._seconds = post, seconds
        self._strays: set[tuple[str, int]] = set()
        self._taken: set[tuple[str, int]] = set()
        self._published_states: dict[str, str] = {}
        self._published_as_busy = False
        self._device_facts: dict[str, Any] = {}
        self._saved_facts: dict[str, dict[str, Any]] = {}
        self.on_fleet_state: Callable[..., None] = lambda **_: None
        self.downloads: Callable[[], Sequence[DownloadProgress]] = tuple
        self._due_now = False
        self._stop = threading.Event()
        # A sweep may take long (a slow storage); nobody may take this worker for dead meanwhile.
        self._threads = [
            threading.Thread(target=self._run, name="heartbeat", daemon=True),
            threading.Thread(target=self._sweep, name="sweep", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def hurry(self) -> None:
        """The next beat comes within a second."""
        self._due_now = True

    def register(self) -> None:
        """Adds this incarnation's row. Raises Unavailable."""
        self._register(self._identity.id)

    def _register(self, worker: UUID) -> None:
        row = self._post.row(worker)
        with self._database.unit() as session:
            workers.register(session, row)
        self._device_facts = row.device_facts

    def _run(self) -> None:
        due = time.monotonic() + self._seconds
        while not self._stop.wait(min(LOOK_SECONDS, self._seconds)):
            if time.monotonic() >= due or self._due_now:
                self._due_now = False
                self._try(self._beat)
                due = time.monotonic() + self._seconds
            elif self._engine.states() != self._published_states or self._has_begun_or_ended():
                self._try(self._beat)
            self._try(self._handover.look)

    def _has_begun_or_ended(self) -> bool:
        """Whether this worker is idle and was not, or the other way round: siblings are to know."""
        return bool(self._in_flight) != self._published_as_busy

    def _sweep(self) -> None:
        while not self._stop.wait(self._seconds):
            self._try(self._recovery.sweep)

    @staticmethod
    def _try(step: Callable[[], None]) -> None:
        try:
            step()
        except Unavailable:
            log.warning("heartbeat_missed", reason="the database cannot be reached")
        except Exception:  # a worker whose heart stops is taken for dead, whatever stopped it
            log.exception("heartbeat_broken")

    def _beat(self) -> None:
        states, loaded = self._engine.states(), self._engine.models()
        models = [*map(as_published, loaded), *map(as_download, self._absent_downloads(loaded))]
        device_facts = self._post.device_facts
        running = self._in_flight.attempts()  # before what is held is read: a claim comes there first
        with self._database.unit() as session:
            queues = workers.beat(session, self._identity.id, running=len(running), models=models)
            if device_facts != self._device_facts:
                workers.set_device_facts(session, self._identity.id, device_facts)
            held = predictions.held(session, self._identity.id)
            paused = platform_facts.get(session, platform_facts.PAUSED_QUEUES)
            self._shares.weights = users.weights(session)
        self._shares.forget_idle(time.monotonic())
        self._published_states, self._published_as_busy = states, bool(running)  # now that it is written
        self._device_facts = device_facts
        self._in_flight.cancel([prediction_id for prediction_id, _, canceled in held if canceled])
        self._save_facts(loaded)
        if queues is not None:
            self.on_fleet_state(drained=not queues, paused=(paused or {}).keys())
            held_here = {(prediction_id, attempt) for prediction_id, attempt, _ in held}
            self._hand_back_strays(held_here)
            self._drop_taken(running - held_here)
        else:
            self._renew()

    def _absent_downloads(self, loaded: Sequence[LoadedModel]) -> list[DownloadProgress]:
        """Those of versions that the engine does not know: each version is published once."""
        known = {model.version for model in loaded}
        return [download for download in self.downloads() if download.version not in known]

    def _save_facts(self, loaded: Sequence[LoadedModel]) -> None:
        """What a load has measured and chosen (dtype, batches) is written to its version, once for each
        load."""
        new = [
            model for model in loaded if model.facts and self._saved_facts.get(model.version) != model.facts
        ]
        if not new:
            return
        with self._database.unit() as session:
            for model in sorted(new, key=lambda model: model.version):
                versions.learn(session, model.version, self._post.device.kind, model.facts)
        self._saved_facts |= {model.version: model.facts for model in new}

    def _hand_back_strays(self, held: set[tuple[str, int]]) -> None:
        """What is ours by the database's account and does not run here at two beats in a row: a claim whose
        answer was lost with its connection, or an end that could not be written. Somebody else gets it."""
        strays = held - self._in_flight.attempts()
        for prediction_id, attempt in strays & self._strays:
            log.warning("claim_handed_back", prediction=prediction_id, attempt=attempt)
            self._lifecycle.hand_back([HandBack(prediction_id, attempt, self._identity.id)])
        self._strays = strays

    def _drop_taken(self, missing: set[tuple[str, int]]) -> None:
        """What runs here and is not ours by the database's account at two beats in a row was given to
        somebody else, by an administrator for one: nothing more is computed for it."""
        self._in_flight.drop(missing & self._taken)
        self._taken = missing

    def _renew(self) -> None:
        """Declared dead (this process was stopped for long): what it holds belongs to others now, and it says
        so by a new id, whose row is there before anything is claimed under it."""
        former, worker = self._identity.id, uuid4()
        self._register(worker)
        self._identity.renew(worker)
        dropped = self._in_flight.drop_former(worker)
        log.warning("declared_dead", worker=str(former), dropped=dropped)

    def drain(self) -> None:
        """From now on nothing more is routed here; its heartbeat goes on, because it ends what it has
        begun."""
        try:
            with self._database.unit() as session:
                workers.drain(session, self._identity.id)
        except Unavailable:
            log.warning("draining_not_written", reason="the database cannot be reached")

    def stop(self, last_step: Callable[[], None]) -> None:
        """Ends the threads, runs `last_step`, and closes the row."""
        self._stop.set()
        until = time.monotonic() + self._seconds + 5
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        try:
            last_step()
            with self._database.unit() as session:
                workers.stop(session, self._identity.id)
        except Unavailable:
            log.warning("goodbye_not_written", reason="the database cannot be reached; the sweep will notice")
