"""Webhooks, seen by those who receive them: the signing secret, the deliveries of a prediction, sending
again."""

from datetime import datetime

from anyio.to_thread import run_sync
from fastapi import APIRouter
from pydantic import BaseModel

from app.api.deps import CanPredict, ServicesDep
from app.api.problems import declared

router = APIRouter(tags=["Webhooks"])


class SecretOut(BaseModel):
    """`key` signs your webhooks (Standard Webhooks); keep it secret."""

    key: str


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


class DeliveriesOut(BaseModel):
    """All webhooks of one prediction, in order."""

    previous: None = None
    next: None = None
    results: list[DeliveryOut]


class RedeliveredOut(BaseModel):
    """The deliveries that are sent again."""

    redelivered: list[str]


@router.get(
    "/v1/webhooks/default/secret",
    operation_id="webhooks.secret",
    summary="Get your webhook signing secret",
    responses=declared(401, 403),
)
def secret(services: ServicesDep, caller: CanPredict) -> SecretOut:
    """With it a receiver checks that a webhook came from here."""
    return SecretOut(key=services.deliveries.secret(caller))


@router.get(
    "/v1/predictions/{prediction_id}/deliveries",
    operation_id="predictions.deliveries.list",
    summary="List a prediction's webhook deliveries",
    responses=declared(401, 403, 404),
)
async def list_deliveries(services: ServicesDep, caller: CanPredict, prediction_id: str) -> DeliveriesOut:
    """What was sent, when, and what the receiver answered, try by try."""
    await services.follower.own(caller.user_id, prediction_id)
    deliveries = await run_sync(services.deliveries.list_deliveries, prediction_id)
    results = [DeliveryOut.model_validate(delivery, from_attributes=True) for delivery in deliveries]
    return DeliveriesOut(results=results)


@router.post(
    "/v1/predictions/{prediction_id}/redeliver",
    operation_id="predictions.redeliver",
    summary="Send all webhooks of a prediction again",
    responses=declared(401, 403, 404),
)
async def redeliver_all(services: ServicesDep, caller: CanPredict, prediction_id: str) -> RedeliveredOut:
    """The same ids and bodies, newly signed."""
    await services.follower.own(caller.user_id, prediction_id)
    return RedeliveredOut(redelivered=await run_sync(services.deliveries.send_again, prediction_id))


@router.post(
    "/v1/predictions/{prediction_id}/deliveries/{delivery_id}/redeliver",
    operation_id="predictions.deliveries.redeliver",
    summary="Send one webhook again",
    responses=declared(401, 403, 404),
)
async def redeliver(
    services: ServicesDep, caller: CanPredict, prediction_id: str, delivery_id: str
) -> RedeliveredOut:
    """The same id and body, newly signed."""
    await services.follower.own(caller.user_id, prediction_id)
    again = await run_sync(services.deliveries.send_again, prediction_id, delivery_id.replace("\x00", ""))
    return RedeliveredOut(redelivered=again)
