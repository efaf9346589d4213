"""Peers, for administrators: the platforms that run this one's predictions, and whose predictions run
here."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep
from app.api.problems import declared
from app.services.backends.peers import PeerOverview

router = APIRouter(tags=["Backends"], route_class=CheckedRoute)


class PeerModelOut(BaseModel):
    """A model that a peer offers. `version` is the hash of its content."""

    name: str
    version: str
    task: str
    streams: bool


class PeerOut(BaseModel):
    """A peer. `running` of at most `limit` predictions of its peers run there, `in_flight` of them are this
    platform's. `calls` and `failures` are since the peer process's start; `silent_seconds` since it last said
    what it can do, null: not since something went wrong."""

    id: str
    name: str
    state: Literal["reachable", "unreachable"]
    addresses: list[str]
    models: list[PeerModelOut]
    running: int
    limit: int
    in_flight: int
    calls: int
    failures: int
    last_failure: str
    silent_seconds: float | None


class PeersOut(BaseModel):
    """This platform's own peer, and those that it knows. `id` is empty while no peer process runs beside this
    API process: `error` says why. `offers` are the models that peers may use, `limit` 0: it only asks."""

    id: str = ""
    name: str = ""
    error: str = ""
    addresses: list[str] = Field(default_factory=list)
    offers: list[str] = Field(default_factory=list)
    running: int = 0
    limit: int = 0
    results: list[PeerOut] = Field(default_factory=list)


def peers_out(overview: PeerOverview) -> PeersOut:
    """The wire object."""
    values = dict(overview.values)
    return PeersOut.model_validate({**values, "error": overview.error, "results": values.pop("peers", [])})


@router.get("/v1/peers", operation_id="peers.list", summary="List peers", responses=declared(401, 403))
async def list_peers(services: ServicesDep, caller: Caller) -> PeersOut:
    """As this machine's peer process knows them now. Administrators only."""
    return peers_out(await services.backends.peers.describe(caller))
