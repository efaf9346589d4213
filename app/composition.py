"""The API put together, around what every process has (composition_core).

These modules are the only ones beside the entry points that read `Settings`: every part gets values. The
worker's half is X
"""

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from app.api.body_gate import BodyGate
from app.api.connection_counts import ConnectionCounts
from app.api.deps import ApiOptions, Services
from app.backends.base import Machine
from app.composition_core import Core, address_policy, backend_policy, open_core
from app.composition_people import build_people, build_rate_limits
from app.db.session import Database
from app.events.fleet_changes import FleetChangePublisher
from app.events.model_commands import ModelCommandPublisher
from app.events.reader import EventReader
from app.runtimes.demo import package_roots
from app.services.backends.services import BackendServices, open_backends
from app.services.backends.targets import TargetFacts
from app.services.catalogue.backend_versions import BackendVersions
from app.services.catalogue.base_models import sources_of_models
from app.services.catalogue.catalogue import Catalogue
from app.services.catalogue.deployments import Deployments
from app.services.catalogue.model_aliases import ModelAliases
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
from app.services.predictions.backlog import Backlog, BacklogLimits
from app.services.predictions.bulk import Bulk
from app.services.predictions.delivery_log import DeliveryLog
from app.services.predictions.disconnects import Disconnects
from app.services.predictions.expiry import retention_by_kind
from app.services.predictions.follow import Follower
from app.services.predictions.input_check import InputChecker
from app.services.predictions.operations import Operations
from app.services.predictions.prediction_history import PredictionHistory
from app.services.predictions.prediction_list import PredictionList
from app.services.predictions.queue_position import QueuePositions
from app.services.predictions.queues import Queues
from app.services.predictions.requeue import Requeuer
from app.services.predictions.submit import Submitter
from app.services.predictions.subscriptions import Subscriptions
from app.settings import Settings, shown_settings

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
        bulk=Bulk(database, core.lifecycle, submitter, runnables, core.answers.stored, threads),
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
    machine = Machine(settings.lovage_data_dir.absolute())
    return open_backends(database, settings.secret_key, backend_policy(settings), machine, facts)


def build_model_names(
    settings: Settings, database: Database, threads: Executor, runnables: Runnables
) -> ModelNames:
    """What clients call models by."""
    aliases = ModelAliases(database, settings.models_by_alias)
    return ModelNames(database, threads, runnables, aliases, settings.principal_cache_seconds)


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
        refuse_unknown_inputs=settings.refuse_unknown_inputs,
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
        find_source=sources_of_models(database),
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
