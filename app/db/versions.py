"""Queries about versions. A version never changes; deleting one only hides it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import cast, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, distinct_on, insert
from sqlalchemy.orm import Session

from app.db import models
from app.db.pages import Page, page
from app.db.tables import ModelRow, VersionRow
from app.domain.version_settings import value_of
from app.domain.versions import VERSION_ID


def by_id(session: Session, version_id: str) -> tuple[VersionRow, ModelRow] | None:
    """A version that can be used, with its model."""
    both = select(VersionRow, ModelRow).join(ModelRow, ModelRow.id == VersionRow.model_id)
    usable = (VersionRow.id == version_id, VersionRow.deleted_at.is_(None), ModelRow.deleted_at.is_(None))
    found = session.execute(both.where(*usable)).first()
    return (found[0], found[1]) if found else None


def by_ids(session: Session, ids: Collection[str]) -> dict[str, tuple[VersionRow, ModelRow]]:
    """These versions with their models, whatever became of either: what was accepted is run."""
    both = (
        select(VersionRow, ModelRow)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(VersionRow.id.in_(ids))
    )
    return {version.id: (version, model) for version, model in session.execute(both)}


def named(session: Session, reference: str) -> tuple[ModelRow, VersionRow | None] | None:
    """What an id, `owner/name:id` or `owner/name` (its newest version, if it has any) means. None when that
    is not there."""
    name, _, version_id = reference.rpartition(":") if ":" in reference else ("", "", reference)
    if VERSION_ID.match(version_id):
        both = by_id(session, version_id)
        if both is None or (name and name != f"{both[1].owner}/{both[1].name}"):
            return None
        return both[1], both[0]
    owner, _, model_name = reference.partition("/")
    model = models.by_name(session, owner, model_name)
    return (model, latest(session, [model.id]).get(model.id)) if model else None


def latest(session: Session, model_ids: Sequence[UUID]) -> dict[UUID, VersionRow]:
    """The newest version of each of these models that has one."""
    newest = (VersionRow.model_id, VersionRow.created_at.desc(), VersionRow.id)
    usable = (VersionRow.model_id.in_(model_ids), VersionRow.deleted_at.is_(None))
    rows = session.scalars(
        select(VersionRow).ext(distinct_on(VersionRow.model_id)).where(*usable).order_by(*newest)
    )
    return {row.model_id: row for row in rows}


def prefetched(session: Session) -> list[tuple[str, dict[str, Any]]]:
    """Id and configuration of each model's newest version, where that version says `prefetch`."""
    newest = (VersionRow.model_id, VersionRow.created_at.desc(), VersionRow.id)
    usable = (VersionRow.deleted_at.is_(None), ModelRow.deleted_at.is_(None))
    joined = select(VersionRow.id, VersionRow.config).join(ModelRow, ModelRow.id == VersionRow.model_id)
    rows = session.execute(joined.ext(distinct_on(VersionRow.model_id)).where(*usable).order_by(*newest))
    return [(version, config) for version, config in rows if value_of(config, "prefetch")]


def of_model(session: Session, model_id: UUID, *, cursor: str | None, limit: int) -> Page[VersionRow]:
    """A model's versions, newest first."""
    usable = (VersionRow.model_id == model_id, VersionRow.deleted_at.is_(None))
    return page(
        session,
        select(VersionRow).where(*usable),
        VersionRow.created_at,
        VersionRow.id,
        cursor=cursor,
        limit=limit,
    )


def put(session: Session, row: VersionRow) -> VersionRow:
    """Adds a version, or brings back the same one: its id is the address of its content."""
    names = (
        "id",
        "model_id",
        "source",
        "runtime",
        "task",
        "config",
        "input_schema",
        "output_schema",
        "streams",
        "created_by",
    )
    values = {name: getattr(row, name) for name in names}
    again = {
        "deleted_at": None,
        "model_id": row.model_id,
        "output_schema": row.output_schema,
    }  # not part of the address
    statement = insert(VersionRow).values(**values).on_conflict_do_update(index_elements=["id"], set_=again)
    return session.scalars(
        statement.returning(VersionRow), execution_options={"populate_existing": True}
    ).one()


def remove(row: VersionRow) -> None:
    """Hides the version; predictions that name it stay readable."""
    row.deleted_at = func.now()


def learn(session: Session, version_id: str, device_class: str, facts: Mapping[str, Any]) -> None:
    """Notes what a worker measured and chose when it loaded the version on this class of device; the newest
    word counts."""
    merged = VersionRow.facts.concat(cast({device_class: dict(facts)}, JSONB))
    session.execute(update(VersionRow).where(VersionRow.id == version_id).values(facts=merged))
