"""How a model is served: which worker a prediction would go to, and why."""

from typing import Annotated, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, Lovage
from app.api.problems import declared
from app.db.tables import VersionRow
from app.services.access import Principal
from app.services.catalogue import Catalogue
from app.services.fleet import Candidate

router = APIRouter(tags=["Models"], route_class=CheckedRoute)

Strategy = Literal["affinity", "least-loaded", "round-robin", "best-performance"]
VersionId = Annotated[str, Query(description="A version's id; default: the newest.", max_length=64)]


class CandidateOut(BaseModel):
    """A live worker, best first. `score`: lower is better, null: out of the question. `seconds`: what one prediction of the
    version took it lately."""

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
    """Where a prediction of the version would go now. `candidates` are for the model's owner and operators."""

    version: str
    queue: str
    strategy: str
    reasons: list[str]
    candidates: list[CandidateOut] | None


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


def wanted_version(catalogue: Catalogue, caller: Principal, owner: str, name: str, version: str) -> VersionRow:
    """The version that is named, else the model's newest. Raises NotFound."""
    return catalogue.version(caller, owner, name, version) if version else catalogue.newest(caller, owner, name)


@router.get(
    "/v1/models/{owner}/{name}/routing",
    operation_id="models.routing",
    summary="Where would a prediction go",
    responses=declared(401, 404, 422),
)
async def routing(
    services: Lovage, caller: Caller, owner: str, name: str, version: VersionId = "", strategy: Strategy | None = None
) -> RoutingOut:
    """The queue that a prediction made now would wait in, by the version's strategy or another one, and each worker's score."""
    row = await run_sync(wanted_version, services.catalogue, caller, owner, name, version)
    trusted = caller.username == owner or caller.is_operator
    choice = await services.assembly.fleet.explain(row.id, row.config, strategy or "")
    return RoutingOut(
        version=row.id,
        queue=choice.queue,
        strategy=choice.strategy,
        reasons=list(choice.reasons),
        candidates=[_candidate(row.id, one) for one in choice.candidates] if trusted else None,
    )
