"""Queues and workers, for administrators: what waits, who reads it; pause, resume, move, purge, drain."""

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep, note
from app.api.problems import declared
from app.api.rest.platform import WorkerOut, worker_out
from app.services.predictions.queues import QueueAct

router = APIRouter(tags=["Platform"], route_class=CheckedRoute)


class QueueStateOut(BaseModel):
    """A queue. `workers` read it. `paused_since` null: it is not paused."""

    queue: str
    waiting: int
    oldest_seconds: float | None
    workers: list[str]
    paused_since: datetime | None
    paused_by: str | None


class QueuesOut(BaseModel):
    """All in which something waits, that a worker reads, or that are paused."""

    results: list[QueueStateOut]


class WorkersOut(BaseModel):
    """The live ones. One without `queues` takes nothing new."""

    results: list[WorkerOut]


class MoveIn(BaseModel):
    """Where to."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"to": "cpu"}]})

    to: str = Field(max_length=200, description="A queue that a worker reads.")


class QueueActOut(BaseModel):
    """How many predictions it was about. `more`: others wait there still, send the same again."""

    count: int
    more: bool

    @classmethod
    def from_act(cls, act: QueueAct) -> "QueueActOut":
        return cls(count=act.count, more=act.more)


@router.get("/v1/queues", operation_id="queues.list", summary="List the queues", responses=declared(401, 403))
def list_queues(services: ServicesDep, caller: Caller) -> QueuesOut:
    """What waits where, since when, and who reads it. Administrators only."""
    states = services.operations.queues.list_queues(caller)
    return QueuesOut(results=[QueueStateOut.model_validate(each, from_attributes=True) for each in states])


@router.post(
    "/v1/queues/{queue}/pause",
    operation_id="queues.pause",
    summary="Pause a queue",
    status_code=204,
    responses=declared(401, 403, 404),
)
def pause_queue(request: Request, services: ServicesDep, caller: Caller, queue: str) -> None:
    """Within a second, no worker begins anything that waits in it; what is accepted waits there. What runs
    goes on. Administrators only."""
    services.operations.queues.pause(caller, queue)
    note(request, caller, "queue.paused", queue)


@router.post(
    "/v1/queues/{queue}/resume",
    operation_id="queues.resume",
    summary="Resume a queue",
    status_code=204,
    responses=declared(401, 403, 404),
)
def resume_queue(request: Request, services: ServicesDep, caller: Caller, queue: str) -> None:
    """Its workers go on with the oldest that waits. Administrators only."""
    services.operations.queues.resume(caller, queue)
    note(request, caller, "queue.resumed", queue)


@router.post(
    "/v1/queues/{queue}/move",
    operation_id="queues.move",
    summary="Move what waits in a queue to another",
    responses=declared(401, 403, 404, 409, 413, 415, 422),
)
def move_queue(
    request: Request, services: ServicesDep, caller: Caller, queue: str, body: MoveIn
) -> QueueActOut:
    """At most 1,000 at once, the oldest first. What its version pins to a worker stays, and so does, unless
    the other queue is of the same class of devices, what requires something of its device. Administrators
    only."""
    act = services.operations.queues.move(caller, queue, body.to)
    note(request, caller, "queue.moved", queue, to=body.to, count=act.count)
    return QueueActOut.from_act(act)


@router.post(
    "/v1/queues/{queue}/purge",
    operation_id="queues.purge",
    summary="Cancel what waits in a queue",
    responses=declared(401, 403, 404),
)
def purge_queue(request: Request, services: ServicesDep, caller: Caller, queue: str) -> QueueActOut:
    """At most 1,000 at once, the oldest first: each ends as `canceled`, with its webhook. What runs goes on.
    Administrators only."""
    act = services.operations.queues.purge(caller, queue)
    note(request, caller, "queue.purged", queue, count=act.count)
    return QueueActOut.from_act(act)


@router.get(
    "/v1/workers", operation_id="workers.list", summary="List the workers", responses=declared(401, 403)
)
def list_workers(services: ServicesDep, caller: Caller) -> WorkersOut:
    """The live ones, with their models. Administrators only."""
    live = services.operations.fleet.list_workers(caller)
    return WorkersOut(results=[worker_out(worker) for worker in live])


@router.post(
    "/v1/workers/{worker}/drain",
    operation_id="workers.drain",
    summary="Drain a worker",
    responses=declared(401, 403, 404, 409),
)
def drain_worker(request: Request, services: ServicesDep, caller: Caller, worker: str) -> WorkerOut:
    """`worker` is its id, or its name, such as `cuda:0@host`. Within a second it takes nothing new and hands
    back what it has not begun; what runs gets WORKER_GRACE_SECONDS and is then handed back, too. It lives on,
    idle, until it is resumed or started again. Administrators only."""
    drained = services.operations.fleet.drain(caller, worker)
    note(request, caller, "worker.drained", drained.name, worker=str(drained.id))
    return worker_out(drained)


@router.post(
    "/v1/workers/{worker}/resume",
    operation_id="workers.resume",
    summary="Have a drained worker go on",
    responses=declared(401, 403, 404, 409),
)
def resume_worker(request: Request, services: ServicesDep, caller: Caller, worker: str) -> WorkerOut:
    """It takes predictions again. Administrators only."""
    resumed = services.operations.fleet.resume(caller, worker)
    note(request, caller, "worker.resumed", resumed.name, worker=str(resumed.id))
    return worker_out(resumed)
