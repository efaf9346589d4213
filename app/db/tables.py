"""Every table; those of the platform as a whole are in `platform_tables`. Classes end in Row; queries live
beside these files, one module a noun.

`predictions` has no foreign keys on purpose: each would take a KEY SHARE lock on the same user and version
row for every insert of a burst, and users, models and versions are never hard-deleted while predictions name
them.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import TIME, Base
from app.db.platform_tables import (
    BackendReportRow,
    BackendRow,
    ModelAliasRow,
    ModelRunsRow,
    PlatformFactRow,
    QueueMinuteRow,
    StatisticsMinuteRow,
    StorageUseRow,
    UsageDayRow,
    VersionTagRow,
)

__all__ = [
    "BackendReportRow",
    "BackendRow",
    "Base",
    "ModelAliasRow",
    "ModelRunsRow",
    "PlatformFactRow",
    "QueueMinuteRow",
    "StatisticsMinuteRow",
    "StorageUseRow",
    "UsageDayRow",
    "VersionTagRow",
]

# 244 random bits, by Postgres' own strong source.
NEW_FILE_KEY = "'lfk_' || encode(sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea), 'hex')"

# Rows of predictions that an index has.
ENDED = "status IN ('succeeded', 'failed', 'canceled')"
HAS_DATA = "completed_at IS NOT NULL AND data_removed_at IS NULL"
HAS_DEADLINE = "deadline IS NOT NULL AND status IN ('starting', 'processing')"
HAS_KEY = "idempotency_key IS NOT NULL"
TO_DELETE = "input_key IS NOT NULL AND data_removed_at IS NOT NULL"

# Who waits, by user, queue, band and version. The beginning of a version's id is enough to tell them apart.
IN_TURN = ("user_id", "queue", "priority", text("left(version_id, 8)"), "id")


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of those rows only."""
    return Index(name, *columns, unique=unique, postgresql_where=text(where))


class UserRow(Base):
    __tablename__ = "users"

    id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(String(320), unique=True)  # lower case
    username: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    is_admin: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    webhook_secret: Mapped[str] = mapped_column(Text)  # whsec_…, standard base64
    previous_webhook_secret: Mapped[str | None] = mapped_column(Text)
    previous_webhook_secret_until: Mapped[datetime | None] = mapped_column(TIME)
    file_key: Mapped[str] = mapped_column(Text, server_default=text(NEW_FILE_KEY))
    token_epoch: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    disabled_at: Mapped[datetime | None] = mapped_column(TIME)
    deleted_at: Mapped[datetime | None] = mapped_column(TIME)
    # Of a deleted user: the predictions up to this id have lost their data. Null: nothing is to be removed.
    purge_after: Mapped[str | None] = mapped_column(String(26))
    # An administrator cancels all predictions up to this id. Null: nothing more is to be canceled.
    cancel_up_to: Mapped[str | None] = mapped_column(String(26))
    weight: Mapped[float] = mapped_column(server_default="1")  # of the user's share (domain/fair_shares.py)
    highest_priority: Mapped[int] = mapped_column(SmallInteger, server_default="1")  # domain/priorities.py

    __table_args__ = (
        _partial("users_to_purge", "id", where="purge_after IS NOT NULL"),
        _partial("users_to_cancel", "id", where="cancel_up_to IS NOT NULL"),
        _partial("users_disabled", "disabled_at", where="disabled_at IS NOT NULL"),
        _partial("users_weighted", "id", where="weight <> 1"),
    )


class ApiKeyRow(Base):
    __tablename__ = "api_keys"

    id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16))  # shown in lists, so that a person knows which key it is
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)  # SHA-256 of the whole key
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(16)))
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(TIME)
    last_used_at: Mapped[datetime | None] = mapped_column(TIME)


class ModelRow(Base):
    __tablename__ = "models"

    id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    owner: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    visibility: Mapped[str] = mapped_column(String(16))  # public, private
    description: Mapped[str | None] = mapped_column(Text)
    readme: Mapped[str | None] = mapped_column(Text)
    github_url: Mapped[str | None] = mapped_column(Text)
    paper_url: Mapped[str | None] = mapped_column(Text)
    license_url: Mapped[str | None] = mapped_column(Text)
    cover_image_url: Mapped[str | None] = mapped_column(Text)
    default_example: Mapped[str | None] = mapped_column(String(26))  # a prediction's id
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(TIME)

    __table_args__ = (
        _partial("models_name", "owner", "name", unique=True, where="deleted_at IS NULL"),
        Index("models_by_owner", "owner_id"),
    )


class VersionRow(Base):
    __tablename__ = "versions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # content address (domain.versions)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    source: Mapped[str] = mapped_column(Text)
    runtime: Mapped[str] = mapped_column(String(64))
    task: Mapped[str] = mapped_column(String(64), server_default="")
    config: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    # json, not jsonb: the order of properties is kept
    input_schema: Mapped[dict[str, Any]] = mapped_column(JSON)
    output_schema: Mapped[dict[str, Any]] = mapped_column(JSON)
    streams: Mapped[bool] = mapped_column(Boolean)
    fingerprint: Mapped[str] = mapped_column(String(64), server_default="")  # of what its source held
    # What workers measured and chose on loading it (dtype, agreement, cost model); not part of the address.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    # Of the files that a worker fetches from the hub; null: not fetched from there, or not measured.
    source_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    # When it became its model's current version, which is the one released last.
    released_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(TIME)

    __table_args__ = (Index("versions_by_model", "model_id", "created_at"),)


class PredictionRow(Base):
    """The truth about one prediction. Only services/predictions/lifecycle.py writes it after the insert."""

    __tablename__ = "predictions"

    id: Mapped[str] = mapped_column(String(26), primary_key=True)  # sorts by time
    user_id: Mapped[uuid.UUID | None] = mapped_column(UUID(as_uuid=True))  # null: anonymous
    version_id: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(129))  # owner/name as it was then
    status: Mapped[str] = mapped_column(String(10), server_default="starting")
    queue: Mapped[str] = mapped_column(String(128))
    routing: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    source: Mapped[str] = mapped_column(String(8), server_default="api")
    # json, not jsonb: never searched, cheaper to store, and the caller gets back exactly the numbers that
    # were sent.
    input: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    output: Mapped[Any] = mapped_column(JSON, nullable=True)
    # How long their JSON is, wherever it is. Null: written by a release that did not count, or empty.
    input_bytes: Mapped[int | None] = mapped_column(Integer)
    output_bytes: Mapped[int | None] = mapped_column(Integer)
    # Set when it is in the storage (services/predictions/stored_values.py). `input` then holds its short
    # properties, `output` facts about it.
    input_key: Mapped[str | None] = mapped_column(Text)
    output_key: Mapped[str | None] = mapped_column(Text)
    file_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of the files that its output names
    error: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(String(32))
    logs: Mapped[str] = mapped_column(Text, server_default="")
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # {"done": 3, "total": 20}
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))
    stream: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))  # the version can stream

    attempt: Mapped[int] = mapped_column(Integer, server_default="0")  # the fence: only grows
    # Grows when the output begins anew, so that its readers can tell.
    generation: Mapped[int] = mapped_column(Integer, server_default="0")
    crashes: Mapped[int] = mapped_column(Integer, server_default="0")
    worker: Mapped[uuid.UUID | None] = mapped_column(UUID(as_uuid=True))
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    run_after: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    # Null: no message for it is known to be in Redis, so the sweep sends one. Set optimistically by the
    # insert.
    notified_at: Mapped[datetime | None] = mapped_column(TIME)
    deadline: Mapped[datetime | None] = mapped_column(TIME)  # Cancel-After
    timeout: Mapped[float | None] = mapped_column()  # seconds of running
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="1")  # the band it waits in

    webhook: Mapped[str | None] = mapped_column(Text)
    webhook_events: Mapped[list[str] | None] = mapped_column(ARRAY(String(16)))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))

    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(TIME)
    completed_at: Mapped[datetime | None] = mapped_column(TIME)
    data_removed_at: Mapped[datetime | None] = mapped_column(TIME)

    __table_args__ = (
        Index("predictions_by_user", "user_id", "id"),
        Index("predictions_by_user_and_model", "user_id", "model", "id"),
        _partial("predictions_ended_by_user", "user_id", "status", "id", where=ENDED),
        _partial("predictions_waiting", "queue", "id", where="status = 'starting'"),
        Index("predictions_in_turn", *IN_TURN, postgresql_where=text("status = 'starting'")),
        _partial("predictions_running", "worker", where="status = 'processing'"),
        _partial("predictions_unnotified", "id", where="status = 'starting' AND notified_at IS NULL"),
        _partial(
            "predictions_deadline",
            "deadline",
            where=HAS_DEADLINE,
        ),
        _partial("predictions_idempotency", "user_id", "idempotency_key", unique=True, where=HAS_KEY),
        _partial("predictions_by_input", "input_key", where="input_key IS NOT NULL"),
        _partial("predictions_inputs_to_delete", "input_key", where=TO_DELETE),
        _partial("predictions_retention", "completed_at", where=HAS_DATA),
    )


class DeploymentRow(Base):
    """A name of its owner's for one version of a model and the device class to run it on; what it points at
    may change."""

    __tablename__ = "deployments"

    id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    owner: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    # of the current release: every change is one
    number: Mapped[int] = mapped_column(Integer, server_default="1")
    model: Mapped[str] = mapped_column(String(129))
    version_id: Mapped[str] = mapped_column(String(64))
    hardware: Mapped[str] = mapped_column(String(64))  # a device class, or any
    min_instances: Mapped[int] = mapped_column(Integer)
    max_instances: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    released_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    released_by: Mapped[str] = mapped_column(String(64))  # username
    deleted_at: Mapped[datetime | None] = mapped_column(TIME)

    __table_args__ = (
        _partial("deployments_name", "owner", "name", unique=True, where="deleted_at IS NULL"),
        Index("deployments_by_owner", "owner_id", "created_at"),
    )


class WorkerRow(Base):
    """One incarnation of a worker process; a restart is a new row."""

    __tablename__ = "workers"

    id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    device: Mapped[str] = mapped_column(String(64))  # cpu, cuda:0
    device_class: Mapped[str] = mapped_column(String(16))
    device_facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    queues: Mapped[list[str]] = mapped_column(ARRAY(String(128)))
    slots: Mapped[int] = mapped_column(Integer)
    running: Mapped[int] = mapped_column(Integer, server_default="0")
    models: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    started_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    stopped_at: Mapped[datetime | None] = mapped_column(TIME)

    __table_args__ = (_partial("workers_live", "seen_at", where="stopped_at IS NULL"),)


class RuntimeRow(Base):
    """What the fleet's workers can run, by their last start: the API validates against it without a model
    library."""

    __tablename__ = "runtimes"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    origin: Mapped[str] = mapped_column(Text, server_default="built-in")
    seen_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())


class DeliveryRow(Base):
    """The webhook outbox: one row for each event to send, written in the transaction of the state change."""

    __tablename__ = "deliveries"

    # the webhook-id header, the same over all tries
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    prediction_id: Mapped[str] = mapped_column(String(26), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(UUID(as_uuid=True))
    event: Mapped[str] = mapped_column(String(16))
    url: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)  # the very bytes that are signed
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    # null: nothing more to do
    next_at: Mapped[datetime | None] = mapped_column(TIME, server_default=func.now())
    leased_until: Mapped[datetime | None] = mapped_column(TIME)
    delivered_at: Mapped[datetime | None] = mapped_column(TIME)
    given_up_at: Mapped[datetime | None] = mapped_column(TIME)
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())

    __table_args__ = (
        _partial("deliveries_due", "next_at", where="next_at IS NOT NULL"),
        Index("deliveries_by_user", "user_id", "created_at", "id"),
        _partial("deliveries_done", "created_at", where="next_at IS NULL"),
    )


class DeliveryAttemptRow(Base):
    __tablename__ = "delivery_attempts"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    status_code: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    seconds: Mapped[float] = mapped_column()


class FileRow(Base):
    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(UUID(as_uuid=True), index=True)
    name: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    md5: Mapped[str] = mapped_column(String(32))
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default=text("'{}'"))
    storage_key: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(TIME, index=True)


class AuditRow(Base):
    """Who did what to accounts, keys and models, and whence. Holds no secrets; rows are only added, and
    expire."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    action: Mapped[str] = mapped_column(String(64))  # login.ok, key.created, model.deleted, …
    user_id: Mapped[uuid.UUID | None] = mapped_column(UUID(as_uuid=True))  # who did it, when known
    username: Mapped[str] = mapped_column(String(320))  # as it was given
    target: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))

    __table_args__ = (Index("audit_log_by_time", "at"),)


class IdempotencyRow(Base):
    """What an Idempotency-Key has made; written in the transaction that made it. Predictions keep their keys
    themselves."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    operation: Mapped[str] = mapped_column(String(32), primary_key=True)  # files.create, models.create, …
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    # its id, never its content: an answer may hold a secret
    resource: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())

    __table_args__ = (Index("idempotency_keys_by_time", "created_at"),)
