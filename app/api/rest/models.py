"""Models and their versions: register, list, search, change, delete."""

import asyncio
import json
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse, Response

from app.api.bodies import CheckedRoute
from app.api.deps import (
    Caller,
    CanModel,
    Cursor,
    IdempotencyKey,
    Limit,
    Services,
    ServicesDep,
    base_url,
    link,
    note,
)
from app.api.problems import declared
from app.api.rest.version_wire import VersionOut, version_out
from app.api.rest.wire import PageOut, PredictionOut, page_out
from app.db.pages import Page
from app.db.tables import ModelRow, VersionRow
from app.domain.errors import LovageError, wrong_field
from app.services.catalogue.catalogue import Listed
from app.services.catalogue.version_maker import NewVersion
from app.services.idempotency import Once
from app.services.people.access import Principal

router = APIRouter(tags=["Models"], route_class=CheckedRoute)

LONGEST_QUERY = 1_000
NOT_OF_AN_EXAMPLE = ("webhook", "webhook_events_filter", "routing", "deployment")  # its maker's own business
MOST_NAMES = 10_000  # about 1 MB of JSON
Url = Annotated[str | None, Field(max_length=2_048, pattern=r"^https?://[^\x00-\x20]+$")]
Text = Annotated[str | None, Field(max_length=10_000, pattern=r"^[^\x00]*$")]


class VersionIn(BaseModel):
    """Where a version's files come from and how it runs. What is left out is inferred from the files."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"source": "hf:HuggingFaceTB/SmolLM2-135M-Instruct"}]}
    )

    source: str = Field(
        "none", max_length=700, description="`hf:org/name@revision`, `path:folder`, `s3://…` or `none`."
    )
    runtime: str = Field("", max_length=64, description="A runtime's name, e.g. text-generation.")
    task: str = Field("", max_length=64, description="A task's name, e.g. text-classification.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="dtype, max_batch_size, max_wait_ms, timeout, …"
    )
    input_schema: dict[str, Any] | None = Field(
        None, description="Changes to the runtime's inputs: defaults, bounds, choices, descriptions."
    )

    def asked(self) -> NewVersion:
        """As the catalogue takes it."""
        return NewVersion(self.source, self.runtime, self.task, self.config, self.input_schema)


class ModelFacts(BaseModel):
    """What is said of a model."""

    model_config = ConfigDict(extra="forbid")

    visibility: Literal["public", "private"] | None = None
    description: Text = None
    readme: Annotated[str | None, Field(max_length=200_000, pattern=r"^[^\x00]*$")] = None
    github_url: Url = None
    paper_url: Url = None
    license_url: Url = None
    cover_image_url: Url = None


class ModelPatch(ModelFacts):
    """What is said of a model. Fields that are left out stay."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"description": "Says it again.", "visibility": "public"}]}
    )

    default_example: str | None = Field(
        None,
        max_length=26,
        description="Id of a prediction of yours with this model, shown to all who may see the model.",
    )
    weights_url: Url = Field(
        None, description="Taken for compatibility; a version's `source` says where its files are."
    )


class ModelIn(ModelFacts):
    """A new model; with `version`, its first version in the same call: both or neither."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "my-echo", "version": {"runtime": "echo"}}]}
    )

    owner: str | None = Field(None, max_length=64, description="Your username, which is the default.")
    name: str = Field(max_length=64, examples=["my-model"])
    visibility: Literal["public", "private"] = "private"
    hardware: str | None = Field(None, max_length=64, description="Taken for compatibility; workers decide.")
    version: VersionIn | None = None


class ModelOut(BaseModel):
    """A model. `id`, `object`, `created` and `owned_by` are for OpenAI's clients."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    url: str
    owner: str
    name: str
    description: str | None
    visibility: str
    github_url: str | None
    paper_url: str | None
    license_url: str | None
    cover_image_url: str | None
    run_count: int
    created_at: datetime
    default_example: PredictionOut | None = None
    latest_version: VersionOut | None


class OpenAIModelOut(BaseModel):
    """The same model as OpenAI's clients read it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelListOut(PageOut[ModelOut]):
    """One object that both families of clients can read: `results` is Replicate's, `data` is OpenAI's."""

    object: Literal["list"] = "list"
    data: list[OpenAIModelOut]


def model_out(services: Services, caller: Principal, listed: Listed, base: str) -> ModelOut:
    """A model as this caller sees it."""
    row, latest = listed.row, listed.latest
    own = caller.owns(row.owner_id) or caller.is_operator
    return ModelOut(
        id=f"{row.owner}/{row.name}",
        created=int(row.created_at.timestamp()),
        owned_by=row.owner,
        url=f"{base}/v1/models/{row.owner}/{row.name}",
        owner=row.owner,
        name=row.name,
        description=row.description,
        visibility=row.visibility,
        github_url=row.github_url,
        paper_url=row.paper_url,
        license_url=row.license_url,
        cover_image_url=row.cover_image_url,
        run_count=listed.run_count,
        created_at=row.created_at,
        latest_version=version_out(services, latest, source=own) if latest else None,
    )


def _openai(row: ModelRow) -> OpenAIModelOut:
    return OpenAIModelOut(
        id=f"{row.owner}/{row.name}", created=int(row.created_at.timestamp()), owned_by=row.owner
    )


async def _list_out(
    request: Request, services: Services, caller: Principal, page: Page[Listed]
) -> ModelListOut:
    return ModelListOut(
        previous=link(request, page.previous),
        next=link(request, page.next),
        results=await asyncio.gather(*(_shown(request, services, caller, one) for one in page.results)),
        data=[_openai(one.row) for one in page.results],
    )


@router.get("/v1/models", operation_id="models.list", summary="List models", responses=declared(401, 422))
async def list_models(
    request: Request, services: ServicesDep, caller: Caller, cursor: Cursor = None, limit: Limit = 100
) -> ModelListOut:
    """Public models and your own, newest first. `QUERY /v1/models` with words as a plain text body searches
    them.

    `results` is a page; `data` is all of them (10,000 at most) unless a page is asked for by `cursor` or
    `limit`: OpenAI's clients read no second page.
    """
    page = await run_sync(lambda: services.catalogue.page(caller, cursor=cursor, limit=limit))
    found = await _list_out(request, services, caller, page)
    if found.next and not request.query_params.keys() & {"cursor", "limit"}:
        found.data = [_openai(row) for row in await run_sync(services.catalogue.names, caller, MOST_NAMES)]
    return found


def _words(body: bytes) -> str:
    """The words of a search. `replicate` for JavaScript sends them as a JSON string, whatever its
    Content-Type says."""
    try:
        words = body.decode()
    except UnicodeDecodeError:
        words = "\x00"
    if len(words) <= LONGEST_QUERY and words.startswith('"'):
        with suppress(ValueError):
            words = str(json.loads(words)).encode().decode()  # half a surrogate pair stays as it was written
    if "\x00" in words or len(words) > LONGEST_QUERY:
        raise wrong_field("body", f"must be UTF-8 text of at most {LONGEST_QUERY} characters", "format")
    return words


# OpenAPI 3.1 has no word for the method QUERY, so the document tells of it in the description above.
@router.api_route("/v1/models", methods=["QUERY"], include_in_schema=False)
async def search_models(
    request: Request, services: ServicesDep, caller: Caller, cursor: Cursor = None, limit: Limit = 100
) -> ModelListOut:
    """Models whose name or description holds all the words."""
    words = _words(await request.body())
    page = await run_sync(lambda: services.catalogue.page(caller, cursor=cursor, limit=limit, query=words))
    return await _list_out(request, services, caller, page)


@router.post(
    "/v1/models",
    operation_id="models.create",
    summary="Create a model",
    status_code=201,
    responses=declared(401, 403, 409, 410, 413, 415, 422),
)
def create_model(
    request: Request, services: ServicesDep, caller: CanModel, wanted: ModelIn, key: IdempotencyKey
) -> ModelOut:
    """A model, and with `version` its first version."""
    values = wanted.model_dump(include=set(ModelFacts.model_fields))
    owner = wanted.owner or caller.username
    version = wanted.version.asked() if wanted.version else None
    once = Once.of("models.create", key, wanted.model_dump(exclude_unset=True))
    return model_out(
        services,
        caller,
        services.catalogue.create(caller, owner, wanted.name, values, version, once),
        base_url(request),
    )


@router.get(
    "/v1/models/{owner}/{name}",
    operation_id="models.get",
    summary="Get a model",
    responses=declared(401, 404),
)
async def get_model(
    request: Request, services: ServicesDep, caller: Caller, owner: str, name: str
) -> ModelOut:
    """One model with its newest version."""
    return await _shown(
        request, services, caller, await run_sync(services.catalogue.get, caller, owner, name)
    )


async def _shown(request: Request, services: Services, caller: Principal, listed: Listed) -> ModelOut:
    """The model with its example."""
    await services.fleet.look()
    found = model_out(services, caller, listed, base_url(request))
    found.default_example = await _example(request, services, listed)
    return found


async def _example(request: Request, services: Services, listed: Listed) -> PredictionOut | None:
    if listed.row.default_example is None:
        return None
    try:
        prediction = await services.follower.get(listed.row.default_example)
    except LovageError:
        return None  # its data may have been removed; a model is no worse without its example
    shown = services.view.render(prediction, base_url(request))
    return PredictionOut.model_validate(
        {name: value for name, value in shown.items() if name not in NOT_OF_AN_EXAMPLE}
    )


@router.patch(
    "/v1/models/{owner}/{name}",
    operation_id="models.update",
    summary="Change a model",
    responses=declared(401, 403, 404, 413, 415, 422),
)
async def update_model(
    request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str, wanted: ModelPatch
) -> ModelOut:
    """Changes what is said of a model, and who may see it."""
    values = wanted.model_dump(exclude_unset=True, exclude={"weights_url"})
    if "visibility" in values and values["visibility"] is None:
        del values["visibility"]
    return await _shown(
        request, services, caller, await run_sync(services.catalogue.change, caller, owner, name, values)
    )


@router.delete(
    "/v1/models/{owner}/{name}",
    operation_id="models.delete",
    summary="Delete a model",
    status_code=204,
    responses=declared(401, 403, 404),
)
def delete_model(request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str) -> None:
    """Deletes a model with its versions. Predictions made with it stay readable."""
    services.catalogue.remove(caller, owner, name)
    note(request, caller, "model.deleted", f"{owner}/{name}")


@router.get(
    "/v1/models/{owner}/{name}/readme",
    operation_id="models.readme",
    summary="Get a model's readme",
    response_class=PlainTextResponse,
    responses=declared(401, 404),
)
def readme(services: ServicesDep, caller: Caller, owner: str, name: str) -> Response:
    """Markdown; empty when there is none."""
    return PlainTextResponse(services.catalogue.get(caller, owner, name).row.readme or "")


@router.get(
    "/v1/models/{owner}/{name}/examples",
    operation_id="models.examples",
    summary="List a model's examples",
    responses=declared(401, 404),
)
async def examples(
    request: Request, services: ServicesDep, caller: Caller, owner: str, name: str
) -> PageOut[PredictionOut]:
    """Predictions that its owner chose to show."""
    example = await _example(request, services, await run_sync(services.catalogue.get, caller, owner, name))
    return PageOut(results=[example] if example else [])


@router.post(
    "/v1/models/{owner}/{name}/versions",
    operation_id="models.versions.create",
    summary="Create a version",
    status_code=201,
    responses=declared(401, 403, 404, 410, 413, 415, 422),
)
def create_version(
    services: ServicesDep, caller: CanModel, owner: str, name: str, wanted: VersionIn, key: IdempotencyKey
) -> VersionOut:
    """A new version. The same content gives the same version again."""
    once = Once.of("models.versions.create", key, [owner, name, wanted.model_dump(exclude_unset=True)])
    return version_out(
        services, services.catalogue.add_version(caller, owner, name, wanted.asked(), once), source=True
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
    """A model's versions, newest first."""
    page = services.catalogue.version_page(caller, owner, name, cursor=cursor, limit=limit)
    return page_out(request, page.map(lambda row: version_out(services, row, source=_is_maker(caller, row))))


def _is_maker(caller: Principal, row: VersionRow) -> bool:
    return caller.is_operator or (caller.user_id is not None and row.created_by == caller.user_id)


@router.get(
    "/v1/models/{owner}/{name}/versions/{version_id}",
    operation_id="models.versions.get",
    summary="Get a version",
    responses=declared(401, 404),
)
def get_version(services: ServicesDep, caller: Caller, owner: str, name: str, version_id: str) -> VersionOut:
    """One version with the schema of its input and output."""
    row = services.catalogue.version(caller, owner, name, version_id)
    return version_out(services, row, source=_is_maker(caller, row))


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
    services.catalogue.remove_version(caller, owner, name, version_id)
    note(request, caller, "version.deleted", f"{owner}/{name}:{version_id}")
