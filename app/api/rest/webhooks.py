"""Webhooks, seen by those who receive them: the signing secret, the deliveries of a prediction, sending
again."""

from datetime import datetime

from anyio.to_thread import run_sync
from fastapi import APIRouter
from pydantic import BaseModel

from app.api.deps import CanPredict, ServicesDep
from app.api.problems import declared
from app.db.tables import DeliveryAttemptRow, DeliveryRow

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


def _out(row: DeliveryRow, attempts: list[DeliveryAttemptRow]) -> DeliveryOut:
    pending = row.next_at is not None
    return DeliveryOut(
        id=row.id,
        event=row.event,
        url=row.url,
        status="pending" if pending else "delivered" if row.delivered_at else "given_up",
        tries=row.tries,
        created_at=row.created_at,
        next_at=row.next_at,
        delivered_at=row.delivered_at,
        given_up_at=row.given_up_at,
        attempts=[AttemptOut.model_validate(one, from_attributes=True) for one in attempts],
    )


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
    found = await run_sync(services.deliveries.of, prediction_id)
    return DeliveriesOut(results=[_out(row, attempts) for row, attempts in found])


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
