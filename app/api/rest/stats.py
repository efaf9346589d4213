"""A version's statistics: where the time of its latest predictions went, how full its batches were, how it
failed."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep
from app.api.problems import declared
from app.domain.errors import wrong_field
from app.services.catalogue.version_stats import LONGEST_WINDOW

router = APIRouter(tags=["Models"], route_class=CheckedRoute)

WINDOW = re.compile(r"(\d{1,7})(s|m|h|d)\Z")
UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class QuantilesOut(BaseModel):
    """Seconds."""

    p50: float
    p95: float
    p99: float


class BatchSizesOut(BaseModel):
    """Batches of `from` to `to` predictions: how many predictions ran in one, and how many batches that
    makes."""

    from_: int = Field(alias="from")
    to: int
    predictions: int
    batches: float


class BatchesOut(BaseModel):
    """`mean_size` is null when none has run."""

    mean_size: float | None
    sizes: list[BatchSizesOut]


class PaddingOut(BaseModel):
    """The share of a batch that was padding, 0 to 1, over predictions; null when none has run."""

    mean: float | None
    p95: float | None


class StatsOut(BaseModel):
    """Over the latest ended predictions since `since`, at most `sample_limit`. `complete` is false when the
    window holds more than were looked at: then `since` says how far back the sample reaches. Data that was
    removed is not in it."""

    model: str
    version: str
    window_seconds: float
    since: datetime
    until: datetime
    predictions: int
    sample_limit: int
    complete: bool
    statuses: dict[str, int]
    errors: dict[str, int] = Field(description="Failed predictions by `error_code`.")
    devices: dict[str, int]
    per_second: float = Field(description="Ended predictions a second since `since`.")
    seconds: dict[str, QuantilesOut | None] = Field(
        description="Each phase and the total, of succeeded predictions."
    )
    batches: BatchesOut
    padding: PaddingOut


@router.get(
    "/v1/models/{owner}/{name}/versions/{version_id}/stats",
    operation_id="models.versions.stats",
    summary="Get a version's statistics",
    responses=declared(401, 403, 404, 422),
    response_model=StatsOut,
)
def stats(
    services: ServicesDep,
    caller: Caller,
    owner: str,
    name: str,
    version_id: str,
    window: Annotated[
        str | None, Query(description="How far back, e.g. 15m, 1h (the default), 7d.", max_length=20)
    ] = None,
    since: Annotated[datetime | None, Query(description="Instead of `window`: from this time on.")] = None,
) -> Any:
    """Phases by p50, p95 and p99, throughput, batch sizes, padding and errors. For the model's owner and
    operators."""
    return services.stats.summarize(
        caller, owner, name, version_id, window_seconds(window, since, datetime.now(UTC))
    )


def window_seconds(window: str | None, since: datetime | None, now: datetime) -> float:
    """The window's length. Raises InvalidRequest naming the field."""
    if window is not None and since is not None:
        raise wrong_field("since", "must not be given beside window", "format")
    if since is not None:
        seconds = (now - (since if since.tzinfo else since.replace(tzinfo=UTC))).total_seconds()
    else:
        match = WINDOW.match("1h" if window is None else window)
        seconds = int(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= LONGEST_WINDOW:
        field = "window" if since is None else "since"
        raise wrong_field(
            field, "must reach back at least a second and at most 30 days, e.g. 15m, 1h, 7d", "format"
        )
    return seconds
