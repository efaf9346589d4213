"""Queries about people's accounts. Knows nothing of passwords (only of their hashes) and of tokens.

A deleted user is found by nothing here but `owns_name` and the unique indexes: the name stays taken.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.pages import page
from app.db.tables import ModelRow, UserRow
from app.domain.pages import Page
from app.domain.users import NewUser, User

PURGE_HOURS = 1
EXISTING = UserRow.deleted_at.is_(None)


def _user(row: UserRow | None) -> User | None:
    return to_object(User, row) if row else None


def by_id(session: Session, user_id: UUID) -> User | None:
    """One user, disabled or not."""
    return _user(session.scalars(select(UserRow).where(UserRow.id == user_id, EXISTING)).first())


def by_login(session: Session, login: str) -> User | None:
    """The user with this username or email address (which is kept in lower case)."""
    login = login.lower()
    matching = or_(UserRow.username == login, UserRow.email == login)
    return _user(session.scalars(select(UserRow).where(matching, EXISTING)).first())


def by_username(session: Session, username: str) -> User | None:
    """The user with exactly this name."""
    return _user(_row(session, username))


def _row(session: Session, username: str) -> UserRow | None:
    return session.scalars(select(UserRow).where(UserRow.username == username, EXISTING)).first()


def names(session: Session, ids: Collection[UUID]) -> dict[UUID, str]:
    """The usernames of these, also of deleted users."""
    query = select(UserRow.id, UserRow.username).where(UserRow.id.in_(ids))
    return {user_id: username for user_id, username in session.execute(query)}


def list_all(session: Session, *, cursor: str | None, limit: int) -> Page[User]:
    """All users, newest first."""
    query = select(UserRow).where(EXISTING)
    rows = page(session, query, UserRow.created_at, UserRow.username, cursor=cursor, limit=limit)
    return rows.map(lambda row: to_object(User, row))


def owns_name(session: Session, owner: str) -> bool:
    """Whether models stand under this owner name, so that nobody may register it as a username."""
    return bool(session.scalar(select(exists().where(ModelRow.owner == owner))))


def add(session: Session, user: NewUser) -> User:
    """Inserts at once. Raises IntegrityError when the email address or the username is taken."""
    row = UserRow(**values_of(user))
    session.add(row)
    session.flush()
    return to_object(User, row)


def change(session: Session, user_id: UUID, values: Mapping[str, Any]) -> User | None:
    """Sets some of the columns. None when there is no such user."""
    statement = update(UserRow).where(UserRow.id == user_id, EXISTING).values(**values).returning(UserRow)
    return _user(session.scalars(statement, execution_options={"populate_existing": True}).first())


def set_password(session: Session, user_id: UUID, password_hash: str) -> User | None:
    """Another password, with which all tokens of before end."""
    return change(session, user_id, {"password_hash": password_hash, **_end_tokens()})


def end_tokens(session: Session, user_id: UUID) -> User | None:
    """Refuses every token that was issued before."""
    return change(session, user_id, _end_tokens())


def set_disabled(session: Session, user: User, disabled: bool) -> User | None:
    """Disables or enables a user; one that is disabled already keeps the moment. Tokens end for good: a later
    enabling revives none."""
    if (user.disabled_at is not None) == disabled:
        return user
    moment = datetime.now(UTC) if disabled else None
    return change(session, user.id, {"disabled_at": moment, **_end_tokens()})


def set_admin(session: Session, user_id: UUID, is_admin: bool) -> User | None:
    """Promotes or demotes a user; the scopes of keys follow."""
    return change(session, user_id, {"is_admin": is_admin})


def set_cancel(session: Session, user_id: UUID, up_to: str) -> None:
    """All predictions of a user up to this id are to be canceled."""
    session.execute(update(UserRow).where(UserRow.id == user_id).values(cancel_up_to=up_to))


def finish_cancel(session: Session, user_id: UUID, up_to: str) -> None:
    """They are, unless somebody has said so again meanwhile."""
    mine = (UserRow.id == user_id, UserRow.cancel_up_to == up_to)
    session.execute(update(UserRow).where(*mine).values(cancel_up_to=None))


def to_cancel(session: Session, limit: int) -> list[tuple[UUID, str]]:
    """Users of whom predictions are to be canceled: (id, up to which one)."""
    query = select(UserRow.id, UserRow.cancel_up_to).where(UserRow.cancel_up_to.is_not(None)).limit(limit)
    return [(user_id, str(up_to)) for user_id, up_to in session.execute(query)]


def disabled_lately(session: Session, hours: int) -> list[UUID]:
    """Users who were disabled within the last hours."""
    since = func.now() - func.make_interval(0, 0, 0, 0, hours)
    return list(session.scalars(select(UserRow.id).where(UserRow.disabled_at > since, EXISTING)))


def weights(session: Session) -> dict[UUID | None, float]:
    """Of the users for whom another share than 1 is set."""
    rows = session.execute(select(UserRow.id, UserRow.weight).where(UserRow.weight != 1))
    return {user_id: weight for user_id, weight in rows}


def _end_tokens() -> dict[str, Any]:
    return {"token_epoch": UserRow.token_epoch + 1}


def lock_administrators(session: Session) -> list[UUID]:
    """The administrators who are not disabled, the oldest first; until the transaction ends nobody else can
    change who they are."""
    able = (UserRow.is_admin, UserRow.disabled_at.is_(None), EXISTING)
    query = select(UserRow.id).where(*able).order_by(UserRow.created_at, UserRow.id)
    return list(session.scalars(query.with_for_update()))


def first_administrator(session: Session) -> User | None:
    """The oldest administrator who is not disabled."""
    ids = lock_administrators(session)
    return by_id(session, ids[0]) if ids else None


def mark_deleted(session: Session, user: User) -> None:
    """Leaves nothing but the name, which stays taken, and the secret that signs webhooks still under way.
    `purge_after` has the sweeps remove the data of the user's predictions."""
    emptied = {"email": f"deleted {user.id}", "password_hash": "", "is_admin": False}
    moments = {"deleted_at": func.now(), "disabled_at": func.coalesce(UserRow.disabled_at, func.now())}
    session.execute(
        update(UserRow)
        .where(UserRow.id == user.id)
        .values(**emptied, **moments, **_end_tokens(), purge_after="")
    )


def to_purge(session: Session, limit: int) -> list[tuple[UUID, str]]:
    """Deleted users whose predictions still have data: (id, the prediction up to which it is removed)."""
    query = select(UserRow.id, UserRow.purge_after).where(UserRow.purge_after.is_not(None)).limit(limit)
    return [(user_id, str(after)) for user_id, after in session.execute(query)]


def set_purged(session: Session, user_id: UUID, after: str) -> None:
    """The data of a deleted user's predictions up to this one is removed."""
    session.execute(update(UserRow).where(UserRow.id == user_id).values(purge_after=after))


def finish_purge(session: Session, user_id: UUID) -> None:
    """Nothing of a deleted user is left to be removed. Not believed in the first hour: a call that was under
    way, or a process that still trusted a key, may have added something."""
    old = UserRow.deleted_at < func.now() - func.make_interval(0, 0, 0, 0, PURGE_HOURS)
    session.execute(update(UserRow).where(UserRow.id == user_id, old).values(purge_after=None))
