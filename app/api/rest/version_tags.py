"""Tags of versions: `ada/chat:stable` means the version that Ada has tagged so."""

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, CanModel, ServicesDep, note
from app.api.problems import declared

router = APIRouter(tags=["Models"], route_class=CheckedRoute)

VERSION = "7b2f3a0c9d1e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c"


class VersionTagIn(BaseModel):
    """Which version the tag is to mean."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": VERSION}]})

    version: str = Field(max_length=64, description="A version's id, or another tag of the model.")


class VersionTagOut(BaseModel):
    """`owner/name:tag` means this version wherever a version is named."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [{"name": "stable", "version": VERSION, "created_at": "2026-11-28T12:00:00Z"}]
        },
    )

    name: str
    version: str
    created_at: datetime


class VersionTagsOut(BaseModel):
    """All of a model's, by name."""

    results: list[VersionTagOut]


@router.get(
    "/v1/models/{owner}/{name}/tags",
    operation_id="models.tags.list",
    summary="List a model's tags",
    responses=declared(401, 404),
)
def list_tags(services: ServicesDep, caller: Caller, owner: str, name: str) -> VersionTagsOut:
    """The names that its owner has given to versions of it."""
    tags = services.versions.tags.list_all(caller, owner, name)
    return VersionTagsOut(results=[VersionTagOut.model_validate(each) for each in tags])


@router.put(
    "/v1/models/{owner}/{name}/tags/{tag}",
    operation_id="models.tags.put",
    summary="Tag a version",
    responses=declared(401, 403, 404, 413, 415, 422),
)
def put_tag(
    request: Request,
    services: ServicesDep,
    caller: CanModel,
    owner: str,
    name: str,
    tag: str,
    body: VersionTagIn,
) -> VersionTagOut:
    """A tag that is there already is moved to this version. Other API processes know within
    PRINCIPAL_CACHE_SECONDS."""
    put = services.versions.tags.put(caller, owner, name, tag, body.version)
    note(request, caller, "version.tagged", f"{owner}/{name}:{put.version}", tag=tag)
    return VersionTagOut.model_validate(put)


@router.delete(
    "/v1/models/{owner}/{name}/tags/{tag}",
    operation_id="models.tags.delete",
    summary="Remove a tag",
    status_code=204,
    responses=declared(401, 403, 404),
)
def delete_tag(
    request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str, tag: str
) -> None:
    """The version stays."""
    services.versions.tags.remove(caller, owner, name, tag)
    note(request, caller, "version.untagged", f"{owner}/{name}", tag=tag)
