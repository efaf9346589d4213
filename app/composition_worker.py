"""Puts a worker and a courier together: `app/worker` and the engine around what every process has.

Beside `composition` because an API process must hold nothing of it.
"""

import os
import signal
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import orjson

from app import __version__
from app.backends.base import Machine
from app.backends.credentials import CredentialSealer
from app.broker import consumer, names
from app.broker.celery_app import make_celery
from app.broker.queue_lists import QueueLists
from app.broker.sweep_task import register_sweep
from app.broker.task_events import TaskEvents
from app.composition_core import Core, address_policy, backend_policy, open_core
from app.composition_direct import build_direct_server, build_post
from app.db import files
from app.db.session import Database
from app.domain import queue_names
from app.engine import devices
from app.engine.deadlines import Timeouts
from app.engine.device_share import free_bytes_of, share_of, total_bytes_of
from app.engine.devices import Device
from app.engine.engine import DIFFUSERS, TORCH, Engine, EngineOptions
from app.events import channels
from app.events.breaker_store import BreakerStore
from app.events.model_commands import ModelCommand
from app.events.takeover import StreamTakeover
from app.local.ports import choose_port
from app.outbound.guarded_client import GuardedClient
from app.outbound.webhook_sender import Sender
from app.runtimes.demo import package_roots
from app.services.backends.connector import BackendConnector
from app.settings import Settings
from app.worker import metrics
from app.worker.command_listener import CommandListener
from app.worker.courier import Courier, platform_secret
from app.worker.draining import Draining
from app.worker.ending_writer import EndingWriter
from app.worker.gateway.backend_pool import BackendPool
from app.worker.gateway.backend_watch import BackendWatch
from app.worker.gateway.breaker_board import BreakerBoard
from app.worker.gateway.gateway_engine import GatewayEngine
from app.worker.handover import Handover
from app.worker.health import HealthOptions, HealthPort
from app.worker.heartbeat import Heartbeat, Post, this_host
from app.worker.identity import WorkerIdentity
from app.worker.inputs import Inputs
from app.worker.intake import Intake
from app.worker.long_inputs import LongInputs
from app.worker.metrics import courier_exposition
from app.worker.model_files import ModelFileOptions, ModelFiles
from app.worker.model_preload import ModelPreloader
from app.worker.outputs import Outputs
from app.worker.preparation import Preparation, RunOptions
from app.worker.process import AcceleratorWorker, CourierProcess, StorageCheck, WorkerOptions, WorkerParts
from app.worker.run import InFlight
from app.worker.run_tracer import RunTracer
from app.worker.runner import Runner
from app.worker.version_cache import Versions
from app.worker.work_engine import WorkEngine

MESSAGES_AT_ONCE = 10_000  # ids of some 300 bytes
# Connections of a worker's or courier's pool: claims, progress, ends, heartbeat and look-ups use one
# each; a sweep two.
WRITE_CONNECTIONS = 7
GATEWAY_SLOTS = 4_000  # predictions that one holds: each is a call, or waits for one
WATCH_CONNECTIONS = 1  # of a gateway worker: what is registered, and what it says of it


REVOKED = "It was revoked by an operator."  # in Flower, or by `celery control revoke`


def build_worker(settings: Settings, device_name: str, name: str = "") -> AcceleratorWorker:
    """Runs predictions on one device. `name` distinguishes several workers of one device on one host."""
    device = devices.resolve(device_name)
    core = open_core(settings, application=f"lovage-worker-{device.id}", pool=WRITE_CONNECTIONS)
    post = build_post(settings, device, name, settings.worker_slots)
    parts = build_parts(settings, core, post, Engine(engine_options(settings, device)), WorkerIdentity())
    return assemble(settings, core, post, parts)


def build_gateway(settings: Settings, name: str = "") -> AcceleratorWorker:
    """Runs predictions at backends. `name` distinguishes several of one host."""
    device = Device(queue_names.BACKENDS, name="Backends")
    core = open_core(settings, application="lovage-gateway", pool=WRITE_CONNECTIONS + WATCH_CONNECTIONS)
    post = build_post(settings, device, name, GATEWAY_SLOTS)
    engine, identity = open_gateway_engine(settings, core)
    return assemble(settings, core, post, build_parts(settings, core, post, engine, identity))


def open_gateway_engine(settings: Settings, core: Core) -> tuple[GatewayEngine, WorkerIdentity]:
    """What calls the backends that are registered, and whose claims it runs."""
    sealer, policy = CredentialSealer(settings.secret_key), backend_policy(settings)
    connector = BackendConnector(sealer, policy, this_machine(settings))
    board = BreakerBoard(BreakerStore(core.redis), ThreadPoolExecutor(1, thread_name_prefix="breakers"))
    pool, identity = BackendPool(connector.open, board), WorkerIdentity()
    threads = ThreadPoolExecutor(WATCH_CONNECTIONS, thread_name_prefix="backend-watch")
    return GatewayEngine(pool, [BackendWatch(pool, core.database, threads, identity).run]), identity


def this_machine(settings: Settings) -> Machine:
    """Where backends that are programs run."""
    folder = settings.lovage_data_dir.absolute()
    return Machine(folder, this_host(), free_bytes_of, total_bytes_of, choose_port)


def assemble(settings: Settings, core: Core, post: Post, parts: WorkerParts) -> AcceleratorWorker:
    """The process around a worker's parts."""
    device = post.device
    celery = make_celery(settings.redis_url, sweep_seconds=settings.sweep_seconds)
    own_queues = [names.celery_queue(queue) for queue in post.queues]
    hostname = f"{device.id}@{post.host}"
    worker = AcceleratorWorker(
        options=worker_options(settings),
        post=post,
        celery=celery,
        queues=[*own_queues, queue_names.SWEEPS],
        hostname=hostname,
        database=core.database,
        lifecycle=core.lifecycle,
        parts=parts,
        task_events=TaskEvents(celery, hostname),
        health=HealthPort(
            health_options(settings),
            metrics.exposition(
                parts.engine,
                parts.runner,
                parts.ending_writer,
                post.slots,
                device_and_folders(settings, device),
            ),
            lambda: worker.is_alive(),  # noqa: PLW0108 - it is being built
        ),
        storage_check=StorageCheck(core.storage_identity, lambda: os.kill(os.getpid(), signal.SIGTERM)),
        close=core.close,
        direct=build_direct_server(settings, core, post, parts),
    )
    connect(parts, worker.task_events)
    consumer.attach(celery, names.TASK_PREDICT, parts.intake, own_queues)
    consumer.show_active(lambda: [run.prediction for run in parts.runner.in_flight.list_all()])
    consumer.cancel_revoked(partial(core.lifecycle.cancel, reason=REVOKED))
    register_sweep(celery, parts.recovery.sweep)
    return worker


def connect(parts: WorkerParts, task_events: TaskEvents) -> None:
    """Who is called when something was claimed, was written, or has ended."""
    parts.ending_writer.on_written = parts.intake.on_capacity
    parts.ending_writer.on_ended = metrics.count_ended
    parts.intake.on_claimed = task_events.on_claimed
    parts.runner.on_ended = task_events.on_ended


def device_and_folders(settings: Settings, device: devices.Device) -> metrics.DeviceAndFolders:
    """What the metrics look at."""
    folders = {"models": settings.model_cache_folder}
    if settings.storage == "local":
        folders["storage"] = settings.storage_folder
    return metrics.DeviceAndFolders(device, folders)


def build_parts(
    settings: Settings, core: Core, post: Post, engine: WorkEngine, identity: WorkerIdentity
) -> WorkerParts:
    """What takes predictions from their messages to their recorded ends, and a heartbeat."""
    ending_writer, recovery = EndingWriter(core.lifecycle), core.recovery()
    options = run_options(settings, post.device)
    preparation = build_preparation(settings, core, options, engine.folders)
    runner = Runner(
        engine,
        core.lifecycle,
        identity,
        ending_writer,
        core.events,
        StreamTakeover(core.redis),
        preparation,
        Outputs(core.storage),
        options,
    )
    lists = QueueLists(core.redis, [names.celery_queue(queue) for queue in post.queues])
    intake = Intake(core.lifecycle, identity, runner, lists, post.queues, post.slots)
    heartbeat = Heartbeat(
        core.database,
        engine,
        core.lifecycle,
        identity,
        runner.in_flight,
        runner.shares,
        recovery,
        post,
        settings.heartbeat_seconds,
        build_handover(settings, core, engine, identity, runner.in_flight, post),
    )
    if core.tracing:
        runner.report = RunTracer(core.tracing, options.label, runner.report).write
    heartbeat.on_fleet_state = Draining(intake, runner.in_flight, settings.worker_grace_seconds).apply
    heartbeat.downloads = preparation.downloads
    preloader = ModelPreloader(core.database, engine, preparation, post.facts)
    listener = build_listener(core, runner.in_flight, preloader, heartbeat, engine)
    outer = (intake, heartbeat, recovery, preloader, listener)
    return WorkerParts(engine, identity, ending_writer, runner, *outer)


def build_handover(
    settings: Settings,
    core: Core,
    engine: WorkEngine,
    identity: WorkerIdentity,
    in_flight: InFlight,
    post: Post,
) -> Handover:
    """What gives work to idle siblings."""
    dead_after, queue = settings.dead_after_seconds, post.queues[0]
    return Handover(core.database, engine, identity, in_flight, queue, dead_after)


def build_preparation(
    settings: Settings, core: Core, options: RunOptions, folders_in_use: Callable[[], Collection[str]]
) -> Preparation:
    """What brings versions and input files to this machine."""
    inputs = Inputs(
        core.storage,
        partial(find_file, core.database),
        settings.max_upload_bytes,
        GuardedClient(address_policy(settings)),
    )
    files = ModelFiles(model_file_options(settings), folders_in_use, core.storage)
    long_inputs = LongInputs(core.database, core.storage)
    return Preparation(Versions(core.database), files, inputs, long_inputs, options)


def run_options(settings: Settings, device: Device) -> RunOptions:
    return RunOptions(
        device.torch_device,
        threads_per_model(settings),
        settings.run_timeout_seconds,
        settings.trusted_code,
        device.id,
        settings.is_development,
    )


def build_listener(
    core: Core, in_flight: InFlight, preloader: ModelPreloader, heartbeat: Heartbeat, engine: WorkEngine
) -> CommandListener:
    """The commands that come over Redis, and who carries them out."""
    own = {channels.BREAKERS: engine.on_breaker_change} if isinstance(engine, GatewayEngine) else {}
    handlers = {
        channels.CANCEL: lambda data: in_flight.cancel(orjson.loads(data)),
        channels.FLEET_CHANGES: lambda _: heartbeat.hurry(),
        channels.MODEL_COMMANDS: lambda data: preloader.on_command(ModelCommand.decode(data)),
    }
    return CommandListener(core.redis, handlers | own)


def find_file(database: Database, file_id: str) -> tuple[str, str] | None:
    """Storage key and name of an uploaded file."""
    with database.unit() as session:
        row = files.by_id(session, file_id)
        return (row.storage_key, row.name) if row else None


def worker_options(settings: Settings) -> WorkerOptions:
    return WorkerOptions(
        grace_seconds=settings.worker_grace_seconds,
        dead_after_seconds=settings.dead_after_seconds,
        preload=settings.prefetched,
        runtime_folders=settings.runtime_folders,
    )


def health_options(settings: Settings) -> HealthOptions:
    return HealthOptions(settings.health_host, settings.health_port, settings.metrics, settings.metrics_token)


def model_file_options(settings: Settings) -> ModelFileOptions:
    return ModelFileOptions(
        roots=[*settings.model_root_folders, *package_roots()],
        cache=settings.model_cache_folder,
        hf_endpoint=settings.hf_endpoint,
        hf_token=settings.hf_token,
        s3_endpoint_url=settings.s3_endpoint_url,
        s3_region=settings.s3_region,
        s3_access_key_id=settings.s3_access_key_id,
        s3_secret_access_key=settings.s3_secret_access_key,
        max_bytes=settings.max_model_bytes,
        disk_bytes=settings.model_disk_bytes,
    )


def threads_per_model(settings: Settings) -> int:
    """CPU threads of one model process."""
    return settings.model_threads or max(1, (os.cpu_count() or 1) // max(1, settings.workers_on_host))


def engine_options(settings: Settings, device: Device) -> EngineOptions:
    """What its models may take, and how they are run."""
    folder = settings.lovage_data_dir.absolute()
    share = share_of(device, settings.model_cache_bytes, settings.workers_on_host, folder / "engines")
    return EngineOptions(
        preload=TORCH + DIFFUSERS,
        budget_bytes=share.budget_bytes,
        reserved=share.reserved,
        free=partial(devices.free_bytes, device),
        threads=threads_per_model(settings),
        runtime_folders=tuple(map(str, settings.runtime_folders)),
        cost_folder=str(folder / "cost-models"),
        environment_folder=str(folder / "environments"),
        timeouts=Timeouts(
            setup=settings.setup_timeout_seconds,
            silence=settings.model_silence_seconds,
            keep_alive=settings.model_idle_seconds,
        ),
    )


def build_courier(settings: Settings) -> CourierProcess:
    """Delivers webhooks."""
    core = open_core(settings, application="lovage-courier", pool=WRITE_CONNECTIONS)
    sender = Sender(
        policy=address_policy(settings),
        seconds=settings.webhook_timeout_seconds,
        connections=settings.webhook_concurrency * 2,
        user_agent=f"Lovage/{__version__}",
    )
    lists = QueueLists(core.redis, [queue_names.WEBHOOKS], names.TASK_DELIVER)
    courier = Courier(
        core.database,
        sender,
        platform_secret(settings.secret_key),
        settings.webhook_concurrency,
        schedule=settings.webhook_schedule,
        drain_messages=lambda: lists.pop(MESSAGES_AT_ONCE),
    )
    courier.tracing = core.tracing
    celery = make_celery(settings.redis_url, sweep_seconds=settings.sweep_seconds)
    consumer.attach(celery, names.TASK_DELIVER, courier, [queue_names.WEBHOOKS])
    register_sweep(celery, core.recovery().sweep)
    consumer.cancel_revoked(partial(core.lifecycle.cancel, reason=REVOKED))
    hostname = f"courier@{this_host()}-{os.getpid()}"
    task_events = TaskEvents(celery, hostname)
    courier.on_begun, courier.on_tried = task_events.on_delivery_begun, task_events.on_delivery_tried
    return CourierProcess(
        courier=courier,
        health=HealthPort(health_options(settings), courier_exposition(courier), core.database.answers),
        celery=celery,
        queues=[queue_names.WEBHOOKS, queue_names.SWEEPS],
        hostname=hostname,
        task_events=task_events,
        close=core.close,
    )
