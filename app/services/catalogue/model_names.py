"""What clients call models by: `owner/name`, an operator's alias, or the name without its owner.

Knows no HTTP. Names without an owner are looked up in Postgres and kept for some seconds; everything else is
for `runnable` to find.
"""

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from uuid import UUID

from app.db import model_aliases, models
from app.db.session import Database
from app.domain.errors import NotFound
from app.domain.versions import LATEST, RunnableVersion, is_name
from app.services.catalogue.model_aliases import ModelAliases
from app.services.catalogue.runnable import REFERENCE, Runnables, parse_reference
from app.services.catalogue.visibility import NO_MODEL
from app.services.people.access import Principal

KEPT = 10_000
MOST_OWNERS = 5  # that are named where a bare name means several models


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a name without an owner means: the model of an `alias` ("" for none), or who has a model of that
    name that somebody may see, the newest first."""

    alias: str
    owners: list[str]
    until: float


class ModelNames:
    """One for each API process, used from its event loop."""

    def __init__(
        self,
        database: Database,
        threads: Executor,
        runnables: Runnables,
        aliases: ModelAliases,
        keep_seconds: float,
    ) -> None:
        self._database, self._threads = database, threads
        self._runnables = runnables
        self.aliases, self._seconds = aliases, keep_seconds
        aliases.on_change = self.forget
        self._meanings: dict[tuple[UUID | None, str], _Meaning] = {}

    async def runnable(self, principal: Principal, name: str) -> RunnableVersion:
        """The version that a client's name for a model means, if the caller may run it. Raises NotFound,
        InvalidRequest."""
        return await self._runnables.get(principal, parse_reference(await self.reference(principal, name)))

    async def reference(self, principal: Principal, name: str) -> str:
        """The name as `owner/name`, `owner/name:version` or a version's id; what is none of these stays. A
        version is an id or a tag. Raises NotFound for a bare name that nobody has, or several have."""
        settings = self.aliases.settings
        name = settings.get(name) or name.removesuffix(f":{LATEST}")  # Ollama's clients name it always
        name = settings.get(name) or name
        bare, colon, version = name.partition(":")
        if REFERENCE.match(name) or not is_name(bare) or (colon and not is_name(version)):
            return name
        return f"{await self._model_of(principal, settings.get(bare) or bare)}{colon}{version}"

    async def _model_of(self, principal: Principal, name: str) -> str:
        """`owner/name` of a name without an owner."""
        if not is_name(name):
            return name
        meaning = await self._meaning_of(principal, name)
        owners = meaning.owners
        if meaning.alias:
            return meaning.alias
        if not owners:
            raise NotFound(NO_MODEL)
        if len(owners) > 1 and principal.username not in owners:
            several = ", ".join(f"{owner}/{name}" for owner in owners[:MOST_OWNERS])
            raise NotFound(f"Several models have this name; give its owner: {several}.")
        return f"{principal.username if principal.username in owners else owners[0]}/{name}"

    def forget(self) -> None:
        """Aliases have changed. From any thread."""
        self._meanings = {}

    async def _meaning_of(self, principal: Principal, name: str) -> _Meaning:
        key = (principal.user_id, name)
        kept = self._meanings.get(key)
        if kept is None or kept.until < time.monotonic():
            meanings, until = self._meanings, time.monotonic() + self._seconds
            kept = _Meaning(*await self._read(principal, name), until)
            if len(meanings) >= KEPT:
                meanings.clear()
            meanings[key] = kept
        return kept

    async def _read(self, principal: Principal, name: str) -> tuple[str, list[str]]:
        def read() -> tuple[str, list[str]]:
            with self._database.unit() as session:
                if alias := model_aliases.model_of(session, name):
                    return alias, []
                return "", models.owners_of(
                    session, principal.user_id, name, everything=principal.is_operator, limit=MOST_OWNERS + 1
                )

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)
