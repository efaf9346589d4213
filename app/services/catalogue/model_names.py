"""What clients call models by: `owner/name`, an operator's alias, or the name without its owner.

Knows no HTTP. Names without an owner are looked up in Postgres and kept for some seconds; everything else is
for `runnable` to find.
"""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from uuid import UUID

from app.db import models
from app.db.session import Database
from app.domain.errors import NotFound
from app.domain.versions import RunnableVersion, is_name
from app.services.catalogue.runnable import REFERENCE, Runnables, parse_reference
from app.services.catalogue.visibility import NO_MODEL
from app.services.people.access import Principal

KEPT = 10_000
MOST_OWNERS = 5  # that are named where a bare name means several models
LATEST = ":latest"  # what clients of Ollama put behind every name


@dataclass(frozen=True, slots=True)
class _Owners:
    """Who has a model of a name that somebody may see, the newest first."""

    names: list[str]
    until: float


class ModelNames:
    """One for each API process, used from its event loop. `aliases`: from any name to `owner/name`."""

    def __init__(
        self,
        database: Database,
        threads: Executor,
        runnables: Runnables,
        aliases: Mapping[str, str],
        keep_seconds: float,
    ) -> None:
        self._database, self._threads = database, threads
        self._runnables = runnables
        self._aliases, self._seconds = dict(aliases), keep_seconds
        self._owners: dict[tuple[UUID | None, str], _Owners] = {}

    async def runnable(self, principal: Principal, name: str) -> RunnableVersion:
        """The version that a client's name for a model means, if the caller may run it. Raises NotFound,
        InvalidRequest."""
        return await self._runnables.get(principal, parse_reference(await self.reference(principal, name)))

    async def reference(self, principal: Principal, name: str) -> str:
        """The name as `owner/name`, `owner/name:version` or a version's id; what is none of these stays.
        Raises NotFound for a bare name that nobody has, or several have."""
        name = self._aliases.get(name) or name.removesuffix(LATEST)
        name = self._aliases.get(name) or name
        if REFERENCE.match(name) or not is_name(name):
            return name
        owners = await self._owners_of(principal, name)
        if not owners:
            raise NotFound(NO_MODEL)
        if len(owners) > 1 and principal.username not in owners:
            several = ", ".join(f"{owner}/{name}" for owner in owners[:MOST_OWNERS])
            raise NotFound(f"Several models have this name; give its owner: {several}.")
        return f"{principal.username if principal.username in owners else owners[0]}/{name}"

    async def _owners_of(self, principal: Principal, name: str) -> list[str]:
        key = (principal.user_id, name)
        kept = self._owners.get(key)
        if kept is None or kept.until < time.monotonic():
            until = time.monotonic() + self._seconds
            kept = _Owners(await self._read(principal, name), until)
            if len(self._owners) >= KEPT:
                self._owners.clear()
            self._owners[key] = kept
        return kept.names

    async def _read(self, principal: Principal, name: str) -> list[str]:
        def read() -> list[str]:
            with self._database.unit() as session:
                return models.owners_of(
                    session, principal.user_id, name, everything=principal.is_operator, limit=MOST_OWNERS + 1
                )

        owners = await asyncio.get_running_loop().run_in_executor(self._threads, read)
        return owners
