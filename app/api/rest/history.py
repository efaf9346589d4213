"""What happened to one prediction, and what its webhooks said."""

from datetime import datetime

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.deps import CanPredict, ServicesDep
from app.api.problems import declared
from app.api.rest.others_predictions import readable
from app.api.rest.wire import left_out
from app.domain.history import HistoryEvent

router = APIRouter(tags=["Predictions"], route_class=CheckedRoute)


class HistoryEventOut(BaseModel):
    """`event` is accepted, started, handed_back (the attempt ended without a result, and it waits again),
    succeeded, failed, canceled, webhook (a try to deliver one) or data_removed. `worker` is a name such as
    `cuda:0@host`, `backend` who answered elsewhere; `webhook` the event that was delivered, `status_code`
    what the receiver answered within `seconds`."""

    at: datetime
    event: str
    attempt: int | None = left_out()
    worker: str | None = left_out()
    backend: str | None = left_out()
    reason: str | None = left_out()
    webhook: str | None = left_out()
    status_code: int | None = left_out()
    seconds: float | None = left_out()

    @classmethod
    def from_event(cls, event: HistoryEvent) -> "HistoryEventOut":
        return cls.model_validate(event, from_attributes=True)


class HistoryOut(BaseModel):
    """Oldest first."""

    results: list[HistoryEventOut]


@router.get(
    "/v1/predictions/{prediction_id}/events",
    operation_id="predictions.events",
    summary="See what happened to a prediction",
    responses=declared(401, 403, 404),
)
async def list_events(
    request: Request, services: ServicesDep, caller: CanPredict, prediction_id: str
) -> HistoryOut:
    """When it was accepted, by which worker each attempt was begun, why one was handed back, how it ended,
    and each try of its webhooks."""
    prediction = await readable(request, caller, prediction_id)
    events = await run_sync(services.operations.history.list_events, prediction)
    return HistoryOut(results=[HistoryEventOut.from_event(event) for event in events])


@router.get(
    "/v1/predictions/{prediction_id}/deliveries/{delivery_id}/body",
    operation_id="predictions.deliveries.body",
    summary="Read what a webhook says",
    response_class=Response,
    responses={
        200: {"description": "The body, as it is sent.", "content": {"application/json": {}}},
        **declared(401, 403, 404),
    },
)
async def delivery_body(
    request: Request, services: ServicesDep, caller: CanPredict, prediction_id: str, delivery_id: str
) -> Response:
    """The very bytes that are signed and posted at each try."""
    await readable(request, caller, prediction_id)
    body = await run_sync(services.deliveries.read_body, prediction_id, delivery_id.replace("\x00", ""))
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
