"""Health, metadata and the repository of the protocol: what is served, what of it is ready, loading it."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app import __version__
from app.api.deps import Services, caller_of, services_of
from app.api.model_calls.calls import Call
from app.api.model_calls.edge_route import respond
from app.api.model_commands import send_command
from app.api.oip.calls import open_model_call
from app.api.oip.errors import OipErrorOut, OipRoute, declared
from app.api.oip.wire import (
    IndexedModelOut,
    LiveOut,
    LoadIn,
    ModelReadyOut,
    RepositoryIn,
    ServerOut,
    TensorModelOut,
    TensorReadyOut,
)
from app.domain.tensor_signature import TensorMetadata, describe_inputs, describe_outputs
from app.domain.versions import Version
from app.events.model_commands import LOAD, UNLOAD
from app.services.people.access import Principal

router = APIRouter(tags=["OIP"], route_class=OipRoute)
KNOWN = [Depends(caller_of)]
PUBLIC: dict[str, Any] = {"security": []}
FAULT: dict[int | str, dict[str, Any]] = {500: declared()[500]}  # probes are never limited
EXTENSIONS = ["binary_tensor_data", "generate", "model_repository", "model_repository(unload_dependents)"]
MOST_MODELS = 1_000
SERVED = ("loaded", "unloaded")  # states of a version that predictions of it will run


@router.get(
    "/v2/health/live",
    operation_id="oip.live",
    summary="Does the process answer (OIP)",
    response_model=None,
    responses={200: {"model": LiveOut}, **FAULT},
    openapi_extra=PUBLIC,
)
async def live() -> Response:
    """It does."""
    return respond(200, {"live": True})


@router.get(
    "/v2/health/ready",
    operation_id="oip.ready",
    summary="Can predictions be made and run (OIP)",
    response_model=None,
    responses={
        200: {"model": TensorReadyOut},
        503: {"model": TensorReadyOut, "description": "Not now."},
        **FAULT,
    },
    openapi_extra=PUBLIC,
)
async def ready(request: Request) -> Response:
    """Whether Postgres and Redis answer and a worker lives; 503 where not."""
    readiness = await run_sync(services_of(request).health.readiness)
    is_ready = all(state == "ok" for state in readiness.checks.values())
    return respond(200 if is_ready else 503, {"ready": is_ready})


@router.get(
    "/v2",
    dependencies=KNOWN,
    operation_id="oip.metadata",
    summary="What serves (OIP)",
    response_model=None,
    responses={200: {"model": ServerOut}, **declared(401)},
)
async def metadata() -> Response:
    """Name, version and extensions of the protocol."""
    return respond(200, {"name": "lovage", "version": __version__, "extensions": EXTENSIONS})


async def model_ready(request: Request, model: str, version: str = "") -> Response:
    """Whether a worker has the model, or could load it; a 503 says that none could."""
    call = await open_model_call(request, model, version)
    serving = await run_sync(call.services.fleet.serving, call.version.id, call.version.config)
    is_ready = serving.status in SERVED
    return respond(200 if is_ready else 503, {"name": model, "ready": is_ready})


async def model_metadata(request: Request, model: str, version: str = "") -> Response:
    """The model's tensors, by its schemas. `platform` names its runtime."""
    call = await open_model_call(request, model, version)
    described = await run_sync(_version_of, call)
    answer = {
        "name": model,
        "versions": [described.id],
        "platform": f"lovage_{described.runtime}",
        "inputs": list(map(_as_json, describe_inputs(described.input_schema))),
        "outputs": list(map(_as_json, describe_outputs(described.output_schema, streams=described.streams))),
    }
    return respond(200, answer)


def _version_of(call: Call) -> Version:
    owner, _, name = call.version.model.partition("/")
    return call.services.versions.get(call.caller, owner, name, call.version.id)


def _as_json(tensor: TensorMetadata) -> dict[str, Any]:
    shown = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    return {**shown, "parameters": {"optional": True}} if tensor.optional else shown


@router.post(
    "/v2/repository/index",
    dependencies=KNOWN,
    operation_id="oip.repository.index",
    summary="List models (OIP)",
    response_model=None,
    responses={200: {"model": list[IndexedModelOut]}, **declared(400, 401, 413, 415)},
)
async def index(request: Request, body: RepositoryIn | None = None) -> Response:
    """The models that the key may see, newest first (1,000 at most). READY: a live worker has it."""
    wish = body or RepositoryIn()
    wish.check()
    services, caller = services_of(request), await caller_of(request)
    models = await run_sync(_list_models, services, caller)
    return respond(200, [model for model in models if model["state"] == "READY" or not wish.ready])


def _list_models(services: Services, caller: Principal) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = []
    cursor: str | None = None
    while len(listed) < MOST_MODELS:
        page = services.catalogue.page(caller, cursor=cursor)
        listed += [
            _indexed(services, each.model.full_name, each.latest) for each in page.results if each.latest
        ]
        if (cursor := page.next) is None:
            break
    return listed


def _indexed(services: Services, name: str, version: Version) -> dict[str, str]:
    serving = services.fleet.serving(version.id, version.config)
    is_ready = serving.status == "loaded"
    reason = "" if is_ready else serving.reason or serving.status
    state = "READY" if is_ready else "UNAVAILABLE"
    return {"name": name, "version": version.id, "state": state, "reason": reason}


@router.post(
    "/v2/repository/models/{model:path}/load",
    dependencies=KNOWN,
    operation_id="oip.repository.load",
    summary="Load a model (OIP)",
    response_model=None,
    responses={200: {"description": "Workers load it."}, **declared(400, 401, 403, 404, 413, 415)},
)
async def load(request: Request, model: str, body: LoadIn | None = None) -> Response:
    """Has every worker that could run the model's newest version load it; its owner's to say."""
    return await _send_command(request, model, body, LOAD)


@router.post(
    "/v2/repository/models/{model:path}/unload",
    dependencies=KNOWN,
    operation_id="oip.repository.unload",
    summary="Unload a model (OIP)",
    response_model=None,
    responses={200: {"description": "Workers let it go."}, **declared(400, 401, 403, 404, 413, 415)},
)
async def unload(request: Request, model: str, body: LoadIn | None = None) -> Response:
    """Has workers unload it once nothing of it runs or waits there; the next prediction loads it."""
    return await _send_command(request, model, body, UNLOAD)


async def _send_command(request: Request, model: str, body: LoadIn | None, action: str) -> Response:
    (body or LoadIn()).check()
    services, caller = services_of(request), await caller_of(request)
    caller.need("models")
    call = await open_model_call(request, model)
    owner, _, name = call.version.model.partition("/")
    version = await run_sync(services.versions.get_own, caller, owner, name, call.version.id)
    await send_command(request, caller, version, action, await services.fleet.able(version.config))
    return respond(200, {})


READY: dict[int | str, dict[str, Any]] = {
    200: {"model": ModelReadyOut},
    503: {"model": ModelReadyOut | OipErrorOut, "description": "Not now, or not known."},
}
METADATA: dict[int | str, dict[str, Any]] = {200: {"model": TensorModelOut}}
# The longer addresses first: a model's name may hold a slash.
for _path, _endpoint, _operation, _answers, _summary in (
    ("/versions/{version}/ready", model_ready, "oip.version.ready", READY, "Can a version run (OIP)"),
    ("/ready", model_ready, "oip.model.ready", READY, "Can a model run (OIP)"),
    (
        "/versions/{version}",
        model_metadata,
        "oip.version.metadata",
        METADATA,
        "A version's tensors (OIP)",
    ),
    ("", model_metadata, "oip.model.metadata", METADATA, "A model's tensors (OIP)"),
):
    router.add_api_route(
        "/v2/models/{model:path}" + _path,
        _endpoint,
        methods=["GET"],
        dependencies=KNOWN,
        operation_id=_operation,
        summary=_summary,
        response_model=None,
        responses=declared(400, 401, 403, 404) | _answers,
    )
