"""The audit log: logins, credentials, accounts, models, files, and what administrators do. Entries are
written beside the act and never fail it: what cannot be written is in the process's own log.

Whoever is idle takes everything that waits: one thread at a time writes what has come since the last write.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from app.coalesce import next_group
from app.db import audit
from app.db.session import Database
from app.domain.audit import AuditEntry, NewAuditEntry
from app.domain.errors import LovageError
from app.services.people.access import Principal

log = structlog.get_logger(__name__)

GROUP = 256  # entries of one INSERT
MOST_WAITING = 20_000  # entries, while the database is away; more are in our own log only
REPEATED_SECONDS, MOST_LATEST = 600.0, 10_000  # of acts that are repeated, which make one entry
LONGEST_DETAIL = 300  # characters
LOGGED = ("action", "user_id", "username", "target", "address", "request_id")  # of an entry, in our own log


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an act came from."""

    address: str
    request_id: str


class Audit:
    """One for each API process; thread-safe."""

    def __init__(self, database: Database, threads: Executor) -> None:
        self._database, self._threads = database, threads
        self._waiting: deque[NewAuditEntry] = deque()
        self._writing = False
        self._lock = threading.Lock()
        self._latest: OrderedDict[Hashable, float] = OrderedDict()

    def is_first(self, act: Hashable) -> bool:
        """Whether this act was not asked about here within REPEATED_SECONDS: who polls makes one entry."""
        now = time.monotonic()
        with self._lock:
            before = self._latest.pop(act, float("-inf"))
            is_first = now - before > REPEATED_SECONDS
            self._latest[act] = now if is_first else before
            if len(self._latest) > MOST_LATEST:
                self._latest.popitem(last=False)
        return is_first

    def note(
        self,
        action: str,
        username: str,
        target: str,
        origin: Origin,
        user_id: UUID | None = None,
        **details: Any,
    ) -> None:
        """Adds an entry soon; returns at once."""
        entry = NewAuditEntry(
            action=action,
            user_id=user_id,
            username=_clean(username)[:320],
            target=_clean(target)[:2_000],
            address=origin.address[:64],
            request_id=origin.request_id[:64],
            details={name: _short(value) for name, value in details.items()},
        )
        log.info("audit", **{name: str(getattr(entry, name)) for name in LOGGED})
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                log.error("audit_not_stored", reason=f"{MOST_WAITING} entries wait already")
                return
            self._waiting.append(entry)
            if self._writing:
                return
            self._writing = True
        self._threads.submit(self._write)

    def _write(self) -> None:
        while entries := self._next_group():
            try:
                with self._database.unit() as session:
                    audit.add(session, entries)
            except LovageError as error:
                log.error("audit_not_stored", reason=str(error), count=len(entries))
            except Exception:  # nobody looks at this thread's answer
                log.exception("audit_not_stored", count=len(entries))

    def _next_group(self) -> list[NewAuditEntry]:
        """Empty: this thread has nothing more to do, the next entry begins another."""
        with self._lock:
            group = next_group(self._waiting, GROUP)
            self._writing = bool(group)
        return group

    def page(
        self,
        principal: Principal,
        *,
        before: int | None,
        limit: int,
        action: str | None = None,
        username: str | None = None,
        since: datetime | None = None,
    ) -> list[AuditEntry]:
        """Entries, newest first. Raises Forbidden for anybody but an administrator."""
        principal.need_operator("read the audit log")
        with self._database.unit() as session:
            return audit.page(
                session, before=before, limit=limit, action=action, username=username, since=since
            )


def _short(value: Any) -> Any:
    return _clean(value)[:LONGEST_DETAIL] if isinstance(value, str) else value


def _clean(text: str) -> str:
    """NUL and lone surrogates cannot be stored."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
