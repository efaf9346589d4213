"""Queries about deployments. A deleted one's row stays, its name becomes free."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.pages import page
from app.db.tables import DeploymentRow
from app.domain.deployments import Deployment, NewDeployment
from app.domain.pages import Page


def _deployment(row: DeploymentRow) -> Deployment:
    return to_object(Deployment, row)


def by_name(session: Session, owner: str, name: str) -> Deployment | None:
    """The deployment that has this name now."""
    named = (DeploymentRow.owner == owner, DeploymentRow.name == name, DeploymentRow.deleted_at.is_(None))
    row = session.scalars(select(DeploymentRow).where(*named)).first()
    return _deployment(row) if row else None


def by_id(session: Session, deployment_id: UUID) -> Deployment | None:
    """One deployment, deleted or not."""
    row = session.get(DeploymentRow, deployment_id)
    return _deployment(row) if row else None


def by_user(session: Session, user_id: UUID, *, cursor: str | None, limit: int) -> Page[Deployment]:
    """A user's deployments, newest first."""
    own = select(DeploymentRow).where(DeploymentRow.owner_id == user_id, DeploymentRow.deleted_at.is_(None))
    rows = page(session, own, DeploymentRow.created_at, DeploymentRow.id, cursor=cursor, limit=limit)
    return rows.map(_deployment)


def add(session: Session, deployment: NewDeployment) -> Deployment:
    """Inserts at once. Raises IntegrityError when the name is taken."""
    row = DeploymentRow(**values_of(deployment))
    session.add(row)
    session.flush()
    return _deployment(row)


def release(session: Session, deployment_id: UUID, values: Mapping[str, Any], username: str) -> Deployment:
    """The next release: sets some of the columns."""
    counted = {"number": DeploymentRow.number + 1, "released_at": func.now(), "released_by": username}
    statement = update(DeploymentRow).where(DeploymentRow.id == deployment_id).values(**values, **counted)
    rows = session.scalars(statement.returning(DeploymentRow), execution_options={"populate_existing": True})
    return _deployment(rows.one())


def remove_all(session: Session, owner_id: UUID) -> None:
    """Marks all deployments of a user as deleted."""
    own = (DeploymentRow.owner_id == owner_id, DeploymentRow.deleted_at.is_(None))
    session.execute(update(DeploymentRow).where(*own).values(deleted_at=func.now()))


def remove(session: Session, deployment_id: UUID) -> None:
    """Marks the deployment as deleted."""
    named = DeploymentRow.id == deployment_id
    session.execute(update(DeploymentRow).where(named).values(deleted_at=func.now()))
