"""Backends, for administrators: what runs versions elsewhere, whether it answers, and what it serves as
models."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep, note
from app.api.problems import declared
from app.domain.backends import DEFAULT_CONCURRENCY, DEFAULT_SILENCE_SECONDS
from app.services.backends.connector import BackendTest
from app.services.backends.registry import ListedBackend
from app.services.backends.selection import Selection, choices_for, read_version, select
from app.services.backends.sync import SyncedModel, sync_models

router = APIRouter(tags=["Backends"], route_class=CheckedRoute)

Credential = Annotated[
    str | None,
    Field(max_length=4_096, pattern=r"^[!-~]*$", description="Sent as a bearer token; never shown again."),
]
Concurrency = Annotated[
    int, Field(ge=1, le=10_000, description="Most predictions that one gateway worker has there at once.")
]
Silence = Annotated[
    float, Field(gt=0, le=3_600, description="After so many seconds without a byte a call is given up.")
]
Url = Annotated[str, Field(max_length=2_048, examples=["http://127.0.0.1:11434"])]


class BackendIn(BaseModel):
    """A new backend."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "gpu", "kind": "openai", "url": "http://10.0.0.7:8000"}]},
    )

    name: str = Field(max_length=64, examples=["gpu"])
    kind: str = Field(max_length=32, examples=["openai"])
    url: Url
    credential: Credential = None
    options: dict[str, Any] = Field(default_factory=dict, description="The kind's own.")
    max_concurrency: Concurrency = DEFAULT_CONCURRENCY
    silence_seconds: Silence = DEFAULT_SILENCE_SECONDS


class BackendPatch(BaseModel):
    """What changes; fields that are left out stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"draining": True}]})

    url: Url | None = None
    credential: Credential = Field(None, description="An empty one is taken away.")
    options: dict[str, Any] | None = None
    max_concurrency: Concurrency | None = None
    silence_seconds: Silence | None = None
    draining: bool | None = Field(None, description="It is given nothing more; what runs there goes on.")

    @model_validator(mode="after")
    def something_changes(self) -> "BackendPatch":
        if all(value is None for value in self.__dict__.values()):
            raise ValueError("must change something: " + ", ".join(type(self).model_fields))
        return self


class SyncIn(BaseModel):
    """How what a backend serves becomes models."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"visibility": "public"}]})

    visibility: Literal["public", "private"] = "private"
    owner: str | None = Field(None, max_length=64, description="Of the models; default: the backend's name.")
    models: list[str] | None = Field(None, max_length=1_000, description="Only these of what it serves.")


class ServedModelOut(BaseModel):
    """A model, by the name that the backend has for it. 0: not known."""

    name: str
    task: str
    context_length: int = 0
    dimensions: int = 0


class BackendStatsOut(BaseModel):
    """What gateway workers say of it. `state` is healthy, degraded (some calls fail), open (a circuit breaker
    is: its model gets nothing for a while), unreachable, or unknown (no gateway worker runs). Counts are
    since the gateway workers' start, latencies in seconds of the last calls; `uptime` is the share of probes
    that were answered, `probed_at` the time of the last one; `models` are the states of the circuit
    breakers."""

    state: str
    reason: str
    in_flight: int
    waiting: int
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    latency_p50: float | None
    latency_p95: float | None
    uptime: float | None
    probed_at: datetime | None
    models: dict[str, str]


class BackendOut(BaseModel):
    """A backend. Its credential is never shown."""

    name: str
    kind: str
    url: str
    has_credential: bool
    options: dict[str, Any]
    max_concurrency: int
    silence_seconds: float
    draining: bool
    state: str
    served: list[ServedModelOut]
    served_at: datetime | None
    created_at: datetime
    updated_at: datetime


class BackendsOut(BaseModel):
    """All of them, by name."""

    results: list[BackendOut]


class BackendTestOut(BaseModel):
    """`error`: why it cannot be used, "" when it can."""

    ok: bool
    error: str
    seconds: float
    served: list[ServedModelOut]


class SyncedModelOut(BaseModel):
    """What became of one of its models. `error`: why it is not registered, "" when it is."""

    upstream: str
    model: str
    task: str
    version: str
    is_new: bool
    error: str


class SyncOut(BaseModel):
    """Each of the backend's models."""

    results: list[SyncedModelOut]


class BackendCandidateOut(BaseModel):
    """`score`: lower is better; null: it is out of the question now."""

    backend: str
    model: str
    state: str
    score: float | None
    reason: str


class SelectionOut(BaseModel):
    """`backend` is empty when none can have it now: then a prediction waits."""

    backend: str
    strategy: str
    candidates: list[BackendCandidateOut]


def selection_out(selection: Selection) -> SelectionOut:
    """The wire object."""
    candidates = [
        BackendCandidateOut(
            backend=each.facts.name,
            model=each.facts.model,
            state=each.facts.state,
            score=each.score,
            reason=each.reason,
        )
        for each in selection.candidates
    ]
    return SelectionOut(backend=selection.chosen, strategy=selection.strategy, candidates=candidates)


def backend_out(listed: ListedBackend) -> BackendOut:
    """The wire object."""
    backend = listed.backend
    own = set(BackendOut.model_fields) - {"has_credential", "state", "served"}
    return BackendOut(
        **{name: getattr(backend, name) for name in own},
        has_credential=backend.credential is not None,
        state=listed.report.state,
        served=[ServedModelOut.model_validate(each) for each in backend.served],
    )


def stats_out(listed: ListedBackend) -> BackendStatsOut:
    """The wire object of its figures."""
    report = listed.report
    uptime = round(1 - report.probes_failed / report.probes, 4) if report.probes else None
    probed_at = datetime.fromtimestamp(report.probed_at, UTC) if report.probed_at else None
    own = set(BackendStatsOut.model_fields) - {"uptime", "probed_at"}
    figures = {name: getattr(report, name) for name in own}
    return BackendStatsOut(**figures, uptime=uptime, probed_at=probed_at)


def backend_test_out(result: BackendTest) -> BackendTestOut:
    """The wire object."""
    served = [ServedModelOut.model_validate(each, from_attributes=True) for each in result.served]
    return BackendTestOut(
        ok=not result.error, error=result.error, seconds=round(result.seconds, 3), served=served
    )


@router.post(
    "/v1/backends",
    operation_id="backends.create",
    summary="Add a backend",
    status_code=201,
    responses=declared(401, 403, 409, 413, 415, 422),
)
def create_backend(request: Request, services: ServicesDep, caller: Caller, body: BackendIn) -> BackendOut:
    """A server that runs models elsewhere. Nothing is called yet. Administrators only."""
    values = body.model_dump(exclude={"name", "kind", "url"})
    listed = services.backends.registry.create(caller, body.name, body.kind, body.url, values)
    note(request, caller, "backend.created", body.name, kind=body.kind, url=body.url)
    return backend_out(listed)


@router.get(
    "/v1/backends", operation_id="backends.list", summary="List backends", responses=declared(401, 403)
)
def list_backends(services: ServicesDep, caller: Caller) -> BackendsOut:
    """All of them. Administrators only."""
    return BackendsOut(results=[backend_out(each) for each in services.backends.registry.list_all(caller)])


@router.get(
    "/v1/backends/select",
    operation_id="backends.select",
    summary="Which backend would have it",
    responses=declared(401, 403, 404, 422),
)
async def select_backend(
    services: ServicesDep,
    caller: Caller,
    task: Annotated[str, Query(max_length=64, description="Backends that serve this task.")] = "",
    model: Annotated[
        str, Query(max_length=300, description="A model of this platform, or what backends call one.")
    ] = "",
    strategy: Annotated[str, Query(max_length=32, description="Instead of the version's own.")] = "",
) -> SelectionOut:
    """Every candidate with its score, and why it was not chosen. Of a model of this platform, the backends
    that its version names; else all that serve the task or the model. Administrators only."""
    caller.need_operator("see and change backends")
    listed = await run_sync(services.backends.registry.list_all, caller)
    choices, own = choices_for(listed, task, model), ""
    if model and not choices:
        choices, own = read_version((await services.model_names.runnable(caller, model)).config)
    return selection_out(select(listed, choices, strategy or own))


@router.get(
    "/v1/backends/{name}",
    operation_id="backends.get",
    summary="Get a backend",
    responses=declared(401, 403, 404),
)
def get_backend(services: ServicesDep, caller: Caller, name: str) -> BackendOut:
    """One backend with what it serves. Administrators only."""
    return backend_out(services.backends.registry.get(caller, name))


@router.get(
    "/v1/backends/{name}/stats",
    operation_id="backends.stats",
    summary="How a backend does",
    responses=declared(401, 403, 404),
)
def backend_stats(services: ServicesDep, caller: Caller, name: str) -> BackendStatsOut:
    """Health, load, errors and latency, by the gateway workers' latest reports. Administrators only."""
    return stats_out(services.backends.registry.get(caller, name))


@router.patch(
    "/v1/backends/{name}",
    operation_id="backends.update",
    summary="Change a backend",
    responses=declared(401, 403, 404, 413, 415, 422),
)
def update_backend(
    request: Request, services: ServicesDep, caller: Caller, name: str, body: BackendPatch
) -> BackendOut:
    """Gateway workers know it within seconds. Administrators only."""
    values = body.model_dump(exclude_none=True)
    listed = services.backends.registry.change(caller, name, values)
    changed = ", ".join(sorted(values))
    note(request, caller, "backend.updated", name, changed=changed)
    return backend_out(listed)


@router.delete(
    "/v1/backends/{name}",
    operation_id="backends.delete",
    summary="Remove a backend",
    status_code=204,
    responses=declared(401, 403, 404),
)
def delete_backend(request: Request, services: ServicesDep, caller: Caller, name: str) -> None:
    """Its models stay; their predictions wait until a backend of this name is there again. Administrators
    only."""
    services.backends.registry.remove(caller, name)
    note(request, caller, "backend.deleted", name)


@router.post(
    "/v1/backends/{name}/test",
    operation_id="backends.test",
    summary="Try a backend out",
    responses=declared(401, 403, 404),
)
async def test_backend(services: ServicesDep, caller: Caller, name: str) -> BackendTestOut:
    """Calls it from the API's machine: does it answer, and what does it serve? Administrators only."""
    listed = await run_sync(services.backends.registry.get, caller, name)
    result = await services.backends.try_out(listed.backend)
    if not result.error:
        await run_sync(services.backends.registry.set_served, name, result.served)
    return backend_test_out(result)


@router.post(
    "/v1/backends/{name}/sync",
    operation_id="backends.sync",
    summary="Register what a backend serves",
    responses=declared(401, 403, 404, 413, 415, 422, 503),
)
async def sync_backend(
    request: Request, services: ServicesDep, caller: Caller, name: str, body: SyncIn
) -> SyncOut:
    """Each of its models becomes a model here, or a version of the one that is there. Administrators only."""
    caller.need_operator("see and change backends")
    listed = await run_sync(services.backends.registry.get, caller, name)
    served = await services.backends.discover(listed.backend, body.models)

    def register() -> list[SyncedModel]:
        backend = services.backends.registry.set_served(name, served)
        chosen = [each for each in served if body.models is None or each.name in body.models]
        return sync_models(
            services.catalogue,
            services.versions,
            caller,
            backend,
            chosen,
            owner=body.owner or name,
            visibility=body.visibility,
        )

    synced = await run_sync(register)
    note(request, caller, "backend.synced", name, models=len(synced))
    return SyncOut(results=[SyncedModelOut.model_validate(each, from_attributes=True) for each in synced])
