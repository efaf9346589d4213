"""The runtimes that the fleet's workers can run, built in or found in their folders."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep
from app.api.problems import declared

router = APIRouter(tags=["Models"], route_class=CheckedRoute)

Word = Annotated[str, Query(max_length=200)]


class RuntimeOut(BaseModel):
    """A runtime; with `error`, a file that should hold one and does not (its name is empty). No `hardware`:
    any.

    `origin` is `built-in`, a plug-in, or the file: for operators with its path, as is the error's text.
    """

    name: str
    description: str
    tasks: list[str]
    hardware: list[str]
    model_id: str
    architecture: str
    streams: bool
    needs_source: bool
    origin: str
    error: str
    metadata: dict[str, Any]


class RuntimesOut(BaseModel):
    """All of them: there are few."""

    results: list[RuntimeOut]


@router.get(
    "/v1/runtimes", operation_id="runtimes.list", summary="List runtimes", responses=declared(401, 422)
)
def list_runtimes(
    services: ServicesDep, caller: Caller, task: Word = "", hardware: Word = "", query: Word = ""
) -> RuntimesOut:
    """What can run models here. `task` and `hardware` (a device class, such as cpu or cuda) are exact; every
    word of `query` must stand in the name, the description or the metadata."""
    entries = services.runtimes.find(task=task, hardware=hardware, query=query, whole=caller.is_operator)
    return RuntimesOut(results=[RuntimeOut.model_validate(asdict(entry)) for entry in entries])
