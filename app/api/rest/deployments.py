"""Deployments: names for a model's version that predictions can be made with."""

import time
from datetime import datetime
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, CanModel, Cursor, IdempotencyKey, Limit, Services, ServicesDep, note
from app.api.problems import declared
from app.api.rest.predictions import HEADERS, ModelPredictionIn, create, read_body, takes
from app.api.rest.wire import PageOut, PredictionOut, page_out
from app.domain.deployments import Deployment
from app.domain.errors import InvalidRequest, NotFound, wrong_field
from app.domain.versions import RunnableVersion
from app.services.catalogue.deployments import ANY_HARDWARE
from app.services.catalogue.runnable import parse_reference
from app.services.idempotency import IdempotentRequest
from app.services.people.access import Principal

router = APIRouter(tags=["Deployments"], route_class=CheckedRoute)

Hardware = Annotated[
    str, Field(max_length=64, description="A device class such as cpu or cuda, or `any`.", examples=["any"])
]
Instances = Annotated[int, Field(ge=0, le=1_000, description="On record only: workers are the operator's.")]
VERSION = "A version's id; without one, the model's newest."


class DeploymentIn(BaseModel):
    """A new deployment of your own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "my-words", "model": "demo/words", "hardware": "any"}]},
    )

    name: str = Field(max_length=64)
    model: str = Field(max_length=130, description="`owner/name`.")
    version: str | None = Field(None, max_length=64, description=VERSION)
    hardware: Hardware = ANY_HARDWARE
    min_instances: Instances = 0
    max_instances: Instances = 1


class DeploymentPatch(BaseModel):
    """What changes; fields that are left out stay. Every change is a release."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"hardware": "cpu", "max_instances": 2}]}
    )

    version: str | None = Field(None, max_length=64, description="Another version of the same model.")
    hardware: Hardware | None = None
    min_instances: Instances | None = None
    max_instances: Instances | None = None


class ConfigurationOut(BaseModel):
    """Where it runs. Instances are on record only."""

    hardware: str
    min_instances: int
    max_instances: int


class AuthorOut(BaseModel):
    """Who made a release."""

    type: str = "user"
    username: str
    name: str


class ReleaseOut(BaseModel):
    """What the deployment runs since `created_at`."""

    number: int
    model: str
    version: str
    created_at: datetime
    created_by: AuthorOut
    configuration: ConfigurationOut


class DeploymentOut(BaseModel):
    """A deployment."""

    owner: str
    name: str
    current_release: ReleaseOut


def deployment_out(deployment: Deployment) -> DeploymentOut:
    """The wire object of a deployment."""
    return DeploymentOut(
        owner=deployment.owner,
        name=deployment.name,
        current_release=ReleaseOut(
            number=deployment.number,
            model=deployment.model,
            version=deployment.version_id,
            created_at=deployment.released_at,
            created_by=AuthorOut(username=deployment.released_by, name=deployment.released_by),
            configuration=ConfigurationOut.model_validate(deployment, from_attributes=True),
        ),
    )


async def _version(services: Services, caller: Principal, model: str, version: str | None) -> RunnableVersion:
    """Raises InvalidRequest naming the field: a deployment of nothing helps nobody."""
    field = "version" if version else "model"
    try:
        return await services.runnables.get(
            caller, parse_reference(f"{model}:{version}" if version else model)
        )
    except (NotFound, InvalidRequest):
        sentence = f"is no version of {model[:130]}" if version else "does not exist, or has no version"
        raise wrong_field(field, sentence) from None


@router.post(
    "/v1/deployments",
    operation_id="deployments.create",
    summary="Create a deployment",
    status_code=201,
    responses=declared(401, 403, 409, 410, 413, 415, 422),
)
async def create_deployment(
    request: Request, services: ServicesDep, caller: CanModel, body: DeploymentIn, key: IdempotencyKey
) -> DeploymentOut:
    """A name of yours for a version that you may run."""
    caller.need_user()
    version = await _version(services, caller, body.model, body.version)
    values = body.model_dump(include={"hardware", "min_instances", "max_instances"})
    idempotent = IdempotentRequest.with_key("deployments.create", key, body.model_dump(exclude_unset=True))
    deployment = await run_sync(services.deployments.create, caller, body.name, version, values, idempotent)
    _note(request, caller, "deployment.created", deployment)
    return deployment_out(deployment)


def _note(request: Request, caller: Principal, action: str, deployment: Deployment) -> None:
    details = {"model": deployment.model, "version": deployment.version_id, "number": deployment.number}
    note(request, caller, action, deployment.full_name, **details)


@router.get(
    "/v1/deployments",
    operation_id="deployments.list",
    summary="List your deployments",
    responses=declared(401, 422),
)
def list_deployments(
    request: Request, services: ServicesDep, caller: Caller, cursor: Cursor = None, limit: Limit = 100
) -> PageOut[DeploymentOut]:
    """Your deployments, newest first."""
    return page_out(
        request, services.deployments.page(caller, cursor=cursor, limit=limit).map(deployment_out)
    )


@router.get(
    "/v1/deployments/{owner}/{name}",
    operation_id="deployments.get",
    summary="Get a deployment",
    responses=declared(401, 404),
)
def get_deployment(services: ServicesDep, caller: Caller, owner: str, name: str) -> DeploymentOut:
    """One of your deployments with its current release."""
    return deployment_out(services.deployments.get(caller, owner, name))


@router.patch(
    "/v1/deployments/{owner}/{name}",
    operation_id="deployments.update",
    summary="Change a deployment",
    responses=declared(401, 403, 404, 413, 415, 422),
)
async def update_deployment(
    request: Request,
    services: ServicesDep,
    caller: CanModel,
    owner: str,
    name: str,
    body: DeploymentPatch,
) -> DeploymentOut:
    """The next release. Predictions that were made before stay with theirs."""
    values: dict[str, Any] = body.model_dump(exclude_none=True)
    version_id = values.pop("version", None)
    now = await run_sync(services.deployments.get, caller, owner, name)
    version = await _version(services, caller, now.model, version_id) if version_id else None
    deployment = await run_sync(services.deployments.change, caller, owner, name, version, values)
    _note(request, caller, "deployment.updated", deployment)
    return deployment_out(deployment)


@router.delete(
    "/v1/deployments/{owner}/{name}",
    operation_id="deployments.delete",
    summary="Delete a deployment",
    status_code=204,
    responses=declared(401, 403, 404),
)
def delete_deployment(
    request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str
) -> None:
    """Predictions made with it stay."""
    services.deployments.remove(caller, owner, name)
    note(request, caller, "deployment.deleted", f"{owner}/{name}")


@router.post(
    "/v1/deployments/{owner}/{name}/predictions",
    operation_id="deployments.predictions.create",
    summary="Create a prediction with a deployment",
    status_code=201,
    response_model=None,
    responses={201: {"model": PredictionOut}, **declared(401, 403, 404, 413, 415, 422)},
    openapi_extra=takes(ModelPredictionIn, HEADERS),
)
async def create_deployment_prediction(
    request: Request, services: ServicesDep, owner: str, name: str
) -> Response:
    """Runs the version of the deployment's current release, on its hardware. The prediction names it in
    `deployment`."""
    began = time.monotonic()
    caller, body = await read_body(request, ModelPredictionIn)
    deployment = await run_sync(services.deployments.get, caller, owner, name)
    device = "" if deployment.hardware == ANY_HARDWARE else deployment.hardware
    return await create(
        request, caller, body, deployment.version_id, began, deployment=deployment.full_name, device=device
    )
