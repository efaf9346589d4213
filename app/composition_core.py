"""What every process that touches predictions has: connections, storage, the events that it sends.

Imports nothing of the API, so that a worker and a courier start without it.
"""

from dataclasses import dataclass

import redis

from app import __version__, redis_client
from app.broker.publisher import Publisher
from app.broker.queue_lists import UnreadLists
from app.broker.redis_marker import RedisMarker
from app.db.session import Database, connect
from app.events import channels
from app.events.writer import EventWriter
from app.observe.tracing import Tracing, open_tracing
from app.outbound.addresses import LINK_LOCAL, AddressPolicy
from app.services.platform.storage_identity import StorageIdentity
from app.services.predictions.after_commit import Notifier
from app.services.predictions.data_removal import DataRemoval
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.prediction_view import PredictionView
from app.services.predictions.recovery import Recovery, SweepLimits
from app.services.predictions.stored_values import StoredValues
from app.services.predictions.webhook_outbox import WebhookOutbox
from app.services.predictions.whole_answers import WholeAnswers
from app.settings import Settings
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
