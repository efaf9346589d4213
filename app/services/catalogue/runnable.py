"""What a caller may run: from a `version` or a model's name to a RunnableVersion. Asked by every prediction,
so it is kept.

Versions never change; that a model was made private, deleted or given a newer version is known in this
process at once and in the others after `keep_seconds`.
"""

import asyncio
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.coalesce import Coalescer
from app.db import versions
from app.db.session import Database
from app.db.tables import ModelRow, VersionRow
from app.domain.errors import NotFound, wrong_field
from app.domain.versions import VERSION_ID, RunnableVersion, is_name
from app.services.catalogue.catalogue import NO_MODEL, NO_VERSION, may_see
from app.services.people.access import Principal

REFERENCE = re.compile(
    r"(?:(?P<owner>[^/:\s]{1,64})/(?P<name>[^/:\s]{1,64})(?::(?P<version>[0-9a-f]{64}))?|[0-9a-f]{64})\Z"
)
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class _Found:
    """`version` is None for a model that has none yet."""

    model: ModelRow
    version: RunnableVersion | None
    until: float


def parse_reference(text: str) -> str:
    """Checks a `version`: a 64-hex id, owner/name, or owner/name:id. Raises InvalidRequest naming it."""
    match = REFERENCE.match(text)
    if match is None or (match["owner"] and not (is_name(match["owner"]) and is_name(match["name"]))):
        raise wrong_field(
            "version", "must be a version's id (64 hex digits), owner/name, or owner/name:id", "format"
        )
    return text


class Runnables:
    """One for each API process, used from its event loop."""

    def __init__(self, database: Database, threads: Executor, keep_seconds: float) -> None:
        self._database, self._threads, self._seconds = database, threads, keep_seconds
        self._kept: dict[str, _Found] = {}
        self._lock = threading.Lock()  # a change comes from a thread, at any moment
        self._changes = 0
        self._find: Coalescer[str, _Found | None] = Coalescer(self._find_group)

    async def get(self, principal: Principal, reference: str) -> RunnableVersion:
        """What `parse_reference` let through, if the caller may run it. Raises NotFound: no more is told to
        others."""
        found = self._kept.get(reference)
        if found is None or found.until < time.monotonic():
            changes = self._changes
            found = await self._find(reference)
            with self._lock:
                if found and changes == self._changes:
                    self._keep(reference, found)
        if found is None or not may_see(principal, found.model):
            raise NotFound(NO_VERSION if VERSION_ID.search(reference) else NO_MODEL)
        if found.version is None:
            raise NotFound("This model has no versions yet.")
        return found.version

    def _keep(self, reference: str, found: _Found) -> None:
        if len(self._kept) >= KEPT:
            self._kept.clear()
        self._kept[reference] = found

    def forget(self) -> None:
        """Something was changed in the catalogue. Called from any thread."""
        with self._lock:
            self._changes += 1
            self._kept = {}

    async def _find_group(self, references: list[str]) -> Sequence[_Found | None]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, references)

    def _look_up(self, references: list[str]) -> list[_Found | None]:
        until = time.monotonic() + self._seconds
        with self._database.unit() as session:
            found = {one: self._look(session, one, until) for one in dict.fromkeys(references)}
        return [found[one] for one in references]

    @staticmethod
    def _look(session: Session, reference: str, until: float) -> _Found | None:
        found = versions.named(session, reference)
        if found is None:
            return None
        model, version = found
        return _Found(model, _runnable(version, model) if version else None, until)


def _runnable(version: VersionRow, model: ModelRow) -> RunnableVersion:
    return RunnableVersion(
        version.id, f"{model.owner}/{model.name}", version.input_schema, version.streams, version.config
    )
