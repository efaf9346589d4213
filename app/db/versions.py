"""Queries about versions. A version never changes; deleting one only hides it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Update, cast, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, distinct_on, insert
from sqlalchemy.orm import Session

from app.db import models, version_tags
from app.db.objects import to_object
from app.db.pages import page
from app.db.tables import ModelRow, VersionRow
from app.domain.models import Model
from app.domain.pages import Page
from app.domain.version_settings import value_of
from app.domain.versions import LATEST, VERSION_ID, CompleteVersion, Version

WITH_MODEL = select(VersionRow, ModelRow).join(ModelRow, ModelRow.id == VersionRow.model_id)


def _version(row: VersionRow) -> Version:
    return to_object(Version, row)


def _with_model(row: Row[VersionRow, ModelRow]) -> tuple[Version, Model]:
    version, model = row
    return _version(version), to_object(Model, model)


def by_id(session: Session, version_id: str) -> tuple[Version, Model] | None:
    """A version that can be used, with its model."""
    usable = (VersionRow.id == version_id, VersionRow.deleted_at.is_(None), ModelRow.deleted_at.is_(None))
    row = session.execute(WITH_MODEL.where(*usable)).first()
    return _with_model(row) if row else None


def by_ids(session: Session, ids: Collection[str]) -> dict[str, tuple[Version, Model]]:
    """These versions with their models, whatever became of either: what was accepted is run."""
    rows = session.execute(WITH_MODEL.where(VersionRow.id.in_(ids)))
    return {row[0].id: _with_model(row) for row in rows}


def by_reference(session: Session, reference: str) -> tuple[Model, Version | None] | None:
    """What an id, `owner/name:id`, `owner/name:tag` or `owner/name` (its current version, if it has any)
    means. None when that is not there."""
    name, _, version_id = reference.rpartition(":") if ":" in reference else ("", "", reference)
    if VERSION_ID.match(version_id):
        version, model = by_id(session, version_id) or (None, None)
        if model is None or (name and name != model.full_name):
            return None
        return model, version
    full_name, _, tag = reference.partition(":")
    owner, _, model_name = full_name.partition("/")
    model = models.by_name(session, owner, model_name)
    if model is None or tag in ("", LATEST):
        return (model, latest(session, [model.id]).get(model.id)) if model else None
    pair = by_id(session, version_tags.version_of(session, model.id, tag))
    return (model, pair[0]) if pair else None


def latest(session: Session, model_ids: Sequence[UUID]) -> dict[UUID, Version]:
    """The current version of each of these models that has one: the one that was released last."""
    newest = (VersionRow.model_id, VersionRow.released_at.desc(), VersionRow.id)
    usable = (VersionRow.model_id.in_(model_ids), VersionRow.deleted_at.is_(None))
    rows = session.scalars(
        select(VersionRow).ext(distinct_on(VersionRow.model_id)).where(*usable).order_by(*newest)
    )
    return {row.model_id: _version(row) for row in rows}


def prefetched(session: Session) -> list[tuple[str, dict[str, Any]]]:
    """Id and configuration of each model's current version, where that version says `prefetch`."""
    newest = (VersionRow.model_id, VersionRow.released_at.desc(), VersionRow.id)
    usable = (VersionRow.deleted_at.is_(None), ModelRow.deleted_at.is_(None))
    joined = select(VersionRow.id, VersionRow.config).join(ModelRow, ModelRow.id == VersionRow.model_id)
    rows = session.execute(joined.ext(distinct_on(VersionRow.model_id)).where(*usable).order_by(*newest))
    return [(version, config) for version, config in rows if value_of(config, "prefetch")]


def by_model(session: Session, model_id: UUID, *, cursor: str | None, limit: int) -> Page[Version]:
    """A model's versions, newest first."""
    usable = select(VersionRow).where(VersionRow.model_id == model_id, VersionRow.deleted_at.is_(None))
    rows = page(session, usable, VersionRow.created_at, VersionRow.id, cursor=cursor, limit=limit)
    return rows.map(_version)


def put(session: Session, model_id: UUID, version: CompleteVersion, created_by: UUID | None) -> Version:
    """Adds a version, or brings back the same one: its id is the address of its content."""
    spec = version.spec
    # Not part of the address, or unknown to the release that added it.
    moved = {
        "model_id": model_id,
        "output_schema": version.output_schema,
        "streams": version.streams,
        "fingerprint": spec.fingerprint,
        "source_bytes": version.source_bytes,
    }
    values = {
        "id": spec.address(),
        "source": spec.source,
        "runtime": spec.runtime,
        "task": spec.task,
        "config": spec.config,
        "input_schema": spec.input_schema,
        "created_by": created_by,
    }
    statement = insert(VersionRow).values(**values, **moved)
    again = statement.on_conflict_do_update(index_elements=["id"], set_={**moved, "deleted_at": None})
    rows = session.scalars(again.returning(VersionRow), execution_options={"populate_existing": True})
    return _version(rows.one())


def _released(version_id: str) -> Update:
    now = func.clock_timestamp()  # of two releases in one transaction the later one counts
    return update(VersionRow).where(VersionRow.id == version_id).values(released_at=now)


def release(session: Session, version_id: str) -> Version:
    """Makes the version its model's current one."""
    statement = _released(version_id)
    rows = session.scalars(statement.returning(VersionRow), execution_options={"populate_existing": True})
    return _version(rows.one())


def remove(session: Session, version_id: str) -> None:
    """Hides the version, and takes its tags; predictions that name it stay readable."""
    version_tags.remove_of_version(session, version_id)
    session.execute(update(VersionRow).where(VersionRow.id == version_id).values(deleted_at=func.now()))


def learn(session: Session, version_id: str, device_class: str, facts: Mapping[str, Any]) -> None:
    """Notes what a worker measured and chose when it loaded the version on this class of device, instead of
    what was noted before."""
    merged = VersionRow.facts.concat(cast({device_class: dict(facts)}, JSONB))
    session.execute(update(VersionRow).where(VersionRow.id == version_id).values(facts=merged))
