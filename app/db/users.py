"""Queries about people's accounts. Knows nothing of passwords (only of their hashes) and of tokens."""

from uuid import UUID

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from app.db.tables import ModelRow, UserRow


def by_id(session: Session, user_id: UUID) -> UserRow | None:
    """One user, disabled or not."""
    return session.get(UserRow, user_id)


def by_login(session: Session, login: str) -> UserRow | None:
    """The user with this username or email address (which is kept in lower case)."""
    login = login.lower()
    return session.scalars(select(UserRow).where(or_(UserRow.username == login, UserRow.email == login))).first()


def by_username(session: Session, username: str) -> UserRow | None:
    """The user with exactly this name."""
    return session.scalars(select(UserRow).where(UserRow.username == username)).first()


def owns_name(session: Session, owner: str) -> bool:
    """Whether models stand under this owner name, so that nobody may register it as a username."""
    return bool(session.scalar(select(exists().where(ModelRow.owner == owner))))


def add(session: Session, row: UserRow) -> None:
    """Inserts at once. Raises IntegrityError when the email address or the username is taken."""
    session.add(row)
    session.flush()
