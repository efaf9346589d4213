"""How a model is served: which worker a prediction would go to and why, and loading it or letting it go."""

from typing import Annotated, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, CanModel, Services, ServicesDep
from app.api.model_commands import send_command
from app.api.problems import declared
from app.domain.errors import wrong_field
from app.domain.versions import Version
from app.events.model_commands import LOAD, PIN, UNLOAD, UNPIN
from app.services.people.access import Principal
from app.services.platform.fleet import Candidate

router = APIRouter(tags=["Models"], route_class=CheckedRoute)

Strategy = Literal["affinity", "least-loaded", "round-robin", "best-performance"]
Workers = Annotated[
    list[Annotated[str, Field(max_length=320)]] | None,
    Field(max_length=1_000, description="Names of workers, e.g. `cuda:0@host`; see `routing`."),
]
VersionId = Annotated[str, Query(description="A version's id; default: the newest.", max_length=64)]


class CandidateOut(BaseModel):
    """A live worker, best first. `score`: lower is better, null: out of the question. `seconds`: what one
    prediction of the version took it lately."""

    worker: str
    device_class: str
    score: float | None
    reason: str
    running: int
    waiting: int
    slots: int
    loaded: bool
    seconds: float | None


class RoutingOut(BaseModel):
    """Where a prediction of the version would go now. `candidates` are for the model's owner and
    operators."""

    version: str
    queue: str
    strategy: str
    reasons: list[str]
    candidates: list[CandidateOut] | None


class ModelCommandIn(BaseModel):
    """What to load, unload or pin, and where: every worker that could run it unless some are named."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}, {"workers": ["cpu@host"]}]})

    version: str = Field("", max_length=64, description="A version's id; default: the newest.")
    workers: Workers = None


class NamedModelIn(BaseModel):
    """Which model to load or unload, and where: every worker that could run it unless some are named."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"model": "gpt2"}, {"model": "ada/chat", "workers": ["cpu@host"]}]},
    )

    model: str = Field(
        max_length=300, description="`owner/name`, `owner/name:version`, an alias, or a bare name."
    )
    workers: Workers = None


class ModelCommandOut(BaseModel):
    """`asked`: the workers that got the command. What came of it: `serving` of the version."""

    version: str
    asked: list[str]


def _candidate(version: str, candidate: Candidate) -> CandidateOut:
    worker = candidate.worker
    return CandidateOut(
        worker=worker.pinned,
        device_class=worker.device_class,
        score=None if candidate.score is None else round(candidate.score, 6),
        reason=candidate.reason,
        running=worker.running,
        waiting=worker.waiting,
        slots=worker.slots,
        loaded=version in worker.loaded,
        seconds=worker.pace.get(version),
    )


@router.get(
    "/v1/models/{owner}/{name}/routing",
    operation_id="models.routing",
    summary="Where would a prediction go",
    responses=declared(401, 404, 422),
)
async def routing(
    services: ServicesDep,
    caller: Caller,
    owner: str,
    name: str,
    version: VersionId = "",
    strategy: Strategy | None = None,
) -> RoutingOut:
    """The queue that a prediction made now would wait in, by the version's strategy or another one, and each
    worker's score."""
    named = await run_sync(services.versions.get, caller, owner, name, version)
    trusted = caller.username == owner or caller.is_operator
    choice = await services.fleet.explain(named.id, named.config, strategy or "")
    return RoutingOut(
        version=named.id,
        queue=choice.queue,
        strategy=choice.strategy,
        reasons=list(choice.reasons),
        candidates=[_candidate(named.id, candidate) for candidate in choice.candidates] if trusted else None,
    )


@router.post(
    "/v1/models/{owner}/{name}/load",
    operation_id="models.load",
    summary="Load a model",
    status_code=202,
    responses=declared(401, 403, 404, 413, 415, 422),
)
async def load(
    request: Request,
    services: ServicesDep,
    caller: CanModel,
    owner: str,
    name: str,
    body: ModelCommandIn | None = None,
) -> ModelCommandOut:
    """Has workers load a version, so that its first prediction need not wait. An unhealthy one is tried at
    once; a worker that has it does nothing."""
    version = await _own_version(services, caller, owner, name, body)
    return await _send_command(request, services, caller, version, LOAD, body)


@router.post(
    "/v1/models/{owner}/{name}/unload",
    operation_id="models.unload",
    summary="Unload a model",
    status_code=202,
    responses=declared(401, 403, 404, 413, 415, 422),
)
async def unload(
    request: Request,
    services: ServicesDep,
    caller: CanModel,
    owner: str,
    name: str,
    body: ModelCommandIn | None = None,
) -> ModelCommandOut:
    """Has workers unload a version, pinned or not, once nothing of it runs or waits there. The next
    prediction loads it."""
    version = await _own_version(services, caller, owner, name, body)
    return await _send_command(request, services, caller, version, UNLOAD, body)


@router.post(
    "/models/load",
    operation_id="models.load.named",
    summary="Load a model by any of its names",
    status_code=202,
    responses=declared(401, 403, 404, 413, 415, 422),
)
async def load_named(
    request: Request, services: ServicesDep, caller: CanModel, body: NamedModelIn
) -> ModelCommandOut:
    """As `POST /v1/models/{owner}/{name}/load`."""
    version = await _named_version(services, caller, body.model)
    return await _send_command(request, services, caller, version, LOAD, body)


@router.post(
    "/models/unload",
    operation_id="models.unload.named",
    summary="Unload a model by any of its names",
    status_code=202,
    responses=declared(401, 403, 404, 413, 415, 422),
)
async def unload_named(
    request: Request, services: ServicesDep, caller: CanModel, body: NamedModelIn
) -> ModelCommandOut:
    """As `POST /v1/models/{owner}/{name}/unload`."""
    version = await _named_version(services, caller, body.model)
    return await _send_command(request, services, caller, version, UNLOAD, body)


@router.post(
    "/v1/models/{owner}/{name}/pin",
    operation_id="models.pin",
    summary="Keep a model loaded",
    status_code=202,
    responses=declared(401, 403, 404, 413, 415, 422),
)
async def pin(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    owner: str,
    name: str,
    body: ModelCommandIn | None = None,
) -> ModelCommandOut:
    """Has workers load a version, and neither evict nor unload it until it is unpinned, unloaded, or the
    worker stops. For longer than that, `pin` of the version's configuration. Administrators only: a pinned
    model keeps its memory from everybody else's."""
    caller.need_operator("pin a model")
    version = await _own_version(services, caller, owner, name, body)
    return await _send_command(request, services, caller, version, PIN, body)


@router.post(
    "/v1/models/{owner}/{name}/unpin",
    operation_id="models.unpin",
    summary="Let a model be unloaded again",
    status_code=202,
    responses=declared(401, 403, 404, 413, 415, 422),
)
async def unpin(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    owner: str,
    name: str,
    body: ModelCommandIn | None = None,
) -> ModelCommandOut:
    """The version stays loaded until its memory is needed, or it has been idle for long enough.
    Administrators only."""
    caller.need_operator("pin a model")
    version = await _own_version(services, caller, owner, name, body)
    return await _send_command(request, services, caller, version, UNPIN, body)


async def _own_version(
    services: Services, caller: Principal, owner: str, name: str, body: ModelCommandIn | None
) -> Version:
    version_id = body.version if body else ""
    return await run_sync(services.versions.get_own, caller, owner, name, version_id)


async def _named_version(services: Services, caller: Principal, model: str) -> Version:
    named = await services.model_names.runnable(caller, model)
    owner, _, name = named.model.partition("/")
    return await run_sync(services.versions.get_own, caller, owner, name, named.id)


async def _workers(
    services: Services, version: Version, body: ModelCommandIn | NamedModelIn | None
) -> list[str]:
    able = await services.fleet.able(version.config)
    if body is None or body.workers is None:
        return able
    if unable := [worker for worker in body.workers if worker not in able]:
        raise wrong_field("workers", f"'{unable[0]}' is no live worker that could run this version")
    return body.workers


async def _send_command(
    request: Request,
    services: Services,
    caller: Principal,
    version: Version,
    action: str,
    body: ModelCommandIn | NamedModelIn | None,
) -> ModelCommandOut:
    """To the workers that are asked for, or all that could run it."""
    workers = await _workers(services, version, body)
    await send_command(request, caller, version, action, workers)
    return ModelCommandOut(version=version.id, asked=workers)
