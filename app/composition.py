"""The one place where parts are put together: what every process has, and around it the API and a worker.

The only module beside the entry points that reads `Settings`: every part gets values. The worker's half is
imported when a worker is built, so that an API process holds nothing of it. Closed in reverse order.
"""

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis

from app import __version__, redis_client
from app.api.body_gate import BodyGate
from app.api.connection_counts import ConnectionCounts
from app.api.deps import ApiOptions, Services
from app.broker.publisher import Publisher
from app.broker.queue_lists import UnreadLists
from app.broker.redis_marker import RedisMarker
from app.composition_people import build_people, build_rate_limits
from app.db.session import Database, connect
from app.events import channels
from app.events.fleet_changes import FleetChangePublisher
from app.events.model_commands import ModelCommandPublisher
from app.events.reader import EventReader
from app.events.writer import EventWriter
from app.observe.tracing import Tracing, open_tracing
from app.outbound.addresses import LINK_LOCAL, AddressPolicy
from app.runtimes.demo import package_roots
from app.services.backends.services import BackendServices, open_backends
from app.services.backends.targets import TargetFacts
from app.services.catalogue.backend_versions import BackendVersions
from app.services.catalogue.catalogue import Catalogue
from app.services.catalogue.deployments import Deployments
from app.services.catalogue.model_names import ModelNames
from app.services.catalogue.model_uploads import ModelUploads, UploadLimits
from app.services.catalogue.model_versions import ModelVersions
from app.services.catalogue.runnable import Runnables
from app.services.catalogue.runtime_index import RuntimeIndex
from app.services.catalogue.sources import SourceReader, list_bucket
from app.services.catalogue.version_maker import ModelLimits, VersionMaker, specs_of_workers
from app.services.catalogue.version_stats import VersionStats
from app.services.files.files import FileLimits, Files
from app.services.files.own_files import OwnFiles
from app.services.platform.fleet import Fleet
from app.services.platform.fleet_operations import FleetOperations
from app.services.platform.health import Health
from app.services.platform.metrics import ApiMetrics
from app.services.platform.statistics import Statistics
from app.services.platform.storage_identity import StorageIdentity
from app.services.predictions.after_commit import Notifier
from app.services.predictions.backlog import Backlog, BacklogLimits
from app.services.predictions.bulk import Bulk
from app.services.predictions.data_removal import DataRemoval
from app.services.predictions.delivery_log import DeliveryLog
from app.services.predictions.disconnects import Disconnects
from app.services.predictions.expiry import retention_by_kind
from app.services.predictions.follow import Follower
from app.services.predictions.input_check import InputChecker
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.operations import Operations
from app.services.predictions.prediction_history import PredictionHistory
from app.services.predictions.prediction_list import PredictionList
from app.services.predictions.prediction_view import PredictionView
from app.services.predictions.queue_position import QueuePositions
from app.services.predictions.queues import Queues
from app.services.predictions.recovery import Recovery, SweepLimits
from app.services.predictions.requeue import Requeuer
from app.services.predictions.stored_values import StoredValues
from app.services.predictions.submit import Submitter
from app.services.predictions.subscriptions import Subscriptions
from app.services.predictions.webhook_outbox import WebhookOutbox
from app.services.predictions.whole_answers import WholeAnswers
from app.settings import Settings, shown_settings
from app.storage import StorageOptions, location_of, open_storage
from app.storage.base import Storage


@dataclass(slots=True)
class Core:
    """What every process that touches predictions has: the API, a worker, a courier, the clock's sweeper."""

    database: Database
    redis: "redis.Redis"
    storage: Storage
    view: PredictionView
    answers: WholeAnswers
    publisher: Publisher
    events: EventWriter
    notifier: Notifier
    lifecycle: Lifecycle
    redis_marker: RedisMarker
    limits: SweepLimits
    storage_identity: StorageIdentity
    tracing: Tracing | None = None

    def removal(self) -> DataRemoval:
        """What removes predictions' data."""
        return DataRemoval(self.database, self.lifecycle, self.storage)

    def recovery(self) -> Recovery:
        """The sweeps over this core."""
        return Recovery(
            self.database,
            self.lifecycle,
            self.notifier,
            self.redis_marker,
            UnreadLists(self.redis),
            self.storage,
            self.limits,
        )

    def close(self) -> None:
        """Sends what is still to be sent, then disconnects."""
        self.publisher.close()
        self.events.close()
        self.redis.close()
        self.database.close()
        if self.tracing:
            self.tracing.close()


def open_core(settings: Settings, *, application: str, pool: int, fail_fast: bool = False) -> Core:
    """Connects lazily: servers that are down fail the calls, not the start. `fail_fast`: see Database."""
    database = Database(
        connect(settings.database_url, pool=pool, application=application), fail_fast=fail_fast
    )
    storage = open_storage(storage_options(settings))
    view = PredictionView(storage, settings.secret_key, settings.public_url, settings.file_url_seconds)
    whole = WholeAnswers(view, StoredValues(storage))
    client = redis_client.connect(settings.redis_url)
    publisher, events = Publisher(client, channels.STATE_CHANGES), EventWriter(client)
    publisher.start()
    events.start()
    tracing = open_tracing(settings.otel_exporter_otlp_endpoint, application, __version__)
    notifier = Notifier(publisher, events, tracing)
    lifecycle = Lifecycle(database, WebhookOutbox(view, whole), notifier, settings.max_crashes)
    marker = RedisMarker(client)
    limits = SweepLimits(settings.dead_after_seconds, settings.retention_hours, settings.audit_days)
    ident = StorageIdentity(database, storage, location_of(storage_options(settings)))
    return Core(
        database,
        client,
        storage,
        view,
        whole,
        publisher,
        events,
        notifier,
        lifecycle,
        marker,
        limits,
        ident,
        tracing,
    )


def storage_options(settings: Settings) -> StorageOptions:
    """Where files live."""
    return StorageOptions(
        kind=settings.storage,
        secret_key=settings.secret_key,
        folder=settings.storage_folder,
        bucket=settings.s3_bucket,
        prefix=settings.s3_prefix,
        endpoint_url=settings.s3_endpoint_url,
        public_url=settings.s3_public_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )


def address_policy(settings: Settings) -> AddressPolicy:
    """Which addresses users may have us call."""
    return AddressPolicy(settings.allow_private_addresses, settings.denied_networks)


def backend_policy(settings: Settings) -> AddressPolicy:
    """The same of administrators: their own networks, too, but not where clouds hand out credentials."""
    return AddressPolicy(True, (*settings.denied_networks, *LINK_LOCAL))


def programs_folder(settings: Settings) -> Path:
    """What backends of the kind cli may run: whoever can write there decides."""
    return settings.lovage_data_dir.absolute() / "programs"


# The API process


@dataclass(slots=True)
class Api:
    """An API process: the services that its routes use, and what they are built on."""

    core: Core
    threads: ThreadPoolExecutor
    reader: EventReader
    services: Services

    async def close(self) -> None:
        """Finishes what is under way, then disconnects."""
        services = self.services
        services.subscriptions.close()
        services.limits.close()
        await services.people.access.close()
        services.health.close()
        await services.submitter.close()
        await services.disconnects.close()
        await services.follower.close()
        await self.reader.close()
        self.threads.shutdown(wait=True)
        services.bodies.close()
        self.core.close()


async def open_api(settings: Settings) -> Api:
    """To be awaited on the loop that will serve requests."""
    threads = ThreadPoolExecutor(settings.api_threads, thread_name_prefix="db")
    core = open_core(settings, application="lovage-api", pool=settings.api_threads, fail_fast=True)
    reader = EventReader(settings.redis_url)
    reader.start()
    return Api(core, threads, reader, build_services(settings, core, threads, reader))


def build_services(settings: Settings, core: Core, threads: Executor, reader: EventReader) -> Services:
    """Everything that the API's routes use."""
    database, bodies = core.database, BodyGate()
    catalogue, versions, runnables = build_catalogue(settings, core, threads)
    health, positions, subscriptions = build_subscriptions(settings, database, reader, threads)
    fleet, submitter = build_submission(settings, core, threads, bodies)
    return Services(
        options=api_options(settings),
        bodies=bodies,
        sockets=ConnectionCounts(settings.ws_connections_per_user),
        people=build_people(settings, database, threads, runnables.forget, core.lifecycle),
        catalogue=catalogue,
        versions=versions,
        runnables=runnables,
        model_names=build_model_names(settings, database, threads, runnables),
        backends=build_backends(settings, database, TargetFacts(health, fleet, threads)),
        deployments=Deployments(database),
        files=build_files(settings, core),
        deliveries=DeliveryLog(database, core.notifier),
        health=health,
        removal=core.removal(),
        limits=build_rate_limits(settings),
        subscriptions=subscriptions,
        stats=VersionStats(database, versions),
        statistics=Statistics(database),
        bulk=Bulk(database, core.lifecycle, submitter, runnables, threads),
        runtimes=RuntimeIndex(database),
        metrics=build_metrics(settings, core, reader, subscriptions),
        fleet=fleet,
        operations=build_operations(settings, core, threads),
        submitter=submitter,
        follower=Follower(database, reader, core.answers.stored, threads, core.view),
        positions=positions,
        disconnects=Disconnects(reader, core.lifecycle, core.notifier, threads),
        model_commands=ModelCommandPublisher(core.redis),
        lifecycle=core.lifecycle,
        view=core.view,
        answers=core.answers,
        storage=core.storage,
    )


def build_operations(settings: Settings, core: Core, threads: Executor) -> Operations:
    """What administrators do with predictions, queues and workers."""
    changes, dead_after = FleetChangePublisher(core.redis), settings.dead_after_seconds
    return Operations(
        PredictionList(core.database, threads),
        FleetOperations(core.database, changes, dead_after),
        Queues(core.database, core.lifecycle, core.notifier, changes, dead_after),
        Requeuer(core.database, core.lifecycle, core.notifier),
        PredictionHistory(core.database),
    )


def build_backends(settings: Settings, database: Database, facts: TargetFacts) -> BackendServices:
    """Backends as the API knows them."""
    policy, programs = backend_policy(settings), programs_folder(settings)
    return open_backends(database, settings.secret_key, policy, programs, facts)


def build_model_names(
    settings: Settings, database: Database, threads: Executor, runnables: Runnables
) -> ModelNames:
    """What clients call models by."""
    aliases, seconds = settings.models_by_alias, settings.principal_cache_seconds
    return ModelNames(database, threads, runnables, aliases, seconds)


def build_metrics(
    settings: Settings, core: Core, reader: EventReader, subscriptions: Subscriptions
) -> ApiMetrics:
    """What `/metrics` shows."""
    return ApiMetrics(
        core.database,
        reader,
        lambda: subscriptions.active,
        core.publisher,
        settings.dead_after_seconds,
        retention_by_kind(settings.retention_hours, settings.audit_days),
    )


def api_options(settings: Settings) -> ApiOptions:
    """The settings that routes look at."""
    return ApiOptions(
        public_url=settings.public_url,
        allow_anonymous=settings.allow_anonymous,
        allow_registration=settings.registration_is_open,
        addresses=address_policy(settings),
        file_url_seconds=settings.file_url_seconds,
        metrics=settings.metrics,
        metrics_token=settings.metrics_token,
        max_body_bytes=settings.max_body_bytes,
        ws_idle_seconds=settings.ws_idle_seconds,
        ws_recheck_seconds=settings.ws_recheck_seconds,
        flower_url=settings.flower_url,
        shown_settings=shown_settings(settings),
    )


def build_catalogue(
    settings: Settings, core: Core, threads: Executor
) -> tuple[Catalogue, ModelVersions, Runnables]:
    """Models, their versions, and what of them may be run."""
    database, limits = core.database, UploadLimits(settings.max_model_bytes, settings.upload_quota_bytes)
    uploads = ModelUploads(database, core.storage, limits)
    maker = build_version_maker(settings, database, uploads)
    runnables = Runnables(database, threads, settings.principal_cache_seconds)
    forget = runnables.forget
    versions = ModelVersions(database, maker, forget, uploads)
    return Catalogue(database, maker, forget), versions, runnables


def build_subscriptions(
    settings: Settings, database: Database, reader: EventReader, threads: Executor
) -> tuple[Health, QueuePositions, Subscriptions]:
    """How the platform stands, where predictions stand in it, and who is sent both."""
    health = Health(database, settings.redis_url, settings.dead_after_seconds)
    positions = QueuePositions(database, threads)
    return health, positions, Subscriptions(reader, health, positions, threads)


def build_version_maker(
    settings: Settings, database: Database, uploads: ModelUploads | None = None
) -> VersionMaker:
    """`path:` sources may point into the model roots, and into installed packages that carry a model."""
    roots = [*settings.model_root_folders, *package_roots()]
    keys = (settings.s3_access_key_id, settings.s3_secret_access_key)
    buckets = partial(list_bucket, settings.s3_endpoint_url, settings.s3_region, *keys)
    sources = SourceReader(
        roots, settings.hf_endpoint, settings.hf_token, list_bucket=buckets, uploads=uploads
    )
    return VersionMaker(
        partial(specs_of_workers, database),
        sources,
        settings.trusted_code,
        ModelLimits(settings.max_model_bytes, settings.model_quota_bytes),
        development=settings.is_development,
        backends=BackendVersions(database),
    )


def build_files(settings: Settings, core: Core) -> Files:
    limits = FileLimits(settings.max_upload_bytes, settings.upload_quota_bytes, settings.file_retention_hours)
    return Files(core.database, core.storage, settings.secret_key, limits)


def build_submission(
    settings: Settings, core: Core, threads: Executor, bodies: BodyGate
) -> tuple[Fleet, Submitter]:
    """What predictions are accepted by, and what chooses their queues."""
    fleet = Fleet(core.database, threads, settings.dead_after_seconds, settings.routing_strategy)
    return fleet, build_submitter(settings, core, fleet, threads, bodies)


def build_submitter(
    settings: Settings, core: Core, fleet: Fleet, threads: Executor, bodies: BodyGate
) -> Submitter:
    checker = InputChecker(policy=address_policy(settings), development=settings.is_development)
    limits = BacklogLimits(
        settings.max_waiting_per_user, settings.max_waiting, settings.prediction_quota_bytes
    )
    return Submitter(
        core.database,
        core.lifecycle,
        checker,
        OwnFiles(core.database, threads),
        fleet,
        Backlog(core.database, threads, limits),
        core.answers.stored,
        threads,
        bodies.run,
    )
