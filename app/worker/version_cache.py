"""What a worker knows of versions: read once from Postgres, kept, because a version never changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.coalesce import ThreadCoalescer
from app.db import versions
from app.db.session import Database
from app.domain.errors import ModelUnavailable
from app.domain.models import Model
from app.domain.versions import Version as RegisteredVersion

KEPT = 512


@dataclass(frozen=True, slots=True)
class Version:
    """The columns that a run needs."""

    id: str
    model: str
    source: str
    runtime: str
    task: str
    config: dict[str, Any]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    fingerprint: str = ""


class Versions:
    """Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: ThreadCoalescer[str, Version | None] = ThreadCoalescer(self._read_group)
        self._kept = lru_cache(maxsize=KEPT)(self._look)

    def get(self, version_id: str) -> Version:
        """The version. Raises ModelUnavailable when it is gone."""
        return self._kept(version_id)

    def _look(self, version_id: str) -> Version:
        version = self._read(version_id)
        if version is None:
            raise ModelUnavailable("The version of this prediction no longer exists.")
        return version

    def _read_group(self, ids: list[str]) -> Sequence[Version | None]:
        with self._database.unit() as session:
            rows = versions.by_ids(session, set(ids))
        return [_version(*rows[version_id]) if version_id in rows else None for version_id in ids]


def _version(version: RegisteredVersion, model: Model) -> Version:
    return Version(
        version.id,
        model.full_name,
        version.source,
        version.runtime,
        version.task,
        version.config,
        version.input_schema,
        version.output_schema,
        version.fingerprint,
    )
