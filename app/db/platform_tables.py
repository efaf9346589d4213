"""Tables about the platform as a whole: its figures by minutes and days, and what is true of it. Imported
through `tables`, which has all of them."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import TIME, Base


class StatisticsMinuteRow(Base):
    """What ended in one minute, of one user (the zero UUID: anonymous callers) with one model. Written by the
    sweep, kept for two days."""

    __tablename__ = "statistics_minutes"

    at: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True)
    model: Mapped[str] = mapped_column(String(129), primary_key=True)
    succeeded: Mapped[int] = mapped_column(Integer, server_default="0")
    failed: Mapped[int] = mapped_column(Integer, server_default="0")
    canceled: Mapped[int] = mapped_column(Integer, server_default="0")
    device_seconds: Mapped[float] = mapped_column(Float, server_default="0")
    # How many succeeded within which total time: {bucket: count}, see app/domain/statistics.py.
    seconds: Mapped[dict[str, int]] = mapped_column(JSONB, server_default=text("'{}'"))


class UsageDayRow(Base):
    """The same by days (UTC), kept for over a year."""

    __tablename__ = "usage_days"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True)
    model: Mapped[str] = mapped_column(String(129), primary_key=True)
    succeeded: Mapped[int] = mapped_column(Integer, server_default="0")
    failed: Mapped[int] = mapped_column(Integer, server_default="0")
    canceled: Mapped[int] = mapped_column(Integer, server_default="0")
    device_seconds: Mapped[float] = mapped_column(Float, server_default="0")


class ModelRunsRow(Base):
    """How many predictions have ended of each model, by its name. Written with the minutes."""

    __tablename__ = "model_runs"

    model: Mapped[str] = mapped_column(String(129), primary_key=True)
    runs: Mapped[int] = mapped_column(BigInteger)


class QueueMinuteRow(Base):
    """What waited and ran when a minute was over. Its last row says up to when statistics are written."""

    __tablename__ = "queue_minutes"

    at: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    waiting: Mapped[int] = mapped_column(Integer)
    running: Mapped[int] = mapped_column(Integer)


class StorageUseRow(Base):
    """Bytes that are kept of one user (the zero UUID: of anonymous callers). See app/db/storage_use.py."""

    __tablename__ = "storage_use"

    user_id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True)
    upload_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    prediction_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class PlatformFactRow(Base):
    """What is true of the whole installation, by name."""

    __tablename__ = "platform_facts"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(JSONB)


class BackendRow(Base):
    """Something elsewhere that runs versions. A removed one is gone: what ran there names it in its
    metrics."""

    __tablename__ = "backends"

    id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(32))
    url: Mapped[str] = mapped_column(Text)
    credential: Mapped[bytes | None] = mapped_column(LargeBinary)  # encrypted (backends/credentials.py)
    options: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    max_concurrency: Mapped[int] = mapped_column(Integer)
    silence_seconds: Mapped[float] = mapped_column(Float)
    draining: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    served: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    served_at: Mapped[datetime | None] = mapped_column(TIME)
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())


class BackendReportRow(Base):
    """What one gateway worker says of one backend, written every few seconds; old ones count no more."""

    __tablename__ = "backend_reports"

    backend_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("backends.id", ondelete="CASCADE"), primary_key=True
    )
    worker: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)


class EndedAttemptRow(Base):
    """An attempt at a prediction that was handed back: the row of the prediction knows the last one only.
    Written by recovery, never by one that ended well; goes with the prediction's data."""

    __tablename__ = "ended_attempts"

    prediction_id: Mapped[str] = mapped_column(String(26), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    worker: Mapped[str | None] = mapped_column(Text)  # cuda:0@host; null: its row is gone
    started_at: Mapped[datetime | None] = mapped_column(TIME)
    ended_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
    reason: Mapped[str] = mapped_column(Text)


class ModelUploadRow(Base):
    """A model's folder that somebody sends in parts, which are in the storage. The source of versions."""

    __tablename__ = "model_uploads"

    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True))
    model: Mapped[str] = mapped_column(String(129))  # owner/name, which need not be there yet
    files: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)  # name, size, sha256
    content: Mapped[str] = mapped_column(String(64))  # a hash of them
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())

    __table_args__ = (UniqueConstraint("user_id", "model", "content", name="model_uploads_content"),)


class ModelAliasRow(Base):
    """Another name of a model, set by an administrator."""

    __tablename__ = "model_aliases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(129))  # owner/name, which may be gone by now
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())


class VersionTagRow(Base):
    """A name for one of a model's versions, which its owner may move to another."""

    __tablename__ = "version_tags"

    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=func.now())
