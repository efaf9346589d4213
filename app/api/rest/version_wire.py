"""A version as it is shown, and how the live workers stand to it."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.deps import Services
from app.db.tables import VersionRow
from app.services.catalogue.version_schema import openapi_schema

COG_VERSION = "0.16.0"  # clients compare it: below 0.3.9 they would take every array for an iterator


class ServingOut(BaseModel):
    """How the live workers stand to a version. `workers` could run it, `loaded_on` of them have it, on
    `troubled_on` its process keeps dying or its load failed: `reason` says why, and in `retry_in` seconds it
    is tried again. While it is `unhealthy` new predictions are refused; `unserved`: no live worker could run
    it, predictions wait."""

    status: Literal["loaded", "unloaded", "failed", "unhealthy", "unserved"]
    workers: int
    loaded_on: int
    troubled_on: int
    reason: str
    retry_in: float


class VersionOut(BaseModel):
    """A version. Its content never changes: its id is the hash of its content."""

    id: str
    created_at: datetime
    cog_version: str = COG_VERSION
    openapi_schema: dict[str, Any]
    source: str
    runtime: str
    task: str
    config: dict[str, Any]
    streams: bool
    facts: dict[str, Any] = Field(
        description="By class of device: what workers chose and measured when they loaded it."
    )
    serving: ServingOut


def version_out(services: Services, row: VersionRow, *, source: bool) -> VersionOut:
    """`source` of a folder is shown to its owner only: it tells where things are on the server."""
    hidden = row.source.startswith("path:") and not source
    return VersionOut(
        id=row.id,
        created_at=row.created_at,
        openapi_schema=openapi_schema(row.input_schema, row.output_schema),
        source="path:…" if hidden else row.source,
        runtime=row.runtime,
        task=row.task,
        config=row.config,
        streams=row.streams,
        facts=row.facts,
        serving=ServingOut(**asdict(services.fleet.serving(row.id, row.config))),
    )
