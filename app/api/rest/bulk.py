"""Many predictions at once: cancel, run again, and groups of failures."""

from datetime import datetime
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import CanPredict, ServicesDep, count_calls, in_utc
from app.api.problems import declared
from app.api.rest.stats import window_seconds
from app.domain.errors import wrong_field
from app.domain.predictions import Status, is_id
from app.services.people.access import Principal
from app.services.predictions.bulk import MOST, Selection

router = APIRouter(tags=["Predictions"], route_class=CheckedRoute)

GROUP = r"^[0-9a-f]{16}$"


class SelectionIn(BaseModel):
    """Which of your predictions: `ids`, or all that every given filter lets through."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"model": "demo/echo", "status": "failed"}]},
    )

    ids: list[Annotated[str, Field(max_length=26)]] | None = Field(None, min_length=1, max_length=MOST)
    status: Literal["starting", "processing", "succeeded", "failed", "canceled"] | None = None
    model: str | None = Field(None, max_length=129, pattern=r"^[^\x00]+$", description="owner/name")
    error_group: str | None = Field(None, pattern=GROUP, description="`group` of an entry of /v1/errors.")
    created_after: datetime | None = None
    created_before: datetime | None = None
    after: str = Field("", max_length=26, description="`next` of the answer before.")

    def as_selection(self, caller: Principal) -> Selection:
        """As the service takes it. Raises InvalidRequest unless something narrows it."""
        if not self.model_fields_set - {"after"}:
            raise wrong_field("ids", "or a filter must say which predictions")
        if not all(is_id(each) for each in self.ids or ()):
            raise wrong_field("ids", "must be ids of predictions", "format")
        if self.after and not is_id(self.after):
            raise wrong_field("after", "must be `next` of another answer", "format")
        return Selection(
            caller.need_user(),
            ids=self.ids,
            status=Status(self.status) if self.status else None,
            model=self.model,
            error_group=self.error_group,
            created_after=in_utc("created_after", self.created_after),
            created_before=in_utc("created_before", self.created_before),
            after=self.after,
        )


class CanceledOut(BaseModel):
    """The predictions that end now or at their next step. `next` is null when all that were meant are
    done, else send it as `after`."""

    canceled: list[str]
    next: str | None


class RerunOut(BaseModel):
    """A new prediction `id` made of the old one `of`."""

    of: str
    id: str


class RefusedOut(BaseModel):
    """Why an old prediction could not be run again."""

    of: str
    code: str
    detail: str


class RerunsOut(BaseModel):
    """`next` is null when all that were meant are done, else send it as `after`."""

    created: list[RerunOut]
    refused: list[RefusedOut]
    next: str | None


class ErrorGroupOut(BaseModel):
    """Failures with the same model, code and text but for numbers, ids and quoted pieces. `error` and
    `prediction` are of the latest; `counts` of 24 equal parts of the window, oldest first."""

    group: str
    model: str
    error_code: str | None
    error: str | None
    prediction: str
    count: int
    first_at: datetime
    last_at: datetime
    counts: list[int]


class ErrorGroupsOut(BaseModel):
    """The group that failed last comes first. At most the latest 10,000 failures are looked at."""

    window_seconds: float
    results: list[ErrorGroupOut]


@router.post(
    "/v1/predictions/cancel",
    operation_id="predictions.bulk.cancel",
    summary="Cancel many predictions",
    responses=declared(401, 403, 413, 415, 422),
)
async def cancel_many(services: ServicesDep, caller: CanPredict, body: SelectionIn) -> CanceledOut:
    """Cancels those of the selection that have not ended, at most 1,000 in one call, oldest first."""
    result = await services.bulk.cancel(body.as_selection(caller))
    return CanceledOut(canceled=result.canceled, next=result.next)


@router.post(
    "/v1/predictions/rerun",
    operation_id="predictions.bulk.rerun",
    summary="Run many predictions again",
    responses=declared(401, 403, 413, 415, 422),
)
async def rerun_many(
    request: Request, services: ServicesDep, caller: CanPredict, body: SelectionIn
) -> RerunsOut:
    """Makes a new prediction of each of the selection that has ended, with its input, version and webhook; at
    most 1,000 in one call, oldest first. Each counts as a creation towards your limits."""

    def count() -> None:
        count_calls(request, caller, "creates")

    request_id = request.scope["request_id"]
    result = await services.bulk.rerun(caller, body.as_selection(caller), count, request_id)
    created = [RerunOut(of=each.of, id=each.created.id) for each in result.reruns if each.created]
    refused: list[Any] = [
        RefusedOut(of=each.of, code=each.error.code, detail=each.error.detail)
        for each in result.reruns
        if each.error
    ]
    return RerunsOut(created=created, refused=refused, next=result.next)


@router.get(
    "/v1/errors",
    operation_id="errors.list",
    summary="List what failed, in groups",
    responses=declared(401, 403, 422),
)
async def error_groups(
    services: ServicesDep,
    caller: CanPredict,
    window: Annotated[str, Query(description="How far back, e.g. 1h, 7d.", max_length=20)] = "7d",
    model: Annotated[
        str | None, Query(max_length=129, pattern=r"^[^\x00]+$", description="owner/name")
    ] = None,
) -> ErrorGroupsOut:
    """Your failed predictions, grouped by model and error."""
    seconds = window_seconds(window, None, datetime.now())
    groups = await run_sync(services.bulk.error_groups, caller, seconds, model)
    return ErrorGroupsOut(
        window_seconds=seconds,
        results=[ErrorGroupOut.model_validate(group, from_attributes=True) for group in groups],
    )
