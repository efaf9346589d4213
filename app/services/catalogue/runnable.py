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

from app.coalesce import Coalescer
from app.db import versions
from app.db.session import Database
from app.domain.errors import NotFound, wrong_field
from app.domain.models import Model
from app.domain.versions import VERSION_ID, RunnableVersion, Version, is_name
from app.json_text import JsonText
from app.services.catalogue.visibility import NO_MODEL, NO_VERSION, NO_VERSIONS_YET, may_see
from app.services.people.access import Principal

REFERENCE = re.compile(
    r"(?:(?P<owner>[^/:\s]{1,64})/(?P<name>[^/:\s]{1,64})(?::(?P<version>[^/:\s]{1,64}))?|[0-9a-f]{64})\Z"
)
KEPT = 10_000
KEPT_BYTES = (
    32_000_000  # of their schemas and configurations as JSON; as objects they are some times as large
)


@dataclass(frozen=True, slots=True)
class _Reference:
    """What a reference means. `version` is None for a model that has none yet."""

    model: Model
    version: RunnableVersion | None
    until: float
    size: int = 0


def parse_reference(text: str) -> str:
    """Checks a `version`: a 64-hex id, owner/name, owner/name:id or owner/name:tag. Raises InvalidRequest
    naming it."""
    match = REFERENCE.match(text)
    if match is None or not all(is_name(part) for part in match.groups() if part is not None):
        raise wrong_field(
            "version",
            "must be a version's id (64 hex digits), owner/name, owner/name:id, or owner/name:tag",
            "format",
        )
    return text


class Runnables:
    """One for each API process, used from its event loop."""

    def __init__(self, database: Database, threads: Executor, keep_seconds: float) -> None:
        self._database, self._threads = database, threads
        self._seconds = keep_seconds
        self._kept: dict[str, _Reference] = {}
        self._kept_bytes = 0
        self._lock = threading.Lock()  # a change comes from a thread, at any moment
        self._changes = 0
        self._look_up: Coalescer[str, _Reference | None] = Coalescer(self._look_up_group)

    async def get(self, principal: Principal, reference: str) -> RunnableVersion:
        """What `parse_reference` let through, if the caller may run it. Raises NotFound, which says no more
        to others."""
        known = self._kept.get(reference)
        if known is None or known.until < time.monotonic():
            changes = self._changes
            known = await self._look_up(reference)
            with self._lock:
                if known and changes == self._changes:
                    self._keep(reference, known)
        if known is None or not may_see(principal, known.model):
            raise NotFound(NO_VERSION if VERSION_ID.search(reference) or ":" in reference else NO_MODEL)
        if known.version is None:
            raise NotFound(NO_VERSIONS_YET)
        return known.version

    def _keep(self, reference: str, known: _Reference) -> None:
        former = self._kept.get(reference)
        self._kept_bytes += known.size - (former.size if former else 0)
        if len(self._kept) >= KEPT or self._kept_bytes > KEPT_BYTES:
            self._kept.clear()
            self._kept_bytes = known.size
        self._kept[reference] = known

    def forget(self) -> None:
        """Something was changed in the catalogue. Called from any thread."""
        with self._lock:
            self._changes += 1
            self._kept, self._kept_bytes = {}, 0

    async def _look_up_group(self, references: list[str]) -> Sequence[_Reference | None]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, references)

    def _read(self, references: list[str]) -> list[_Reference | None]:
        until = time.monotonic() + self._seconds
        with self._database.unit() as session:
            known = {
                reference: _reference(versions.by_reference(session, reference), until)
                for reference in dict.fromkeys(references)
            }
        return [known[reference] for reference in references]


def _reference(pair: tuple[Model, Version | None] | None, until: float) -> _Reference | None:
    if pair is None:
        return None
    model, version = pair
    size = len(JsonText.from_value([version.input_schema, version.config])) if version else 0
    return _Reference(model, _runnable(version, model) if version else None, until, size)


def _runnable(version: Version, model: Model) -> RunnableVersion:
    return RunnableVersion(
        version.id,
        model.full_name,
        version.input_schema,
        version.streams,
        version.config,
        version.task or version.runtime,
    )
