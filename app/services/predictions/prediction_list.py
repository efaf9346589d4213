"""Lists of predictions: the caller's own, and, for administrators, anybody's. Knows no HTTP."""

import asyncio
import base64
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.db import prediction_lists, users
from app.db.prediction_lists import Filter, Rows
from app.db.session import Database
from app.domain.errors import NotFound, Unauthenticated, wrong_field
from app.domain.pages import Page
from app.domain.predictions import Prediction, Status, is_id
from app.domain.versions import is_name
from app.services.people.access import Principal

EVERYBODY, NOBODY = "*", "anonymous"  # as `user`: all there are, and those of callers without an account


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a list is narrowed to; None: anything. `user` None: the caller."""

    user: str | None = None
    status: str | None = None
    model: str | None = None
    version: str | None = None
    deployment: str | None = None
    source: str | None = None
    error_code: str | None = None
    error_group: str | None = None
    text: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A prediction, and whose it is where somebody else reads it ("" of an account that is gone)."""

    prediction: Prediction
    username: str | None = None


class PredictionList:
    """One for each API process."""

    def __init__(self, database: Database, threads: Executor) -> None:
        self._database, self._threads = database, threads

    async def page(
        self, caller: Principal, narrowed: Narrowed, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Listed]:
        """One page, newest first; where it had to look at too many, it may be short and go on all the same.
        Raises InvalidRequest, Forbidden for another's unless the caller is an administrator, NotFound for a
        user that does not exist."""
        before, after = parse_cursor(cursor)

        def read() -> tuple[Rows, dict[UUID, str]]:
            with self._database.unit() as session:
                chosen = _filter(session, caller, narrowed)
                rows = prediction_lists.page(session, chosen, before=before, after=after, limit=limit + 1)
                ids = {each.user_id for each in rows.predictions if each.user_id}
                return rows, users.names(session, ids) if narrowed.user is not None else {}

        rows, names = await asyncio.get_running_loop().run_in_executor(self._threads, read)
        is_foreign = narrowed.user is not None
        listed = [Listed(each, _name(each, names) if is_foreign else None) for each in rows.predictions]
        return _paged(listed, rows.stopped_at, limit, before=before, after=after)


def _filter(session: Session, caller: Principal, narrowed: Narrowed) -> Filter:
    user_id, everybody = whose(session, caller, narrowed.user)
    values = {name: getattr(narrowed, name) for name in Narrowed.__slots__ if name != "user"}
    values["status"] = Status(narrowed.status) if narrowed.status else None
    return Filter(user_id, everybody=everybody, **values)


def whose(session: Session, caller: Principal, user: str | None) -> tuple[UUID | None, bool]:
    """The user that a list is about (None: anonymous callers), and whether it is about everybody. Raises
    Forbidden, NotFound, Unauthenticated."""
    if user is None or user == caller.username:
        if caller.user_id is None:
            raise Unauthenticated(
                "Anonymous callers have no list: keep the ids of your predictions, or make an account."
            )
        return caller.user_id, False
    caller.need_operator("see other people's predictions")
    if user in (EVERYBODY, NOBODY):
        return None, user == EVERYBODY
    known = users.by_username(session, user) if is_name(user) else None
    if known is None:
        raise NotFound(f"user: nobody is called {user!r}.")
    return known.id, False


def _name(prediction: Prediction, names: dict[UUID, str]) -> str:
    return names.get(prediction.user_id, "") if prediction.user_id else NOBODY


def _paged(
    listed: list[Listed], stopped_at: str | None, limit: int, *, before: str | None, after: str | None
) -> Page[Listed]:
    """One more than `limit` were asked for: it says that more follow, and so does `stopped_at`."""
    more = len(listed) > limit
    results = (listed[-limit:] if after else listed[:limit]) if more else listed
    ids = [each.prediction.id for each in results]
    last = ids[0 if after else -1] if more else stopped_at  # where the page on the far side begins
    first = (ids[-1] if after else ids[0]) if ids else None  # and on the side that the caller comes from
    came_from = first if before or after else None
    following, preceding = (came_from, last) if after else (last, came_from)
    return Page(
        results,
        make_cursor("b", following) if following else None,
        make_cursor("a", preceding) if preceding else None,
    )


def make_cursor(direction: str, prediction_id: str) -> str:
    """An opaque cursor: `b` for what is older than an id, `a` for what is newer."""
    return base64.urlsafe_b64encode(f"{direction}{prediction_id}".encode()).decode().rstrip("=")


def parse_cursor(cursor: str | None) -> tuple[str | None, str | None]:
    """(before, after) ids of a cursor; at most one is set. Raises InvalidRequest."""
    if cursor is None:
        return None, None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        text = ""
    direction, prediction_id = text[:1], text[1:]
    if direction not in ("a", "b") or not is_id(prediction_id):
        raise wrong_field("cursor", "is not one that this server has made", "format")
    return (prediction_id, None) if direction == "b" else (None, prediction_id)
