"""Sessions with a worker, for clients that call it by gRPC."""

from datetime import UTC, datetime
from typing import Annotated, Literal, cast

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import CanPredict, ServicesDep
from app.api.problems import declared
from app.domain.worker_sessions import Requirements
from app.services.platform.worker_sessions import WorkerSessions

router = APIRouter(tags=["Predictions"], route_class=CheckedRoute)


class RequirementsIn(BaseModel):
    """Beside what the version itself requires."""

    model_config = ConfigDict(extra="forbid")

    device: Annotated[str, Field(max_length=320, description="A class (cuda) or a device (cuda:0@host).")] = (
        ""
    )
    memory_bytes: int = Field(0, ge=0, le=2**53, description="Of the device.")
    task: str = Field("", max_length=100, description="What the model must be for; refused where it isn't.")


class SessionIn(BaseModel):
    """Which model is to be called."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"model": "demo/minilm", "affinity": "user-7"}]}
    )

    model: str = Field(
        min_length=1, max_length=300, description="`owner/name`, `owner/name:version`, an alias, a bare name."
    )
    requirements: RequirementsIn = RequirementsIn()
    affinity: str = Field(
        "",
        max_length=200,
        description="The same key leads to the same worker while it is there and has capacity.",
    )
    exclude: Annotated[
        list[Annotated[str, Field(max_length=320)]],
        Field(
            max_length=100,
            description="`worker` of sessions whose worker did not answer: passed over while another fits.",
        ),
    ] = []
    records: Literal["sync", "async"] = Field(
        "sync",
        description="When calls are recorded. `sync`: before they run, and their ends before they are"
        " answered. `async`: within a second of both; what is not recorded yet is lost with a worker that is"
        " killed.",
    )


class SessionOut(BaseModel):
    """Call `address` by gRPC with the metadata `authorization: Bearer <token>`, until `expires_at`; then, or
    when the worker does not answer, ask for another session."""

    address: str
    tls: Literal["none", "server", "mutual"] = Field(
        description="What the worker speaks there. `mutual`: the client needs a certificate, too."
    )
    certificate_sha256: str | None = Field(
        description="Of the certificate (DER) that the worker shows, in hex: a client that compares it need"
        " not know its authority. Null in plaintext."
    )
    token: str
    expires_at: datetime
    worker: str
    model: str
    version: str


@router.post(
    "/v1/sessions",
    operation_id="sessions.create",
    summary="Call a worker itself",
    status_code=201,
    responses=declared(401, 403, 404, 413, 415, 422, 429),
)
async def create_session(services: ServicesDep, caller: CanPredict, body: SessionIn) -> SessionOut:
    """A worker that runs the model and takes calls by gRPC (`GRPC_PORT`), and a token for it, for 15 minutes
    and this model alone."""
    version = await services.model_names.runnable(caller, body.model)
    sessions = WorkerSessions(services.fleet, services.people.grants)
    session = await sessions.open(
        caller,
        version,
        Requirements(**body.requirements.model_dump()),
        affinity=body.affinity,
        exclude=body.exclude,
        records_later=body.records == "async",
    )
    grant = session.grant
    return SessionOut(
        address=session.address,
        tls=cast(Literal["none", "server", "mutual"], session.tls or "none"),
        certificate_sha256=session.certificate or None,
        token=session.token,
        expires_at=datetime.fromtimestamp(grant.expires_at, UTC),
        worker=grant.worker,
        model=grant.model,
        version=grant.version,
    )
