"""Queries about API keys. A key itself is never stored, only its SHA-256."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.tables import ApiKeyRow, UserRow
from app.domain.users import ApiKey, NewApiKey, User

TOUCH_SECONDS = 60  # last_used_at is written at most this often: it is for people, not for machines


def by_hashes(session: Session, hashes: Sequence[bytes]) -> dict[bytes, tuple[ApiKey, User]]:
    """Keys among these hashes that have not expired, with their users, who may be disabled."""
    usable = or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > func.now())
    rows = session.execute(
        select(ApiKeyRow, UserRow)
        .join(UserRow, UserRow.id == ApiKeyRow.user_id)
        .where(ApiKeyRow.hash.in_(hashes), usable)
    )
    return {bytes(key.hash): (to_object(ApiKey, key), to_object(User, user)) for key, user in rows}


def touch(session: Session, ids: Sequence[UUID]) -> None:
    """Notes that these keys were used, unless that was noted within the last minute."""
    stale = func.now() - text(f"interval '{TOUCH_SECONDS} s'")
    long_ago = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < stale)
    session.execute(update(ApiKeyRow).where(ApiKeyRow.id.in_(ids), long_ago).values(last_used_at=func.now()))


def by_user(session: Session, user_id: UUID) -> list[ApiKey]:
    """All keys of a user, newest first, expired ones too."""
    newest_first = (ApiKeyRow.created_at.desc(), ApiKeyRow.id)
    rows = session.scalars(select(ApiKeyRow).where(ApiKeyRow.user_id == user_id).order_by(*newest_first))
    return [to_object(ApiKey, row) for row in rows]


def add(session: Session, key: NewApiKey) -> ApiKey:
    """Inserts at once."""
    row = ApiKeyRow(**values_of(key))
    session.add(row)
    session.flush()
    return to_object(ApiKey, row)


def remove_all(session: Session, user_id: UUID) -> None:
    """Deletes all keys of a user."""
    session.execute(delete(ApiKeyRow).where(ApiKeyRow.user_id == user_id))


def remove(session: Session, user_id: UUID, key_id: UUID) -> bool:
    """Deletes a user's key; False when the user has no such key."""
    mine = (ApiKeyRow.id == key_id, ApiKeyRow.user_id == user_id)
    return session.execute(delete(ApiKeyRow).where(*mine).returning(ApiKeyRow.id)).first() is not None
