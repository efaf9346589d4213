"""Ollama's catalogue: which models there are, what one is, which are loaded, and the version."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import __version__
from app.api.deps import Services, caller_of, services_of
from app.api.model_calls.calls import open_call
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import Model as Reference
from app.api.ollama.errors import OllamaRoute, declared
from app.domain.models import Model
from app.domain.versions import Version
from app.services.catalogue.catalogue import ListedModel
from app.services.people.access import Principal

router = APIRouter(dependencies=[Depends(caller_of)], tags=["Ollama"], route_class=OllamaRoute)

MOST_MODELS = 1_000
# A loaded model has no end: it is let go when its memory is needed.
NO_END = timedelta(days=36_500)


class OllamaDetailsOut(BaseModel):
    """`family` is the runtime; sizes of parameters are not known."""

    parent_model: str = ""
    format: str = "safetensors"
    family: str
    families: list[str]
    parameter_size: str = ""
    quantization_level: str


class OllamaTagOut(BaseModel):
    """A model. `digest` is the id of its newest version; `size` its bytes where a worker has it loaded, else
    0."""

    name: str
    model: str
    modified_at: datetime
    size: int
    digest: str
    details: OllamaDetailsOut


class OllamaTagsOut(BaseModel):
    models: list[OllamaTagOut]


class OllamaLoadedOut(OllamaTagOut):
    """A model that a worker holds. `expires_at` is far away: it goes when its memory is needed."""

    expires_at: datetime
    size_vram: int


class OllamaLoadedListOut(BaseModel):
    models: list[OllamaLoadedOut]


class OllamaVersionOut(BaseModel):
    version: str


class OllamaShowIn(BaseModel):
    """Which model."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"model": "demo/words"}]})

    model: Reference | None = Field(None, examples=["demo/words"])
    name: Reference | None = Field(None, description="The same by its older name.")
    verbose: bool | None = Field(None, description="Changes nothing.")


class OllamaShowOut(BaseModel):
    """What a model is. `capabilities`: completion, vision, embedding; once a worker has loaded it, tools and
    thinking, where its chat template has them."""

    modelfile: str = ""
    parameters: str
    template: str = ""
    license: str
    modified_at: datetime
    details: OllamaDetailsOut
    model_info: dict[str, Any]
    capabilities: list[str]


@router.get(
    "/api/tags",
    operation_id="ollama.tags",
    summary="List models (Ollama)",
    response_model=None,
    responses={200: {"model": OllamaTagsOut}, **declared(401)},
)
async def tags(request: Request) -> Response:
    """The models that the key may see, newest first (1,000 at most)."""
    services, caller = services_of(request), await caller_of(request)
    listed, held = await run_sync(_listed_and_held, services, caller)
    models = [_tag(each.model, each.latest, held.get(each.latest.id, 0)) for each in listed if each.latest]
    return _respond(OllamaTagsOut(models=models))


@router.get(
    "/api/ps",
    operation_id="ollama.ps",
    summary="List loaded models (Ollama)",
    response_model=None,
    responses={200: {"model": OllamaLoadedListOut}, **declared(401)},
)
async def loaded(request: Request) -> Response:
    """Those of them whose newest version a live worker holds."""
    services, caller = services_of(request), await caller_of(request)
    listed, held = await run_sync(_listed_and_held, services, caller)
    end = datetime.now(UTC) + NO_END
    models = [
        OllamaLoadedOut(
            **_tag(each.model, each.latest, held[each.latest.id]).model_dump(),
            expires_at=end,
            size_vram=held[each.latest.id],
        )
        for each in listed
        if each.latest and each.latest.id in held
    ]
    return _respond(OllamaLoadedListOut(models=models))


@router.post(
    "/api/show",
    operation_id="ollama.show",
    summary="Show a model (Ollama)",
    response_model=None,
    responses={200: {"model": OllamaShowOut}, **declared(400, 401, 404, 413, 415)},
)
async def show(request: Request, body: OllamaShowIn) -> Response:
    """What a model is and can do."""
    name = body.model or body.name
    if not name:
        raise refused("model", "is required")
    call = await open_call(request, name)
    owner, _, short = call.version.model.partition("/")

    def read() -> tuple[ListedModel, Version]:
        listed = call.services.catalogue.get(call.caller, owner, short)
        return listed, call.services.versions.get(call.caller, owner, short, call.version.id)

    listed, version = await run_sync(read)
    return _respond(_shown(listed, version))


@router.get(
    "/api/version",
    operation_id="ollama.version",
    summary="The version (Ollama)",
    response_model=None,
    responses={200: {"model": OllamaVersionOut}, **declared(401)},
)
async def version() -> Response:
    """Lovage's own."""
    return _respond(OllamaVersionOut(version=__version__))


def _respond(answer: BaseModel) -> Response:
    return respond(200, json.loads(answer.model_dump_json()))


def _listed_and_held(services: Services, caller: Principal) -> tuple[list[ListedModel], dict[str, int]]:
    """The models that the caller may see, and the bytes of each version that a live worker has ready."""
    listed: list[ListedModel] = []
    cursor: str | None = None
    while len(listed) < MOST_MODELS:
        page = services.catalogue.page(caller, cursor=cursor)
        listed += page.results
        if (cursor := page.next) is None:
            break
    held: dict[str, int] = {}
    for worker in services.health.workers():
        for model in worker.models:
            if model.get("state") == "ready":
                held[model["version"]] = max(held.get(model["version"], 0), int(model.get("bytes") or 0))
    return listed, held


def _details(version: Version) -> OllamaDetailsOut:
    level = str(version.config.get("dtype") or "float32")
    return OllamaDetailsOut(family=version.runtime, families=[version.runtime], quantization_level=level)


def _tag(model: Model, version: Version, size: int) -> OllamaTagOut:
    """As Ollama's clients know a model: with a tag behind its name."""
    name = f"{model.full_name}:latest"
    return OllamaTagOut(
        name=name,
        model=name,
        modified_at=version.created_at,
        size=size,
        digest=version.id,
        details=_details(version),
    )


def _shown(listed: ListedModel, version: Version) -> OllamaShowOut:
    inputs = version.input_schema.get("properties", {})
    facts = {name: value for each in version.facts.values() for name, value in each.items()}
    can = {
        "completion": "prompt" in inputs or "messages" in inputs,
        "vision": "messages" in inputs and "images" in inputs,
        "embedding": version.runtime == "embedding",
        "tools": bool(facts.get("tools")),
        "thinking": bool(facts.get("thinking")),
    }
    info: dict[str, Any] = {
        "general.architecture": version.runtime,
        "general.basename": listed.model.full_name,
    }
    if context := facts.get("context_tokens"):
        info[f"{version.runtime}.context_length"] = context
    defaults = {name: schema["default"] for name, schema in inputs.items() if "default" in schema}
    return OllamaShowOut(
        parameters="\n".join(f"{name} {json.dumps(value)}" for name, value in defaults.items()),
        license=listed.model.license_url or "",
        modified_at=version.created_at,
        details=_details(version),
        model_info=info,
        capabilities=[name for name, has in can.items() if has],
    )
