"""Models and their versions: register, list, search, change, delete."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

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
from app.api.rest.registering import run_registering
from app.api.rest.versions import VersionIn, VersionOut, note_version, version_in_list, version_out
from app.api.rest.wire import PageOut, PredictionOut
from app.domain.errors import LovageError, wrong_field
from app.domain.models import Model, ModelName
from app.domain.pages import Page
from app.services.catalogue.catalogue import ListedModel
from app.services.catalogue.visibility import may_change
from app.services.idempotency import IdempotentRequest
from app.services.people.access import Principal

AsVersion = Callable[..., VersionOut]
router = APIRouter(tags=["Models"], route_class=CheckedRoute)

LONGEST_QUERY, MOST_WORDS = 1_000, 32  # each word is looked for in every model
NOT_OF_AN_EXAMPLE = ("webhook", "webhook_events_filter", "routing", "deployment")  # its maker's own business
MOST_NAMES = 10_000  # about 1 MB of JSON
Url = Annotated[str | None, Field(max_length=2_048, pattern=r"^https?://[^\x00-\x20]+$")]
Text = Annotated[str | None, Field(max_length=10_000, pattern=r"^[^\x00]*$")]


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


def model_out(
    services: Services, caller: Principal, listed: ListedModel, base: str, as_version: AsVersion = version_out
) -> ModelOut:
    """A model as this caller sees it; `as_version` shows its newest version."""
    model, latest = listed.model, listed.latest
    own = may_change(caller, model)
    return ModelOut(
        id=model.full_name,
        created=int(model.created_at.timestamp()),
        owned_by=model.owner,
        url=f"{base}/v1/models/{model.full_name}",
        owner=model.owner,
        name=model.name,
        description=model.description,
        visibility=model.visibility,
        github_url=model.github_url,
        paper_url=model.paper_url,
        license_url=model.license_url,
        cover_image_url=model.cover_image_url,
        run_count=listed.run_count,
        created_at=model.created_at,
        latest_version=as_version(services, latest, source=own) if latest else None,
    )


def _openai(model: Model | ModelName) -> OpenAIModelOut:
    return OpenAIModelOut(id=model.full_name, created=int(model.created_at.timestamp()), owned_by=model.owner)


async def _list_out(
    request: Request, services: Services, caller: Principal, page: Page[ListedModel]
) -> ModelListOut:
    return ModelListOut(
        previous=link(request, page.previous, "prev"),
        next=link(request, page.next, "next"),
        results=await asyncio.gather(
            *(_with_example(request, services, caller, listed, version_in_list) for listed in page.results)
        ),
        data=[_openai(listed.model) for listed in page.results],
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
    answer = await _list_out(request, services, caller, page)
    if answer.next and not request.query_params.keys() & {"cursor", "limit"}:
        names = await run_sync(services.catalogue.names, caller, MOST_NAMES)
        answer.data = [_openai(name) for name in names]
    return answer


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
    if "\x00" in words or len(words) > LONGEST_QUERY or len(words.split()) > MOST_WORDS:
        sentence = f"must be UTF-8 text of at most {MOST_WORDS} words and {LONGEST_QUERY} characters"
        raise wrong_field("body", sentence, "format")
    return words


# OpenAPI 3.1 has no word for the method QUERY, so the document mentions it in the description above.
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
async def create_model(
    request: Request, services: ServicesDep, caller: CanModel, body: ModelIn, key: IdempotencyKey
) -> ModelOut:
    """A model, and with `version` its first version."""
    values = body.model_dump(include=set(ModelFacts.model_fields))
    owner = body.owner or caller.username
    version = body.version.as_request() if body.version else None
    idempotent = IdempotentRequest.with_key("models.create", key, body.model_dump(exclude_unset=True))
    create = partial(services.catalogue.create, caller, owner, body.name, values, version, idempotent)
    listed = await run_registering(services, caller, version, create)
    if listed.is_new:
        target, visibility = listed.model.full_name, listed.model.visibility
        note(request, caller, "model.created", target, visibility=visibility)
        if listed.latest:
            note_version(request, caller, target, listed.latest)
    await services.fleet.refresh()
    return model_out(services, caller, listed, base_url(request))


@router.get(
    "/v1/models/{owner}/{name}",
    operation_id="models.get",
    summary="Get a model",
    responses=declared(401, 404),
)
async def get_model(
    request: Request, services: ServicesDep, caller: Caller, owner: str, name: str
) -> ModelOut:
    """One model with its newest version. An alias (MODEL_ALIASES) and `owner/name:version` mean their
    model."""
    return await _model_by_name(request, services, caller, f"{owner}/{name}")


@router.get(
    "/v1/models/{name}",
    operation_id="models.find",
    summary="Get a model by its bare name",
    responses=declared(401, 404),
)
async def find_model(request: Request, services: ServicesDep, caller: Caller, name: str) -> ModelOut:
    """A model by an alias or without its owner: your own of this name, or the only one."""
    return await _model_by_name(request, services, caller, name)


async def _model_by_name(request: Request, services: Services, caller: Principal, text: str) -> ModelOut:
    reference = await services.model_names.reference(caller, text)
    owner, _, name = reference.partition("/")
    listed = await run_sync(services.catalogue.get, caller, owner, name.partition(":")[0])
    return await _with_example(request, services, caller, listed)


async def _with_example(
    request: Request,
    services: Services,
    caller: Principal,
    listed: ListedModel,
    as_version: AsVersion = version_out,
) -> ModelOut:
    await services.fleet.refresh()
    model = model_out(services, caller, listed, base_url(request), as_version)
    model.default_example = await _example(request, services, listed.model)
    return model


async def _example(request: Request, services: Services, model: Model) -> PredictionOut | None:
    if model.default_example is None:
        return None
    try:
        prediction = await services.follower.glance(model.default_example)
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
    request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str, body: ModelPatch
) -> ModelOut:
    """Changes what is said of a model, and who may see it."""
    values = body.model_dump(exclude_unset=True, exclude={"weights_url"})
    if "visibility" in values and values["visibility"] is None:
        del values["visibility"]
    listed = await run_sync(services.catalogue.change, caller, owner, name, values)
    visibility = {"visibility": listed.model.visibility} if "visibility" in values else {}
    note(request, caller, "model.updated", listed.model.full_name, fields=sorted(values), **visibility)
    return await _with_example(request, services, caller, listed)


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
    return PlainTextResponse(services.catalogue.get(caller, owner, name).model.readme or "")


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
    listed = await run_sync(services.catalogue.get, caller, owner, name)
    example = await _example(request, services, listed.model)
    return PageOut(results=[example] if example else [])
