"""One worker process: its parts put together, its Celery worker run, its end made orderly. `lovage worker` calls `run`."""

import gc
import os
import threading
import time
import warnings
from functools import partial
from typing import Any

import orjson
import structlog
from celery import signals
from celery.platforms import SecurityWarning

from app.db import census, files, workers
from app.domain.errors import Unavailable
from app.domain.predictions import Prediction
from app.engine import devices
from app.engine.devices import Device
from app.engine.engine import DIFFUSERS, TORCH, Engine, EngineOptions
from app.engine.watch import Times
from app.events import channels
from app.events.orders import Order
from app.observe import metrics
from app.queue import names
from app.queue.celery_app import make_celery
from app.runtimes import registry
from app.services import runtime_index
from app.services.assembly import Core
from app.settings import Settings
from app.worker import counts, doorstep, tasks
from app.worker.deliveries import Courier, platform_secret
from app.worker.health import HealthPort
from app.worker.heartbeat import Heartbeat, Post, this_host
from app.worker.inputs import Inputs
from app.worker.intake import Intake, Messages
from app.worker.listener import Listener
from app.worker.outputs import Outputs
from app.worker.recorder import Recorder
from app.worker.runner import Place, Runner
from app.worker.sources import Sources
from app.worker.stock import Stock
from app.worker.task_events import TaskEvents
from app.worker.versions import Versions

log = structlog.get_logger(__name__)

WRITE_CONNECTIONS = 7  # claims, growth, endings, heartbeat, look-ups: each hop uses one at a time; a sweep two
LAST_WORDS_SECONDS = 3.0
BELLS_AT_ONCE = 10_000  # ids of some 300 bytes
# Shares of the free memory that loaded models may take together; the rest is for what runs make.
OF_ACCELERATOR, OF_MACHINE = 0.85, 0.5
POOL_THREADS = 2  # of Celery's pool: only sweeps run on it, predictions never hold a thread (see `doorstep`)


class AcceleratorWorker:
    """Runs predictions on one device."""

    def __init__(self, settings: Settings, device_name: str, name: str) -> None:
        device = devices.resolve(device_name)
        self._settings, self._name = settings, name or device.id
        self.core = Core.open(settings, application=f"lovage-worker-{device.id}", pool=WRITE_CONNECTIONS)
        threads = settings.model_threads or max(1, (os.cpu_count() or 1) // max(1, settings.workers_on_host))
        self.engine = Engine(engine_options(settings, threads, device))
        host = this_host() if self._name == device.id else f"{self._name}.{this_host()}"
        self.post = Post(device, host, settings.worker_slots)
        self.recorder = Recorder(self.core.lifecycle)
        place = Place(device.torch_device, threads, settings.run_timeout_seconds, settings.trusted_code, device.id)
        self.runner = Runner(
            self.engine, self.recorder, self.core.events, Versions(self.core.database), Sources(settings),
            Inputs(settings, self.core.storage, partial(find_file, self.core)), Outputs(self.core.storage), place,
        )  # fmt: skip
        recovery = self.core.recovery()
        self.heartbeat = Heartbeat(
            self.core.database, self.engine, self.recorder, self.runner, recovery, self.post, settings.heartbeat_seconds
        )
        self.intake = Intake(
            self.recorder, self.runner, Messages(settings.redis_url, self.post.queues), self.post.queues, settings.worker_slots
        )
        self.recorder.on_written = self.intake.room_freed
        self.recorder.on_ended = counts.count_ended
        shown = counts.exposition(self.engine, self.runner, self.recorder, settings.worker_slots)
        self.health = HealthPort(settings, shown, self.is_heard)
        self.stock = Stock(self.core.database, self.engine, self.runner, self.post.facts)
        ears = {
            channels.CANCEL: lambda data: self.runner.cancel(orjson.loads(data)),
            channels.ORDERS: lambda data: self.stock.obey(Order.decode(data)),
        }
        self.listener = Listener(settings.redis_url, ears)
        self.recovery = recovery

    def start(self) -> None:
        """The engine warms up while the worker registers."""
        self.engine.start()
        found = registry.known(self._settings.runtime_folders)
        with self.core.database.unit() as session:
            runtime_index.write(session, found)
        self.heartbeat.register()
        for part in (self.recorder, self.heartbeat, self.intake, self.listener):
            part.start()
        self.health.start()
        self.stock.prefetch(self._settings.prefetched)

    def is_heard(self) -> bool:
        """Whether its heartbeat arrives. Raises Unavailable."""
        with self.core.database.unit() as session:
            live = workers.live(session, self._settings.dead_after_seconds)
        return any(row.id == self.recorder.worker for row in live)

    def tell(self, news: TaskEvents) -> None:
        """Celery's event stream hears of every prediction that begins and ends here."""
        self.intake.claimed = news.claimed
        self.runner.ended = lambda prediction, status: news.ended(prediction, status, ran_for(prediction))
        news.start()

    def drain(self) -> None:
        """Stops claiming, gives what runs its grace, hands the rest back, and ends the process."""
        self.intake.stop()
        self.listener.stop()
        self.stock.close()
        self.runner.draining = True
        self.heartbeat.drain()
        log.info("draining", running=len(self.runner.running), grace_seconds=self._settings.worker_grace_seconds)
        self._give_away_waiting()
        self.engine.stop(self._settings.worker_grace_seconds)
        for _ in range(int(LAST_WORDS_SECONDS / 0.05)):
            if not self.runner.running:
                break
            threading.Event().wait(0.05)
        self.recorder.close(LAST_WORDS_SECONDS)
        self.heartbeat.stop(self._hand_back)
        self.health.stop()
        self.runner.close()
        self.core.close()

    def _give_away_waiting(self) -> None:
        """What has not begun is for the other workers now, and so is what waits in this worker's own queue."""
        self.runner.give_away_waiting()
        until = time.monotonic() + LAST_WORDS_SECONDS
        while time.monotonic() < until and any(run.returned for run in list(self.runner.running.values())):
            time.sleep(0.02)
        self._move_on()

    def _move_on(self) -> None:
        try:
            self.recovery.empty_unread_queues()
        except Unavailable:
            log.warning("queue_left_to_the_sweep", reason="the database cannot be reached")

    def _hand_back(self) -> None:
        returned = self.core.lifecycle.give_back_all(self.recorder.worker)
        if returned:
            log.info("handed_back", count=returned)
            self._move_on()


def ran_for(prediction: Prediction) -> float:
    """Seconds since the claim, by this machine's clock: for a dashboard."""
    return max(0.0, time.time() - prediction.started_at.timestamp()) if prediction.started_at else 0.0


def find_file(core: Core, file_id: str) -> tuple[str, str] | None:
    """Storage key and name of an uploaded file."""
    with core.database.unit() as session:
        row = files.by_id(session, file_id)
        return (row.storage_key, row.name) if row else None


def engine_options(settings: Settings, threads: int, device: Device) -> EngineOptions:
    """The engine's options from the settings. An accelerator is its worker's alone; the machine's memory is for all."""
    alone = device.kind in devices.OWN_MEMORY
    return EngineOptions(
        preload=TORCH + DIFFUSERS,
        budget_bytes=settings.model_cache_bytes,
        share=OF_ACCELERATOR if alone else OF_MACHINE / max(1, settings.workers_on_host),
        free=partial(devices.free_bytes, device),
        threads=threads,
        runtime_folders=tuple(map(str, settings.runtime_folders)),
        curve_folder=str(settings.lovage_data_dir.absolute() / "curves"),
        times=Times(setup=settings.setup_timeout_seconds, keep_alive=settings.model_idle_seconds),
    )


def run(settings: Settings, device: str, name: str = "") -> None:
    """Runs an accelerator worker until it is told to stop. Does not return: ends the process."""
    worker = AcceleratorWorker(settings, device, name)
    app = make_celery(settings.redis_url, sweep_seconds=settings.sweep_seconds)
    doorstep.attach(app, names.TASK_PREDICT, worker.intake, worker.post.queues)
    doorstep.show_active(worker.runner.running)
    tasks.register_sweep(app, worker.recovery.sweep)
    hostname = f"{worker.post.device.id}@{worker.post.host}"
    worker.tell(TaskEvents(app, hostname))
    worker.start()
    queues = [*worker.post.queues, names.SWEEPS]
    log.info("worker_ready", worker=str(worker.recorder.worker), device=worker.post.device.id, queues=queues)
    serve(app, queues, POOL_THREADS, hostname, worker.drain, settings)


def run_courier(settings: Settings) -> None:
    """Runs a courier until it is told to stop. Does not return: ends the process."""
    from app import __version__
    from app.webhooks.sender import Sender

    core = Core.open(settings, application="lovage-courier", pool=WRITE_CONNECTIONS)
    sender = Sender(
        allow_private=settings.allow_private_addresses,
        timeout=settings.webhook_timeout_seconds,
        connections=settings.webhook_concurrency * 2,
        user_agent=f"Lovage/{__version__}",
    )
    bells = Messages(settings.redis_url, [names.WEBHOOKS], names.TASK_DELIVER)
    courier = Courier(
        core.database, sender, platform_secret(settings.secret_key), settings.webhook_concurrency,
        schedule=settings.webhook_schedule, drain_bells=lambda: bells.take(BELLS_AT_ONCE),
    )  # fmt: skip
    app = make_celery(settings.redis_url, sweep_seconds=settings.sweep_seconds)
    doorstep.attach(app, names.TASK_DELIVER, courier, [names.WEBHOOKS])
    tasks.register_sweep(app, core.recovery().sweep)
    courier.start()
    health = HealthPort(settings, courier_exposition(courier), partial(database_answers, core))
    health.start()

    def drain() -> None:
        courier.close()
        health.stop()
        bells.close()
        core.close()

    log.info("courier_ready", concurrency=settings.webhook_concurrency)
    serve(app, [names.WEBHOOKS, names.SWEEPS], POOL_THREADS, f"courier@{this_host()}-{os.getpid()}", drain, settings)


def courier_exposition(courier: Courier) -> metrics.Exposition:
    """All metrics of a courier."""
    own = metrics.Gauges(metrics.OF_COURIER, lambda: {"lovage_webhooks_open": {(): courier.open}})
    return metrics.Exposition(metrics.EVERYWHERE, metrics.COURIER, own)


def database_answers(core: Core) -> bool:
    """Raises Unavailable when it does not."""
    with core.database.unit() as session:
        census.ping(session)
    return True


def serve(app: Any, queues: list[str], slots: int, hostname: str, drain: Any, settings: Settings) -> None:
    """Runs Celery's worker in this thread. A stop signal drains beside it; the process ends when draining has."""
    started = threading.Event()

    def stop(**_: Any) -> None:
        if not started.is_set():
            started.set()
            threading.Thread(target=_drain_and_exit, args=(drain,), name="drain").start()

    # Lovage runs as root on a developer's machine or in a container; Celery's advice is in the papers, not in every log.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    signals.worker_shutting_down.connect(stop, weak=False)
    gc.freeze()  # as in the API (main.py)
    worker = app.Worker(
        hostname=hostname, pool="threads", concurrency=slots, queues=queues, loglevel=settings.log_level.upper(),
        without_gossip=True, without_mingle=True, task_events=True, optimization="fair", quiet=True,
    )  # fmt: skip
    worker.start()
    stop()
    threading.Event().wait()


def _drain_and_exit(drain: Any) -> None:
    """The pool's threads cannot be ended from outside, so the process ends by force once everything is settled."""
    code = 0
    try:
        drain()
    except Exception:
        log.exception("drain_failed")
        code = 1
    os._exit(code)
