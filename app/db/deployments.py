"""Queries about deployments. A deleted one's row stays, its name becomes free."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.pages import Page, page
from app.db.tables import DeploymentRow


def by_name(session: Session, owner: str, name: str) -> DeploymentRow | None:
    """The deployment that has this name now."""
    named = (DeploymentRow.owner == owner, DeploymentRow.name == name, DeploymentRow.deleted_at.is_(None))
    return session.scalars(select(DeploymentRow).where(*named)).first()


def by_id(session: Session, deployment_id: UUID) -> DeploymentRow | None:
    """One deployment, deleted or not."""
    return session.get(DeploymentRow, deployment_id)


def of_user(session: Session, user_id: UUID, *, cursor: str | None, limit: int) -> Page[DeploymentRow]:
    """A user's deployments, newest first."""
    own = select(DeploymentRow).where(DeploymentRow.owner_id == user_id, DeploymentRow.deleted_at.is_(None))
    return page(session, own, DeploymentRow.created_at, DeploymentRow.id, cursor=cursor, limit=limit)


def add(session: Session, row: DeploymentRow) -> None:
    """Inserts at once. Raises IntegrityError when the name is taken."""
    session.add(row)
    session.flush()


def release(session: Session, row: DeploymentRow, values: Mapping[str, Any], by: str) -> None:
    """The next release: sets some of the row's columns."""
    for name, value in values.items():
        setattr(row, name, value)
    row.number, row.released_at, row.released_by = DeploymentRow.number + 1, func.now(), by
    session.flush()
    session.refresh(row)


def remove(row: DeploymentRow) -> None:
    """Marks the deployment as deleted."""
    row.deleted_at = func.now()
