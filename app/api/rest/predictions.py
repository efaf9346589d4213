"""Predictions: create, get, cancel, remove data. The two hot paths speak to the services without
detours.

Create and get read and write their JSON by hand (orjson), because pydantic models and FastAPI's dependencies
would cost more than the rest of the request; what they take and give is still declared for the OpenAPI
document.
"""

import time
import zlib
from dataclasses import replace
from typing import Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from app.api.access_log import PREDICTIONS, TRACEPARENT
from app.api.bodies import CheckedRoute, DirectRoute, body_size, owner_of, read_json, release_body
from app.api.deps import (
    CanPredict,
    Services,
    ServicesDep,
    base_url,
    caller_of,
    note,
    services_of,
)
from app.api.headers import LONGEST_DURATION, duration, idempotency_key, is_strict, wait_seconds
from app.api.problems import declared, invalid_request
from app.api.rest.answers import answer_prediction
from app.api.rest.others_predictions import readable
from app.api.rest.request_routing import RoutingIn, routing_of
from app.api.rest.wire import PredictionOut, PriorityWord
from app.domain.errors import InvalidRequest, NotFound, wrong_field
from app.domain.predictions import Prediction
from app.outbound.addresses import AddressPolicy
from app.outbound.guard import check_url
from app.services.catalogue.runnable import parse_reference
from app.services.people.access import Principal
from app.services.predictions.submit import Submission

router = APIRouter(tags=["Predictions"], route_class=CheckedRoute)
direct = APIRouter(tags=["Predictions"], route_class=DirectRoute)

VERSION_LENGTH = 64  # of a version's id
ANSWER_SECONDS = 0.25  # kept back from `Prefer: wait=N`: clients stop reading half a second after N
Event = Literal["start", "output", "logs", "completed"]
EXAMPLE: dict[str, Any] = {"version": "demo/echo", "input": {"text": "Hello"}}


class PredictionIn(BaseModel):
    """What to run."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    version: str | None = Field(
        None,
        max_length=300,
        description="A version's id, `owner/name`, `owner/name:id`, an alias, or the only model of a name.",
    )
    model: str | None = Field(None, max_length=130, description="`owner/name`: its newest version.")
    input: dict[str, Any] = Field(description="The model's input; see its version's `openapi_schema`.")
    webhook: str | None = Field(None, max_length=2_048, description="URL that is called at events, signed.")
    webhook_events_filter: list[Event] | None = Field(
        None, max_length=4, description="Default: output and completed."
    )
    webhook_completed: str | None = Field(
        None, max_length=2_048, description="Deprecated: a webhook for the end only."
    )
    timeout: float | None = Field(
        None,
        gt=0,
        le=LONGEST_DURATION,
        description=(
            "Longest time of running in seconds; then it is canceled. What its version "
            "allows stays the most. `Cancel-After` counts from now and includes the time of waiting."
        ),
    )
    stream: bool | None = Field(
        None, description="Deprecated: `urls.stream` is there whenever the model streams."
    )
    on_disconnect: Literal["continue", "cancel"] = Field(
        "continue",
        description="`cancel`: when the last reader of `urls.stream` has left, the prediction is canceled.",
    )
    priority: PriorityWord = Field(
        "default",
        description=(
            "The band it waits in; a higher one goes first, and who waits rises. `interactive` is for users "
            "whom an administrator allows it; `batch` is for what may wait."
        ),
    )
    routing: RoutingIn | None = Field(None, description="Where it runs, where its version leaves that open.")


class ModelPredictionIn(PredictionIn):
    """What to run, the model being named by the address."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": EXAMPLE["input"]}]})

    version: None = Field(None, description="Not here: the address names the model.")
    model: None = Field(None, description="Not here: the address names the model.")


HEADERS: list[dict[str, Any]] = [
    {
        "name": "Prefer",
        "in": "header",
        "description": (
            "`wait` or `wait=N` (1 to 60 seconds): answer when the prediction has ended. When the wait runs "
            "out, the answer says `starting`. `handling=strict`: inputs that the model does not have are "
            "refused; without it they are left out, and `warnings` names them."
        ),
        "schema": {"type": "string"},
        "example": "wait=10",
    },
    {
        "name": "Cancel-After",
        "in": "header",
        "description": "Cancel the prediction when it has not ended after this time, e.g. 5s, 1m, 1h30m.",
        "schema": {"type": "string"},
        "example": "1m",
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Sent again with the same body, it gives the prediction that exists already.",
        "schema": {"type": "string", "maxLength": 255},
    },
]


IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of an earlier answer: 304 without a body when nothing has changed.",
    "schema": {"type": "string"},
}


def takes(model: type[BaseModel], headers: list[dict[str, Any]]) -> dict[str, Any]:
    """The part of the OpenAPI document that a hand-written body replaces."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}, "parameters": headers}


@direct.post(
    "/v1/predictions",
    operation_id="predictions.create",
    summary="Create a prediction",
    status_code=201,
    response_model=None,
    responses={201: {"model": PredictionOut}, **declared(401, 403, 404, 413, 415, 422, 429)},
    openapi_extra=takes(PredictionIn, HEADERS),
)
async def create_prediction(request: Request) -> Response:
    """Runs a version. Answers at once with `starting`; poll `urls.get`, stream, take a webhook, or wait
    (`Prefer`)."""
    began = time.monotonic()
    caller, body = await read_body(request, PredictionIn)
    if body.model and body.version:
        raise wrong_field("model", "give either version or model")
    reference = body.version or body.model
    if not reference:
        raise wrong_field("version", "is required (or model)")
    return await create(request, caller, body, await _parse(request, caller, reference), began)


async def _parse(request: Request, caller: Principal, reference: str) -> str:
    """A name without an owner means the only visible model of that name, or what an alias says."""
    if "/" not in reference and len(reference) < VERSION_LENGTH:
        reference = await services_of(request).model_names.reference(caller, reference)
    return parse_reference(reference)


@direct.post(
    "/v1/models/{owner}/{name}/predictions",
    operation_id="models.predictions.create",
    summary="Create a prediction with a model's newest version",
    status_code=201,
    response_model=None,
    responses={201: {"model": PredictionOut}, **declared(401, 403, 404, 413, 415, 422, 429)},
    openapi_extra=takes(ModelPredictionIn, HEADERS),
)
async def create_model_prediction(request: Request, owner: str, name: str) -> Response:
    """Like creating a prediction, with the model named by the address."""
    began = time.monotonic()
    caller, body = await read_body(request, ModelPredictionIn)
    try:
        reference = parse_reference(f"{owner}/{name}")
    except InvalidRequest:
        raise NotFound("The requested model could not be found.") from None
    return await create(request, caller, body, reference, began)


async def read_body(request: Request, model: type[PredictionIn]) -> tuple[Principal, PredictionIn]:
    """The caller and the body, in this order: who may not call does not learn what is wrong with the body."""
    caller = await caller_of(request)
    caller.need("predict")
    try:
        return caller, model.model_validate(await read_json(request, owner_of(request, caller)), strict=True)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from None


async def create(
    request: Request,
    caller: Principal,
    body: PredictionIn,
    reference: str,
    began: float,
    deployment: str | None = None,
    device: str = "",
) -> Response:
    """The answer to a creation that `began` at that monotonic second; with a deployment, its name and device
    class."""
    services = services_of(request)
    submission = await _submission(request, services, caller, body, reference)
    if deployment:
        submission = replace(submission, deployment=deployment, device=device)
    prediction = await services.submitter.submit(submission)
    release_body(request)
    request.scope[PREDICTIONS] = (prediction.id,)
    body.input = {}  # it is written down: nothing of it is held while the end is awaited
    del submission
    base, headers = base_url(request), {}
    seconds = wait_seconds(request.headers.get("prefer"))
    if seconds:
        headers["Preference-Applied"] = f"wait={seconds}"
    if seconds and not prediction.ended:  # a repeated Idempotency-Key may find one that has ended
        left = seconds - ANSWER_SECONDS - (time.monotonic() - began)
        prediction = await services.follower.wait(prediction.id, max(0.0, left), prediction)
    headers["Location"] = f"{base}/v1/predictions/{prediction.id}"
    as_starting = seconds is not None and not prediction.ended
    return await answer_prediction(services, prediction, base, 201, headers, as_starting=as_starting)


async def _submission(
    request: Request, services: Services, caller: Principal, body: PredictionIn, reference: str
) -> Submission:
    version = await services.runnables.get(caller, reference)
    webhook, events = body.webhook, body.webhook_events_filter
    if webhook is None and body.webhook_completed is not None:
        webhook, events = body.webhook_completed, ["completed"]
    _check_webhook(webhook, services.options.addresses)
    return Submission(
        user_id=caller.user_id,
        version=version,
        input=body.input,
        webhook=webhook,
        webhook_events=[str(event) for event in events] if events is not None else None,
        cancel_after=duration(request.headers.get("cancel-after")),
        timeout=body.timeout,
        idempotency_key=idempotency_key(request.headers.get("idempotency-key")),
        stop_without_readers=_stops_without_readers(body, version.streams),
        drops_unknown=not (
            services.options.refuse_unknown_inputs or is_strict(request.headers.get("prefer"))
        ),
        request_id=request.scope["request_id"],
        traceparent=request.scope.get(TRACEPARENT),
        base_url=base_url(request),
        priority=caller.allowed_priority(body.priority),
        routing=routing_of(body.routing, version.config),
        size=body_size(request),
    )


def _stops_without_readers(body: PredictionIn, streams: bool) -> bool:
    if body.on_disconnect == "cancel" and not streams:
        raise wrong_field(
            "on_disconnect", "cannot be `cancel`: this model does not stream, so nobody reads it"
        )
    return body.on_disconnect == "cancel"


def _check_webhook(webhook: str | None, policy: AddressPolicy) -> None:
    if webhook is not None:
        try:
            check_url(webhook, policy)
        except ValueError as error:
            raise wrong_field("webhook", str(error)) from None


@direct.get(
    "/v1/predictions/{prediction_id}",
    operation_id="predictions.get",
    summary="Get a prediction",
    response_model=None,
    responses={
        200: {"model": PredictionOut},
        304: {"description": "Unchanged."},
        **declared(401, 403, 404, 429),
    },
    openapi_extra={"parameters": [HEADERS[0], IF_NONE_MATCH]},
)
async def get_prediction(request: Request, prediction_id: str) -> Response:
    """The prediction as it is now; with `Prefer: wait=N`, when it has ended or after N seconds. To
    administrators, anybody's.

    While it waits, `queue` says how many are before it and when it is likely to start, and `Retry-After` when
    to ask again; `waiting_for` says what keeps it from running: its queue, or, once a worker has claimed it,
    its model, which is downloaded or loaded there, or its batch. It is `processing` when its model has it in
    hand.
    """
    services, caller = services_of(request), await caller_of(request)
    caller.need("predict")
    prediction = await readable(request, caller, prediction_id)
    seconds = wait_seconds(request.headers.get("prefer"))
    if seconds and not prediction.ended:
        prediction = await services.follower.wait(prediction_id, seconds - ANSWER_SECONDS)
    headers = {"Preference-Applied": f"wait={seconds}"} if seconds else {}
    headers |= {"Cache-Control": "private, no-cache", "ETag": etag(prediction)}
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    more: dict[str, Any] = {}
    if position := await services.positions.position(prediction):
        more["queue"] = position.as_json()
        headers["Retry-After"] = str(position.retry_after)
    if waiting_for := await services.fleet.waiting_for(prediction):
        more["waiting_for"] = waiting_for
    return await answer_prediction(services, prediction, base_url(request), 200, headers, more=more)


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether an `If-None-Match` names the tag, or anything."""
    return if_none_match is not None and any(name.strip() in ("*", tag) for name in if_none_match.split(","))


def etag(prediction: Prediction) -> str:
    """Changes with anything that its owner can see change, but for its position in the queue and the age of
    its links."""
    seen = (
        prediction.shown_status,
        prediction.attempt,
        prediction.cancel_requested,
        len(prediction.logs),
        prediction.progress,
        prediction.completed_at,
        prediction.data_removed_at,
        prediction.output if not prediction.ended else None,
    )
    return f'W/"{zlib.crc32(repr(seen).encode()):08x}-{prediction.id}"'


@router.post(
    "/v1/predictions/{prediction_id}/cancel",
    operation_id="predictions.cancel",
    summary="Cancel a prediction",
    response_model=None,
    responses={200: {"model": PredictionOut}, **declared(401, 403, 404)},
)
async def cancel_prediction(
    request: Request, services: ServicesDep, caller: CanPredict, prediction_id: str
) -> Response:
    """A waiting prediction never starts, a running one stops at its next step, an ended one stays as it
    is. Administrators may cancel anybody's; of somebody else's the answer has no input, output and logs."""
    prediction = await services.follower.get(prediction_id)
    prediction = await run_sync(services.bulk.of_users.cancel_one, caller, prediction)
    if not caller.owns(prediction.user_id):
        note(request, caller, "prediction.canceled", prediction_id)
    return await answer_prediction(services, prediction, base_url(request))


@router.delete(
    "/v1/predictions/{prediction_id}",
    operation_id="predictions.delete",
    summary="Remove a prediction's data",
    status_code=204,
    response_model=None,
    responses=declared(401, 403, 404, 409),
)
async def delete_prediction(
    request: Request, services: ServicesDep, caller: CanPredict, prediction_id: str
) -> Response:
    """Removes input, output, logs and files of an ended prediction. Its record stays, with `data_removed`."""
    prediction = await services.follower.own(caller.user_id, prediction_id)
    await run_sync(services.removal.remove, prediction)
    note(request, caller, "prediction.data_removed", prediction_id)
    return Response(status_code=204)


router.routes[:0] = direct.routes
