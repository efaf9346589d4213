"""How a model is served: which worker a prediction would go to and why, and loading it or letting it go."""

from typing import Annotated, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, CanModel, Services, ServicesDep, note
from app.api.problems import declared
from app.db.tables import VersionRow
from app.domain.errors import Unavailable, wrong_field
from app.events.model_commands import LOAD, UNLOAD
from app.services.catalogue.catalogue import Catalogue
from app.services.people.access import Principal
from app.services.platform.fleet import Candidate

router = APIRouter(tags=["Models"], route_class=CheckedRoute)

Strategy = Literal["affinity", "least-loaded", "round-robin", "best-performance"]
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


class OrderIn(BaseModel):
    """What to load or unload, and where: every worker that could run it unless some are named."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}, {"workers": ["cpu@host"]}]})

    version: str = Field("", max_length=64, description="A version's id; default: the newest.")
    workers: list[Annotated[str, Field(max_length=320)]] | None = Field(
        None, max_length=1_000, description="Names of workers, e.g. `cuda:0@host`; see `routing`."
    )


class OrderOut(BaseModel):
    """`asked`: the workers that were told. What came of it: `serving` of the version."""

    version: str
    asked: list[str]


def _candidate(version: str, one: Candidate) -> CandidateOut:
    worker = one.worker
    return CandidateOut(
        worker=worker.pinned,
        device_class=worker.device_class,
        score=None if one.score is None else round(one.score, 6),
        reason=one.reason,
        running=worker.running,
        waiting=worker.waiting,
        slots=worker.slots,
        loaded=version in worker.loaded,
        seconds=worker.pace.get(version),
    )


def wanted_version(
    catalogue: Catalogue, caller: Principal, owner: str, name: str, version: str
) -> VersionRow:
    """The version that is named, else the model's newest. Raises NotFound."""
    return (
        catalogue.version(caller, owner, name, version) if version else catalogue.newest(caller, owner, name)
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
    row = await run_sync(wanted_version, services.catalogue, caller, owner, name, version)
    trusted = caller.username == owner or caller.is_operator
    choice = await services.fleet.explain(row.id, row.config, strategy or "")
    return RoutingOut(
        version=row.id,
        queue=choice.queue,
        strategy=choice.strategy,
        reasons=list(choice.reasons),
        candidates=[_candidate(row.id, one) for one in choice.candidates] if trusted else None,
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
    wanted: OrderIn | None = None,
) -> OrderOut:
    """Tells workers to load a version, so that its first prediction need not wait. An unhealthy one is tried
    at once; a worker that has it does nothing."""
    row = await run_sync(
        services.catalogue.own_version, caller, owner, name, wanted.version if wanted else ""
    )
    workers = await _workers(services, row, wanted)
    if not workers:
        raise Unavailable("No live worker could run this version.", retry_after=5)
    return await _told(request, services, caller, row, LOAD, workers)


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
    wanted: OrderIn | None = None,
) -> OrderOut:
    """Tells workers to unload a version, pinned or not, once nothing of it runs or waits there. The next
    prediction loads it."""
    row = await run_sync(
        services.catalogue.own_version, caller, owner, name, wanted.version if wanted else ""
    )
    return await _told(request, services, caller, row, UNLOAD, await _workers(services, row, wanted))


async def _workers(services: Services, row: VersionRow, wanted: OrderIn | None) -> list[str]:
    able = await services.fleet.able(row.config)
    if wanted is None or wanted.workers is None:
        return able
    if strange := [one for one in wanted.workers if one not in able]:
        raise wrong_field("workers", f"'{strange[0]}' is no live worker that could run this version")
    return wanted.workers


async def _told(
    request: Request, services: Services, caller: Principal, row: VersionRow, act: str, workers: list[str]
) -> OrderOut:
    if workers:
        await run_sync(services.model_commands.publish, act, row.id, workers)
        note(request, caller, f"version.{act}", row.id, workers=workers)
    return OrderOut(version=row.id, asked=workers)
