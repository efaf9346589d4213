"""Queries about people's accounts. Knows nothing of passwords (only of their hashes) and of tokens."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from app.db.pages import Page, page
from app.db.tables import ModelRow, UserRow


def by_id(session: Session, user_id: UUID) -> UserRow | None:
    """One user, disabled or not."""
    return session.get(UserRow, user_id)


def by_login(session: Session, login: str) -> UserRow | None:
    """The user with this username or email address (which is kept in lower case)."""
    login = login.lower()
    return session.scalars(
        select(UserRow).where(or_(UserRow.username == login, UserRow.email == login))
    ).first()


def by_username(session: Session, username: str) -> UserRow | None:
    """The user with exactly this name."""
    return session.scalars(select(UserRow).where(UserRow.username == username)).first()


def listed(session: Session, *, cursor: str | None, limit: int) -> Page[UserRow]:
    """All users, newest first."""
    return page(session, select(UserRow), UserRow.created_at, UserRow.username, cursor=cursor, limit=limit)


def set_disabled(session: Session, username: str, disabled: bool) -> UserRow | None:
    """Disables or enables a user; one that is disabled already keeps the moment. None when there is no such
    user."""
    found = by_username(session, username)
    if found is not None and (found.disabled_at is not None) != disabled:
        found.disabled_at = datetime.now(UTC) if disabled else None
    return found


def owns_name(session: Session, owner: str) -> bool:
    """Whether models stand under this owner name, so that nobody may register it as a username."""
    return bool(session.scalar(select(exists().where(ModelRow.owner == owner))))


def add(session: Session, row: UserRow) -> None:
    """Inserts at once. Raises IntegrityError when the email address or the username is taken."""
    session.add(row)
    session.flush()
