"""Webhooks, seen by those who receive them: the signing secret, the deliveries of a prediction, sending
again."""

from datetime import datetime
from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, CanPredict, Cursor, Limit, ServicesDep, note
from app.api.problems import declared
from app.api.rest.others_predictions import readable
from app.api.rest.wire import NO_NUL, PageOut, left_out, page_out
from app.domain.deliveries import SentDelivery
from app.services.people.credentials import OVERLAP_HOURS, WebhookSecrets

router = APIRouter(tags=["Webhooks"], route_class=CheckedRoute)


class SecretOut(BaseModel):
    """`key` signs your webhooks (Standard Webhooks); keep it secret. After a rotation the key before it signs
    them, too, until it expires."""

    key: str
    previous_key: str | None = left_out()
    previous_key_expires_at: datetime | None = left_out()


class RotateIn(BaseModel):
    """How long the secret until now goes on signing."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_hours": 24}]})

    overlap_hours: float = Field(
        OVERLAP_HOURS, ge=0, le=OVERLAP_HOURS, description="0: it ends at once, for a secret that has leaked."
    )


class AttemptOut(BaseModel):
    """One try: the receiver's status code, or why there was none."""

    at: datetime
    status_code: int | None
    error: str | None
    seconds: float


class DeliveryOut(BaseModel):
    """One webhook. `id` is the header webhook-id, the same over all tries; `status` is pending, delivered or
    given_up."""

    id: str
    event: str
    url: str
    status: str
    tries: int
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None
    given_up_at: datetime | None
    attempts: list[AttemptOut]


class SentDeliveryOut(DeliveryOut):
    """A webhook of whichever prediction; `prediction` is its id."""

    prediction: str

    @classmethod
    def from_sent(cls, sent: SentDelivery) -> "SentDeliveryOut":
        shown = DeliveryOut.model_validate(sent.delivery, from_attributes=True)
        return cls(prediction=sent.prediction, **shown.model_dump())


class RedeliveredOut(BaseModel):
    """The deliveries that are sent again."""

    redelivered: list[str]


def secret_out(secrets: WebhookSecrets) -> SecretOut:
    """The wire object of an account's secrets."""
    return SecretOut(
        key=secrets.current, previous_key=secrets.previous, previous_key_expires_at=secrets.previous_until
    )


@router.get(
    "/v1/webhooks/default/secret",
    operation_id="webhooks.secret",
    summary="Get your webhook signing secret",
    responses=declared(401, 403),
)
def secret(services: ServicesDep, caller: Caller, response: Response) -> SecretOut:
    """With it a receiver checks that a webhook came from here. Not for a key that only predicts."""
    response.headers["Cache-Control"] = "no-store"
    return secret_out(services.people.credentials.webhook_secrets(caller))


@router.post(
    "/v1/webhooks/default/secret/rotate",
    operation_id="webhooks.secret.rotate",
    summary="Replace your webhook signing secret",
    responses=declared(401, 403, 409, 413, 415, 422),
)
def rotate_secret(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    response: Response,
    body: RotateIn | None = None,
) -> SecretOut:
    """A new secret. The one until now signs beside it for `overlap_hours`: webhooks have two signatures
    meanwhile, and receivers accept either. While an earlier one still signs, this is answered 409, but for
    `overlap_hours` 0."""
    hours = body.overlap_hours if body else OVERLAP_HOURS
    secrets = services.people.credentials.rotate_webhook_secret(caller, hours)
    note(request, caller, "webhook_secret.rotated", caller.username, overlap_hours=hours)
    response.headers["Cache-Control"] = "no-store"
    return secret_out(secrets)


@router.get(
    "/v1/webhooks/deliveries",
    operation_id="webhooks.deliveries.list",
    summary="List your webhook deliveries",
    responses=declared(401, 403, 404, 422),
)
def list_own_deliveries(
    request: Request,
    services: ServicesDep,
    caller: CanPredict,
    cursor: Cursor = None,
    limit: Limit = 20,
    failed: Annotated[bool, Query(description="Only those given up, or to be tried again.")] = False,
    user: Annotated[
        str | None, Query(max_length=64, pattern=NO_NUL, description="Administrators only: somebody's.")
    ] = None,
) -> PageOut[SentDeliveryOut]:
    """Of all your predictions, newest first, each with what the receiver answered, try by try; administrators
    see anybody's with `user`."""
    page = services.deliveries.page(caller, user=user, failed=failed, cursor=cursor, limit=limit)
    if user not in (None, caller.username):
        note(request, caller, "webhooks.listed", user or "")
    return page_out(request, page.map(SentDeliveryOut.from_sent))


@router.get(
    "/v1/predictions/{prediction_id}/deliveries",
    operation_id="predictions.deliveries.list",
    summary="List a prediction's webhook deliveries",
    responses=declared(401, 403, 404, 422),
)
async def list_deliveries(
    request: Request,
    services: ServicesDep,
    caller: CanPredict,
    prediction_id: str,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> PageOut[DeliveryOut]:
    """What was sent, oldest first, when, and what the receiver answered, try by try."""
    await readable(request, caller, prediction_id)
    read = partial(services.deliveries.list_deliveries, prediction_id, cursor=cursor, limit=limit)
    page = await run_sync(read)
    shown = page.map(lambda delivery: DeliveryOut.model_validate(delivery, from_attributes=True))
    return page_out(request, shown)


@router.post(
    "/v1/predictions/{prediction_id}/redeliver",
    operation_id="predictions.redeliver",
    summary="Send all webhooks of a prediction again",
    responses=declared(401, 403, 404, 409),
)
async def redeliver_all(
    request: Request, services: ServicesDep, caller: CanPredict, prediction_id: str
) -> RedeliveredOut:
    """The same ids and bodies, newly signed; of many the newest 100. A delivery that was tried 100 times is
    not sent again."""
    await readable(request, caller, prediction_id)
    again = await run_sync(services.deliveries.send_again, prediction_id)
    note(request, caller, "webhooks.redelivered", prediction_id, deliveries=len(again))
    return RedeliveredOut(redelivered=again)


@router.post(
    "/v1/predictions/{prediction_id}/deliveries/{delivery_id}/redeliver",
    operation_id="predictions.deliveries.redeliver",
    summary="Send one webhook again",
    responses=declared(401, 403, 404, 409),
)
async def redeliver(
    request: Request, services: ServicesDep, caller: CanPredict, prediction_id: str, delivery_id: str
) -> RedeliveredOut:
    """The same id and body, newly signed. Not what was tried 100 times."""
    await readable(request, caller, prediction_id)
    again = await run_sync(services.deliveries.send_again, prediction_id, delivery_id.replace("\x00", ""))
    note(request, caller, "webhooks.redelivered", prediction_id, deliveries=len(again))
    return RedeliveredOut(redelivered=again)
