"""Queries about backends, and what gateway workers say of them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.tables import BackendReportRow, BackendRow
from app.domain.backends import Backend, BackendReport, NewBackend

KEPT_MINUTES = 60  # a report that nobody writes any more


def list_all(session: Session) -> list[Backend]:
    """Every one, by name."""
    return [to_object(Backend, row) for row in session.scalars(select(BackendRow).order_by(BackendRow.name))]


def by_name(session: Session, name: str) -> Backend | None:
    row = session.scalars(select(BackendRow).where(BackendRow.name == name)).first()
    return to_object(Backend, row) if row else None


def add(session: Session, backend: NewBackend) -> Backend:
    """Inserts at once. Raises IntegrityError when the name is taken."""
    row = BackendRow(**values_of(backend))
    session.add(row)
    session.flush()
    return to_object(Backend, row)


def change(session: Session, backend_id: UUID, values: Mapping[str, Any]) -> Backend:
    """Sets some of the columns."""
    statement = update(BackendRow).where(BackendRow.id == backend_id)
    changed = statement.values(**values, updated_at=func.now()).returning(BackendRow)
    return to_object(Backend, session.scalars(changed, execution_options={"populate_existing": True}).one())


def set_served(session: Session, backend_id: UUID, served: Sequence[Mapping[str, Any]]) -> Backend:
    """What it serves, as of now."""
    return change(session, backend_id, {"served": list(served), "served_at": func.now()})


def remove(session: Session, backend_id: UUID) -> None:
    session.execute(delete(BackendRow).where(BackendRow.id == backend_id))


def put_reports(session: Session, worker: UUID, reports: Mapping[UUID, BackendReport]) -> None:
    """What a gateway worker says now; of backends that exist."""
    known = select(BackendRow.id).where(BackendRow.id.in_(reports)).order_by(BackendRow.id)
    for backend_id in session.scalars(known.with_for_update(key_share=True, read=True)).all():
        values = {"report": reports[backend_id].as_json(), "at": func.now()}
        statement = insert(BackendReportRow).values(backend_id=backend_id, worker=worker, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["backend_id", "worker"], set_=values))
    old = BackendReportRow.at < func.now() - text(f"interval '{KEPT_MINUTES} minutes'")
    session.execute(delete(BackendReportRow).where(old))


def reports(session: Session, newer_than: float) -> dict[UUID, list[BackendReport]]:
    """What was said within the last so many seconds, by backend."""
    recent = BackendReportRow.at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, newer_than)
    by_backend: dict[UUID, list[BackendReport]] = {}
    for row in session.scalars(select(BackendReportRow).where(recent)):
        by_backend.setdefault(row.backend_id, []).append(BackendReport.from_json(row.report))
    return by_backend
