"""Whether this process's storage is the platform's: an id kept in the database and in the storage, written
once.

A worker with another storage would end predictions whose files nobody can read. The API writes the id on its
first start, because the platform's storage is the one that it reads; everybody else only compares.
"""

import asyncio
from concurrent.futures import Executor
from typing import Any
from uuid import uuid4

import structlog

from app.db import platform_facts
from app.db.session import Database
from app.domain.errors import LovageError, NotFound, StorageFailed, Unavailable
from app.storage.base import Storage

log = structlog.get_logger(__name__)

RETRY_SECONDS = 5.0
FACT = "storage"
KEY = "lovage-storage-id"
REMEDY = (
    "Set STORAGE, STORAGE_DIR or the S3_ settings as the API has them. If this one is to be the platform's"
    " from now on, copy the files there and run `lovage storage --accept` with these settings."
)


class WrongStorage(LovageError):
    """This process's files would not be the platform's."""


class StorageIdentity:
    """Blocks. `location`: where this process's storage is, for people; "": nowhere that another process could
    look, and nothing is compared."""

    def __init__(self, database: Database, storage: Storage, location: str) -> None:
        self._database, self._storage = database, storage
        self._location = location

    def verify(self) -> bool:
        """Whether it is the platform's; False when the API has not said yet which that is. Raises
        WrongStorage, Unavailable, StorageFailed."""
        if not self._location:
            return True
        with self._database.unit() as session:
            fact = platform_facts.get(session, FACT)
        if fact is None or not fact["written"]:
            return False
        self._compare(fact)
        return True

    def establish(self) -> None:
        """The platform's storage is this one, if none is yet. Raises WrongStorage, Unavailable,
        StorageFailed."""
        if not self._location:
            return
        own = self._read()
        with self._database.unit() as session:
            fact = platform_facts.add(session, FACT, self._fact(own or uuid4().hex, written=False))
        if not fact["written"] and own in (None, fact["id"]):  # by us, or by one that died in between
            self._write(fact["id"])
        self._compare(fact)

    def accept(self) -> None:
        """The platform's storage is this one from now on. Raises Unavailable, StorageFailed."""
        storage_id = self._read() or uuid4().hex
        with self._database.unit() as session:
            platform_facts.put(session, FACT, self._fact(storage_id, written=False))
        self._write(storage_id)

    def _fact(self, storage_id: str, *, written: bool) -> dict[str, Any]:
        return {"id": storage_id, "location": self._location, "written": written}

    def _read(self) -> str | None:
        try:
            blocks, _, _ = self._storage.open(KEY)
        except NotFound:
            return None
        return b"".join(blocks).decode("ascii", "replace").strip()

    def _write(self, storage_id: str) -> None:
        """First where it can be compared, then that it can be."""
        if self._read() is None:
            self._storage.put(KEY, storage_id.encode(), "text/plain")
        with self._database.unit() as session:
            platform_facts.put(session, FACT, self._fact(storage_id, written=True))

    def _compare(self, fact: dict[str, Any]) -> None:
        own = self._read()
        if own != fact["id"]:
            fault = "which has no id" if own is None else "which has another's id"
            raise WrongStorage(
                f"The platform's files are in {fact['location']}, but this process's storage is"
                f" {self._location}, {fault}. {REMEDY}"
            )


async def establish_when_possible(identity: StorageIdentity, threads: Executor) -> None:
    """For an API process, however long Postgres or the storage is away."""
    while True:
        try:
            await asyncio.get_running_loop().run_in_executor(threads, identity.establish)
            return
        except WrongStorage as error:
            log.error("wrong_storage", reason=error.detail)
            return
        except (Unavailable, StorageFailed) as error:
            log.warning("storage_not_checked", reason=error.detail)
        await asyncio.sleep(RETRY_SECONDS)
