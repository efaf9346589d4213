"""Charts and usage: minutes of what ended, waited and ran; days of what was used."""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep
from app.api.problems import declared
from app.api.rest.stats import UNITS, WINDOW
from app.domain.errors import wrong_field
from app.domain.statistics import Point, quantile
from app.services.platform.statistics import LONGEST_WINDOW

router = APIRouter(tags=["Platform"], route_class=CheckedRoute)


class PointOut(BaseModel):
    """`step_seconds` from `at` on. p50 and p95 are seconds from acceptance to success, right to within a
    fifth; null when none succeeded. `waiting` and `running` are the most of its minutes, null where none was
    recorded."""

    at: datetime
    succeeded: int
    failed: int
    canceled: int
    device_seconds: float
    p50: float | None
    p95: float | None
    waiting: int | None
    running: int | None


class SeriesOut(BaseModel):
    """Oldest first; minutes are written when they are over."""

    window_seconds: float
    step_seconds: int
    points: list[PointOut]


class UsageDayOut(BaseModel):
    """`device_seconds`: a prediction's time of running divided by the size of its batch. `username` is null
    for anonymous callers."""

    day: date
    username: str | None
    model: str
    succeeded: int
    failed: int
    canceled: int
    device_seconds: float


class UsageListOut(BaseModel):
    """Newest day first, at most 10,000 rows."""

    results: list[UsageDayOut]


class LaneOut(BaseModel):
    """Predictions that wait, of one queue, model or user."""

    name: str
    waiting: int
    oldest_seconds: float


class LanesOut(BaseModel):
    """The fullest 50 of each. `complete` is false when more wait than were counted."""

    complete: bool
    queues: list[LaneOut]
    models: list[LaneOut]
    users: list[LaneOut]


def _point(point: Point) -> PointOut:
    counts = point.counts
    return PointOut(
        at=datetime.fromtimestamp(point.at, UTC),
        succeeded=counts.succeeded,
        failed=counts.failed,
        canceled=counts.canceled,
        device_seconds=round(counts.device_seconds, 3),
        p50=quantile(counts.seconds, 0.5),
        p95=quantile(counts.seconds, 0.95),
        waiting=point.waiting,
        running=point.running,
    )


@router.get(
    "/v1/statistics",
    operation_id="statistics.get",
    summary="Get minutes of statistics",
    responses=declared(401, 422),
)
def statistics(
    services: ServicesDep,
    caller: Caller,
    window: Annotated[str, Query(description="How far back: 15m to 48h.", max_length=20)] = "6h",
    model: Annotated[
        str | None, Query(max_length=129, pattern=r"^[^\x00]+$", description="owner/name")
    ] = None,
) -> SeriesOut:
    """How much ended, how quickly, and what waited, in the last hours: everybody's for administrators, else
    your own."""
    match = WINDOW.match(window)
    seconds = int(match[1]) * UNITS[match[2]] if match else 0.0
    if not 60 <= seconds <= LONGEST_WINDOW:
        raise wrong_field("window", "must be from 1m to 48h, e.g. 15m, 6h", "format")
    series = services.statistics.series(caller, seconds, model)
    points = [_point(point) for point in series.points]
    return SeriesOut(window_seconds=seconds, step_seconds=series.step, points=points)


@router.get("/v1/queue", operation_id="queue.lanes", summary="See what waits", responses=declared(401, 403))
def queue(services: ServicesDep, caller: Caller) -> LanesOut:
    """What waits, by queue, by model and by user, with the age of the oldest. Administrators only."""
    lanes, complete = services.statistics.lanes(caller)

    def by_kind(kind: str) -> list[LaneOut]:
        return [LaneOut.model_validate(lane, from_attributes=True) for lane in lanes if lane.kind == kind]

    return LanesOut(
        complete=complete, queues=by_kind("queue"), models=by_kind("model"), users=by_kind("user")
    )


@router.get(
    "/v1/usage", operation_id="usage.list", summary="Get usage by days", responses=declared(401, 403, 422)
)
def usage(
    services: ServicesDep,
    caller: Caller,
    days: Annotated[int, Query(ge=1, le=400)] = 30,
    everybody: Annotated[bool, Query(description="Administrators only.")] = False,
) -> UsageListOut:
    """Predictions and device seconds by day (UTC) and model, of what ended up to the last whole minute."""
    rows = services.statistics.usage(caller, days, everybody=everybody)
    return UsageListOut(results=[UsageDayOut.model_validate(row, from_attributes=True) for row in rows])
