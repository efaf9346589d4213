"""Lists of predictions, and what administrators do with anybody's: read them, have them begin again."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, CanPredict, Cursor, Limit, ServicesDep, base_url, in_utc, link, note
from app.api.problems import declared
from app.api.rest.answers import answer, answer_prediction
from app.api.rest.wire import NO_NUL, ErrorGroupName, PageOut, PredictionOut
from app.domain.errors import wrong_field
from app.services.predictions.prediction_list import Narrowed

router = APIRouter(tags=["Predictions"], route_class=CheckedRoute)

BACK = re.compile(r"(\d{1,9})([smhd])\Z")
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MOMENT = "A time, or how long ago: 15m, 24h, 7d."
Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]
Name = Annotated[str | None, Query(max_length=129, pattern=NO_NUL, description="owner/name")]


def _narrowed(
    status: Status | None = None,
    model: Name = None,
    version: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="Its whole id.")] = None,
    deployment: Name = None,
    source: Annotated[str | None, Query(max_length=8, pattern="^[a-z]+$", description="api, web …")] = None,
    error_code: Annotated[str | None, Query(max_length=32, pattern="^[a-z_]+$")] = None,
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=NO_NUL,
            description="In the id, the error, or an input or output of at most 32 kB, whatever the case.",
        ),
    ] = None,
    user: Annotated[
        str | None,
        Query(
            max_length=64,
            pattern=NO_NUL,
            description="Administrators only: somebody's, `*` for everybody's, `anonymous` for nobody's.",
        ),
    ] = None,
    error_group: ErrorGroupName = None,
) -> Narrowed:
    return Narrowed(
        user=user,
        status=status,
        model=model,
        version=version,
        deployment=deployment,
        source=source,
        error_code=error_code,
        error_group=error_group,
        text=text,
    )


@router.get(
    "/v1/predictions",
    operation_id="predictions.list",
    summary="List predictions",
    response_model=None,
    responses={200: {"model": PageOut[PredictionOut]}, **declared(401, 403, 404, 422)},
)
async def list_predictions(
    request: Request,
    services: ServicesDep,
    caller: CanPredict,
    narrowed: Annotated[Narrowed, Depends(_narrowed)],
    cursor: Cursor = None,
    limit: Limit = 100,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    since: Annotated[str | None, Query(max_length=40, description=MOMENT)] = None,
    until: Annotated[str | None, Query(max_length=40, description=MOMENT)] = None,
) -> Response:
    """Your own predictions, newest first, in pages; administrators see anybody's with `user`. Of an entry, an
    input, output or logs of more than 32 kB are left out: `left_out` names them, and `urls.get` has the whole
    object.

    With `version`, `deployment`, `source`, `error_code`, `text` or `user=*`, a page looks at the next 5,000
    predictions at most: it may have fewer results than `limit`, or none, and go on with `next` all the same.
    """
    narrowed = replace(
        narrowed,
        created_after=_one_of("created_after", created_after, "since", since),
        created_before=_one_of("created_before", created_before, "until", until),
    )
    page = await services.operations.lists.page(caller, narrowed, cursor=cursor, limit=limit)
    if narrowed.user not in (None, caller.username):
        note(request, caller, "predictions.listed", narrowed.user or "")
    base, view = base_url(request), services.view
    results = [
        view.render(each.prediction, base) | ({} if each.username is None else {"user": each.username})
        for each in page.results
    ]
    return answer(
        {
            "previous": link(request, page.previous, "prev"),
            "next": link(request, page.next, "next"),
            "results": results,
        }
    )


def _one_of(name: str, moment: datetime | None, other: str, text: str | None) -> datetime | None:
    if text is None:
        return in_utc(name, moment)
    if moment is not None:
        raise wrong_field(other, f"must not be given beside {name}")
    return in_utc(other, _moment(other, text))


def _moment(name: str, text: str) -> datetime:
    if match := BACK.match(text):
        try:
            return datetime.now(UTC) - timedelta(seconds=int(match[1]) * UNITS[match[2]])
        except OverflowError:
            raise wrong_field(name, "is too long ago") from None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise wrong_field(name, "must be a time, or how long ago it is: 15m, 24h, 7d", "format") from None


@router.post(
    "/v1/predictions/{prediction_id}/requeue",
    operation_id="predictions.requeue",
    summary="Have a prediction begin again",
    response_model=None,
    responses={200: {"model": PredictionOut}, **declared(401, 403, 404, 409)},
)
async def requeue_prediction(
    request: Request, services: ServicesDep, caller: Caller, prediction_id: str
) -> Response:
    """Administrators only. One that runs waits again and may be claimed by another worker; one that waits is
    published to the workers again, at once. 409 for one that has ended: `POST /v1/predictions/rerun` makes a
    new one of it."""
    caller.need_operator("have predictions begin again")
    prediction = await services.follower.get(prediction_id)
    requeued = await run_sync(services.operations.requeuer.requeue, prediction)
    note(request, caller, "prediction.requeued", prediction_id, attempt=prediction.attempt)
    return await answer_prediction(services, requeued, base_url(request))
