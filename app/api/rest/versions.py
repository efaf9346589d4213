"""The versions of models: register, list, get, delete; and how the live workers stand to one."""

from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, CanModel, Cursor, IdempotencyKey, Limit, Services, ServicesDep, note
from app.api.problems import declared
from app.api.rest.registering import run_registering
from app.api.rest.wire import PageOut, page_out
from app.domain.versions import Version
from app.services.catalogue.version_request import VersionRequest
from app.services.catalogue.version_schema import openapi_schema
from app.services.idempotency import IdempotentRequest
from app.services.people.access import Principal

router = APIRouter(tags=["Models"], route_class=CheckedRoute)

LONG_IN_LIST = 16_384  # bytes of a document in a list's entry; runtimes' own have 2 to 6 kB
COG_VERSION = "0.16.0"  # clients compare it: below 0.3.9 they would take every array for an iterator


class VersionIn(BaseModel):
    """Where a version's files come from and how it runs. What is left out is inferred from the files."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"source": "hf:HuggingFaceTB/SmolLM2-135M-Instruct"}]}
    )

    source: str = Field(
        "none",
        max_length=700,
        description="`hf:org/name@revision`, `path:folder`, `s3://…`, `upload:ID`, `none`.",
    )
    runtime: str = Field("", max_length=64, description="A runtime's name, e.g. text-generation.")
    task: str = Field("", max_length=64, description="A task's name, e.g. text-classification.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="dtype, max_batch_size, max_wait_ms, timeout, …"
    )
    input_schema: dict[str, Any] | None = Field(
        None, description="Changes to the runtime's inputs: defaults, bounds, choices, descriptions."
    )

    def as_request(self) -> VersionRequest:
        """As the catalogue takes it."""
        return VersionRequest(self.source, self.runtime, self.task, self.config, self.input_schema)


class CheckIn(VersionIn):
    """What would be registered, and under which name."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"source": "none", "runtime": "echo"}]}
    )

    model: str | None = Field(
        None,
        pattern=r"^[^/\s]{1,64}/[^/\s]{1,64}$",
        description="owner/name of a model of yours that it would be a version of.",
    )


class ProblemOut(BaseModel):
    """One reason to refuse it."""

    field: str
    description: str


class CheckOut(BaseModel):
    """What registering would find. Nothing was stored."""

    source: str
    runtime: str = Field(description="How it would be run; empty where the files do not tell.")
    task: str
    files: int | None = Field(description="How many the source holds; null: not looked into.")
    bytes: int | None
    dtype: str = Field(description="What most of the weights were saved in: F32, BF16 …")
    parameters: int = Field(description="Numbers in the weights; 0: not known.")
    memory_bytes: int = Field(
        description="Of the weights in the dtype that they would be loaded in; 0: not known."
    )
    problems: list[ProblemOut] = Field(
        description="Why it would be refused, in the order of mending; empty: it would be taken."
    )
    current_version: str | None = Field(description="Of `model`: its current version, if there is one.")
    current_runtime: str | None = Field(description="How that one is run.")


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
    left_out: list[str] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description=(
            "In lists: what is long (openapi_schema, config), and is empty here. The version itself has it."
        ),
    )


def version_in_list(services: Services, version: Version, *, source: bool) -> VersionOut:
    """The same without what is long, so that a page of a hundred stays a page."""
    shown = version_out(services, version, source=source)
    documents = {"openapi_schema": shown.openapi_schema, "config": shown.config}
    left_out = [name for name, document in documents.items() if len(orjson.dumps(document)) > LONG_IN_LIST]
    return shown.model_copy(update={name: {} for name in left_out} | {"left_out": left_out or None})


def version_out(services: Services, version: Version, *, source: bool) -> VersionOut:
    """`source` of a folder or bucket is shown to its owner only: it says where things are."""
    kind = version.source.partition(":")[0]
    hidden = kind in ("path", "s3") and not source
    return VersionOut(
        id=version.id,
        created_at=version.created_at,
        openapi_schema=openapi_schema(version.input_schema, version.output_schema),
        source=f"{kind}:…" if hidden else version.source,
        runtime=version.runtime,
        task=version.task,
        config=version.config,
        streams=version.streams,
        facts=version.facts,
        serving=ServingOut(**asdict(services.fleet.serving(version.id, version.config))),
    )


def note_version(request: Request, caller: Principal, model: str, version: Version) -> None:
    """For the audit log: whose code or weights may run from now on."""
    details = {"runtime": version.runtime, "source": version.source}
    note(request, caller, "version.registered", f"{model}:{version.id}", **details)


@router.post(
    "/v1/models/{owner}/{name}/versions",
    operation_id="models.versions.create",
    summary="Create a version",
    status_code=201,
    responses=declared(401, 403, 404, 410, 413, 415, 422),
)
async def create_version(
    request: Request,
    services: ServicesDep,
    caller: CanModel,
    owner: str,
    name: str,
    body: VersionIn,
    key: IdempotencyKey,
) -> VersionOut:
    """A new version. The same content gives the same version again."""
    content = [owner, name, body.model_dump(exclude_unset=True)]
    idempotent = IdempotentRequest.with_key("models.versions.create", key, content)
    requested = body.as_request()
    add = partial(services.versions.add, caller, owner, name, requested, idempotent)
    version = await run_registering(services, caller, requested, add)
    note_version(request, caller, f"{owner}/{name}", version)
    await services.fleet.refresh()
    return version_out(services, version, source=True)


@router.post(
    "/v1/models/check",
    operation_id="models.check",
    summary="Check a version before it is registered",
    responses=declared(401, 403, 413, 415, 422),
)
async def check_version(services: ServicesDep, caller: CanModel, body: CheckIn) -> CheckOut:
    """What registering this would find, and why it would be refused. Stores nothing."""
    requested = body.as_request()
    check = partial(services.versions.check, caller, requested, body.model or "")
    checked = await run_registering(services, caller, requested, check)
    report, current = asdict(checked.report), checked.current
    return CheckOut(
        **report,
        current_version=current.id if current else None,
        current_runtime=current.runtime if current else None,
    )


@router.get(
    "/v1/models/{owner}/{name}/versions",
    operation_id="models.versions.list",
    summary="List a model's versions",
    responses=declared(401, 404, 422),
)
def list_versions(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    owner: str,
    name: str,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> PageOut[VersionOut]:
    """A model's versions, newest first. A document of more than 16 kB is left out, see `left_out`."""
    page = services.versions.page(caller, owner, name, cursor=cursor, limit=limit)
    return page_out(
        request,
        page.map(lambda version: version_in_list(services, version, source=_is_maker(caller, version))),
    )


def _is_maker(caller: Principal, version: Version) -> bool:
    return caller.is_operator or (caller.user_id is not None and version.created_by == caller.user_id)


@router.get(
    "/v1/models/{owner}/{name}/versions/{version_id}",
    operation_id="models.versions.get",
    summary="Get a version",
    responses=declared(401, 404),
)
def get_version(services: ServicesDep, caller: Caller, owner: str, name: str, version_id: str) -> VersionOut:
    """One version with the schema of its input and output."""
    version = services.versions.get(caller, owner, name, version_id)
    return version_out(services, version, source=_is_maker(caller, version))


@router.post(
    "/v1/models/{owner}/{name}/versions/{version_id}/current",
    operation_id="models.versions.release",
    summary="Make a version the current one",
    responses=declared(401, 403, 404),
)
def make_current(
    request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str, version_id: str
) -> VersionOut:
    """From now on the model's name means this version, until another one is added or made current: how one
    goes back to an older version. Other API processes know within PRINCIPAL_CACHE_SECONDS."""
    version = services.versions.make_current(caller, owner, name, version_id)
    note(request, caller, "version.released", f"{owner}/{name}:{version_id}")
    return version_out(services, version, source=True)


@router.delete(
    "/v1/models/{owner}/{name}/versions/{version_id}",
    operation_id="models.versions.delete",
    summary="Delete a version",
    status_code=204,
    responses=declared(401, 403, 404),
)
def delete_version(
    request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str, version_id: str
) -> None:
    """Nothing new can be run with it. Predictions made with it stay readable."""
    services.versions.remove(caller, owner, name, version_id)
    note(request, caller, "version.deleted", f"{owner}/{name}:{version_id}")
