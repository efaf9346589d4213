"""Queries about people's accounts. Knows nothing of passwords (only of their hashes) and of tokens."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.pages import page
from app.db.tables import ModelRow, UserRow
from app.domain.pages import Page
from app.domain.users import NewUser, User


def _user(row: UserRow | None) -> User | None:
    return to_object(User, row) if row else None


def by_id(session: Session, user_id: UUID) -> User | None:
    """One user, disabled or not."""
    return _user(session.get(UserRow, user_id))


def by_login(session: Session, login: str) -> User | None:
    """The user with this username or email address (which is kept in lower case)."""
    login = login.lower()
    matching = or_(UserRow.username == login, UserRow.email == login)
    return _user(session.scalars(select(UserRow).where(matching)).first())


def by_username(session: Session, username: str) -> User | None:
    """The user with exactly this name."""
    return _user(_row(session, username))


def _row(session: Session, username: str) -> UserRow | None:
    return session.scalars(select(UserRow).where(UserRow.username == username)).first()


def list_all(session: Session, *, cursor: str | None, limit: int) -> Page[User]:
    """All users, newest first."""
    rows = page(session, select(UserRow), UserRow.created_at, UserRow.username, cursor=cursor, limit=limit)
    return rows.map(lambda row: to_object(User, row))


def set_disabled(session: Session, username: str, disabled: bool) -> User | None:
    """Disables or enables a user; one that is disabled already keeps the moment. None when there is no such
    user."""
    row = _row(session, username)
    if row is not None and (row.disabled_at is not None) != disabled:
        row.disabled_at = datetime.now(UTC) if disabled else None
    return _user(row)


def owns_name(session: Session, owner: str) -> bool:
    """Whether models stand under this owner name, so that nobody may register it as a username."""
    return bool(session.scalar(select(exists().where(ModelRow.owner == owner))))


def add(session: Session, user: NewUser) -> User:
    """Inserts at once. Raises IntegrityError when the email address or the username is taken."""
    row = UserRow(**values_of(user))
    session.add(row)
    session.flush()
    return to_object(User, row)
