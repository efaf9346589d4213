"""The platform itself: what this is, whether it works, what it runs on."""

from datetime import datetime
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app import __version__
from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep, base_url, caller_of
from app.api.problems import declared
from app.domain.errors import Unauthenticated
from app.domain.queue_counts import QueueCount
from app.domain.workers import Worker
from app.services.people.access import Principal

router = APIRouter(tags=["Platform"])
checked = APIRouter(tags=["Platform"], route_class=CheckedRoute)
PUBLIC: dict[str, Any] = {"security": []}
FAULT: dict[int | str, dict[str, Any]] = {
    500: declared()[500]
}  # all that a probe can meet: probes are never limited
LINES = {"text/plain": {"schema": {"type": "string"}}}  # with `verbose`
PROBE = {**FAULT, 200: {"content": LINES}, 422: declared(422)[422]}  # `verbose` may be too long


Verbose = Annotated[
    str | None, Query(max_length=5, description="Whatever its value: plain text, a line for each check.")
]


class IndexOut(BaseModel):
    """What answers here, and where to read on."""

    name: str
    version: str
    links: dict[str, str]


class HealthOut(BaseModel):
    """The process answers."""

    status: str
    version: str


class ReadyOut(BaseModel):
    """`checks` says `ok`, or what is wrong, of each part; `workers` names the live ones."""

    status: str
    checks: dict[str, str]
    workers: list[str]


class HardwareOut(BaseModel):
    """One kind of device that live workers have. `sku` is its class; memory in bytes of each, the CPU's being
    the machine's. `versions_loaded` and `versions_unhealthy` are numbers of versions over these workers,
    `loaded_bytes` what they take."""

    sku: str
    name: str
    workers: int
    total_bytes: int
    capability: str
    driver: str
    slots: int
    running: int
    versions_loaded: int
    versions_unhealthy: int
    loaded_bytes: int


class QueueOut(BaseModel):
    """Predictions that wait in one queue."""

    queue: str
    waiting: int
    oldest_seconds: float


class WorkerOut(BaseModel):
    """A live worker (operators only)."""

    id: str
    host: str
    device: str
    device_class: str
    device_facts: dict[str, Any]
    queues: list[str]
    slots: int
    running: int
    models: list[dict[str, Any]]
    started_at: datetime
    seen_at: datetime


class StatusOut(BaseModel):
    """What the fleet is doing. Predictions are `waiting` in queues, `claimed` by a worker that loads their
    model or has others in hand, or `running`. `features`: the parts of the API, and whether they are on.
    `queues`, `workers`
    and `backends` (their states, by name) are for operators: a credential with the scope admin."""

    version: str
    live_workers: int
    devices: dict[str, int]
    features: dict[str, bool]
    waiting: int
    claimed: int
    running: int
    models_loaded: int
    queues: list[QueueOut] | None = None
    workers: list[WorkerOut] | None = None
    backends: dict[str, str] | None = None


class SettingOut(BaseModel):
    """`origin` is `default`, `environment`, `.env`, or the file that holds it. The value of a secret one is
    `(set)`, or empty; of a URL only the password is hidden."""

    name: str
    value: str
    origin: str
    description: str


class SettingsOut(BaseModel):
    """All of them."""

    results: list[SettingOut]


@router.get(
    "/",
    operation_id="platform.index",
    summary="What this is",
    responses={**FAULT, 422: declared(422)[422]},
    openapi_extra=PUBLIC,
)
def index(request: Request) -> IndexOut:
    """Name, version and links."""
    base = base_url(request)
    paths = {
        "docs": "/docs",
        "reference": "/redoc",
        "openapi": "/openapi.json",
        "health": "/health",
        "ready": "/ready",
    }
    links = {
        name: base + path for name, path in {**paths, "status": "/status", "models": "/v1/models"}.items()
    }
    return IndexOut(name="Lovage", version=__version__, links=links)


@router.get(
    "/health",
    operation_id="platform.health",
    summary="Does the process answer",
    response_model=HealthOut,
    responses=PROBE,
    openapi_extra=PUBLIC,
)
@router.get(
    "/livez",
    operation_id="platform.livez",
    summary="Does the process answer",
    response_model=HealthOut,
    responses=PROBE,
    openapi_extra=PUBLIC,
)
async def health(verbose: Verbose = None) -> Any:
    """Always 200 while the process answers: a part that is down is no reason to restart this one."""
    if verbose is not None:
        return as_lines("livez", {"process": "ok"}, passed=True)
    return HealthOut(status="ok", version=__version__)


def as_lines(name: str, checks: dict[str, str], *, passed: bool) -> PlainTextResponse:
    """As Kubernetes' own probes answer people: a line for each check."""
    lines = [f"[{'+' if result == 'ok' else '-'}]{part} {result}" for part, result in checks.items()]
    lines.append(f"{name} check {'passed' if passed else 'failed'}")
    return PlainTextResponse("\n".join(lines) + "\n", 200 if passed else 503, {"Cache-Control": "no-store"})


AWAY = {"model": ReadyOut, "content": LINES, "description": "A part is away; `checks` names it."}


@router.get(
    "/readyz",
    operation_id="platform.readyz",
    summary="Would a prediction be accepted now",
    response_model=ReadyOut,
    responses={**PROBE, 503: AWAY},
    openapi_extra=PUBLIC,
)
@router.get(
    "/ready",
    operation_id="platform.ready",
    summary="Would a prediction be accepted now",
    response_model=ReadyOut,
    responses={**PROBE, 503: AWAY},
    openapi_extra=PUBLIC,
)
def readiness(request: Request, services: ServicesDep, verbose: Verbose = None) -> Response:
    """Tries the database, Redis and the workers' heartbeats. Without a worker predictions wait: `checks` says
    so, and it is no 503.

    A process that is about to stop says 503 with `process` among the checks, while it still answers
    everything.
    """
    result = services.health.readiness()
    if request.app.state.leaving.begun:
        result.checks["process"] = "is about to end"
    ready = result.ready
    if verbose is not None:
        return as_lines("readyz", result.checks, passed=ready)
    body = ReadyOut(status="ready" if ready else "unavailable", checks=result.checks, workers=result.workers)
    headers = {"Cache-Control": "no-store"} | ({} if ready else {"Retry-After": "2"})
    return JSONResponse(body.model_dump(), 200 if ready else 503, headers)


@router.get(
    "/status",
    operation_id="platform.status",
    summary="What the fleet does",
    responses=declared(),
    openapi_extra=PUBLIC,
)
async def status(request: Request, services: ServicesDep) -> StatusOut:
    """Totals for everybody; queues, workers and their models for operators."""
    operator = await _operator(request)
    backends = await run_sync(services.backends.registry.list_all, operator) if operator else None
    census = await run_sync(services.health.census)
    live = census.workers
    return StatusOut(
        version=__version__,
        live_workers=len(live),
        devices=_devices(live),
        features=request.app.state.features,
        waiting=census.waiting,
        claimed=census.claimed,
        running=census.running,
        models_loaded=sum(len(worker.loaded_models) for worker in live),
        queues=[_queue(count) for count in census.queues] if operator else None,
        workers=[worker_out(worker) for worker in live] if operator else None,
        backends=None if backends is None else {each.backend.name: each.report.state for each in backends},
    )


async def _operator(request: Request) -> Principal | None:
    try:
        caller = await caller_of(request)
    except Unauthenticated:
        return None
    return caller if caller.is_operator else None


def _queue(count: QueueCount) -> QueueOut:
    return QueueOut.model_validate(count, from_attributes=True)


def _devices(live: list[Worker]) -> dict[str, int]:
    classes = [worker.device_class for worker in live]
    return {name: classes.count(name) for name in sorted(set(classes))}


def worker_out(worker: Worker) -> WorkerOut:
    """The wire object."""
    values = {name: getattr(worker, name) for name in WorkerOut.model_fields if name != "id"}
    return WorkerOut(id=str(worker.id), **values)


@checked.get(
    "/v1/settings",
    operation_id="settings.list",
    summary="List the settings",
    responses=declared(401, 403),
)
def settings(services: ServicesDep, caller: Caller) -> SettingsOut:
    """How the process that answers is set up, and whence. Administrators only."""
    caller.need_operator("see the settings")
    shown = services.options.shown_settings
    return SettingsOut(results=[SettingOut.model_validate(each, from_attributes=True) for each in shown])


@checked.get(
    "/v1/hardware",
    operation_id="hardware.list",
    summary="List hardware",
    responses=declared(401),
    tags=["Models"],
)
def hardware(services: ServicesDep, caller: Caller) -> list[HardwareOut]:
    """The devices of the live workers."""
    kinds: dict[tuple[str, str], list[Worker]] = {}
    for worker in services.health.workers():
        name = str(worker.device_facts.get("name") or worker.device_class)
        kinds.setdefault((worker.device_class, name), []).append(worker)
    return [_kind(sku, name, workers) for (sku, name), workers in sorted(kinds.items())]


def _kind(sku: str, name: str, workers: list[Worker]) -> HardwareOut:
    facts, models = workers[0].device_facts, [model for worker in workers for model in worker.models]
    states = [model["state"] for model in models]
    return HardwareOut(
        sku=sku,
        name=name,
        workers=len(workers),
        total_bytes=int(facts.get("total_bytes") or 0),
        capability=str(facts.get("capability") or ""),
        driver=str(facts.get("driver") or ""),
        slots=sum(worker.slots for worker in workers),
        running=sum(worker.running for worker in workers),
        versions_loaded=states.count("ready"),
        versions_unhealthy=states.count("unhealthy"),
        loaded_bytes=sum(int(model.get("bytes") or 0) for model in models),
    )


router.routes.extend(checked.routes)
