"""Wire shapes that several modules answer with: pages and the prediction object (written by
services/predictions/prediction_view)."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import link
from app.domain.pages import Page

T = TypeVar("T")


ErrorGroupName = Annotated[
    str | None, Query(pattern=r"^[0-9a-f]{16}$", description="`group` of an entry of /v1/errors.")
]


NO_NUL = r"^[^\x00]+$"  # Postgres cannot keep it


def left_out() -> Any:
    """The default of a field that is left out rather than null: one client refuses a null among the URLs."""
    return Field(None, exclude_if=lambda value: value is None)


class PageOut(BaseModel, Generic[T]):
    """A part of a list, newest first; `next` and `previous` are whole URLs, or null at an end."""

    previous: str | None = None
    next: str | None = None
    results: list[T]


def page_out(request: Request, page: Page[T]) -> PageOut[T]:
    """A page as it is answered to this request."""
    return PageOut(
        previous=link(request, page.previous, "prev"),
        next=link(request, page.next, "next"),
        results=page.results,
    )


class UrlsOut(BaseModel):
    """`stream` is there when the model can stream, and needs no other credential."""

    get: str
    cancel: str
    web: str
    stream: str | None = left_out()


class WaitsOut(BaseModel):
    """Seconds until it starts, by the median and by the tenth slowest of recent speeds."""

    p50: float
    p90: float


class QueuePlaceOut(BaseModel):
    """`position` 1 is next, as users take turns; null: behind more than `more_than` others, or not known."""

    position: int | None
    more_than: int | None
    starts_in_seconds: WaitsOut | None


class WaitingForOut(BaseModel):
    """What keeps a prediction from running, as of some seconds ago: the queue of this name, or, once a worker
    has claimed it, the model, which this worker is downloading, or loading from its disk, or a batch of the
    model, which is ready and has others in hand. `bytes` of some `total_bytes` are there: exact
    for a download, by an estimate of the memory that it will take while it is loaded on a processor; absent
    where it is not known."""

    what: Literal["queue", "model", "batch"]
    name: str
    worker: str | None = left_out()
    state: Literal["downloading", "loading"] | None = left_out()
    bytes: int | None = left_out()
    total_bytes: int | None = left_out()
    percent: int | None = left_out()


PriorityWord = Literal["interactive", "default", "batch"]


class PredictionOut(BaseModel):
    """A prediction: the same object in answers, lists and webhooks."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "id": "01kam7vn3c9x0r2f4h6j8m0p2s",
                    "model": "demo/echo",
                    "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
                    "status": "succeeded",
                    "input": {"text": "Hello"},
                    "output": ["Hello"],
                    "error": None,
                    "logs": "",
                    "metrics": {"predict_time": 0.01, "total_time": 0.03},
                    "created_at": "2026-11-20T12:00:00.000000Z",
                    "started_at": "2026-11-20T12:00:00.010000Z",
                    "completed_at": "2026-11-20T12:00:00.030000Z",
                    "source": "api",
                    "data_removed": False,
                    "urls": {
                        "get": "http://localhost:8000/v1/predictions/01kam7vn3c9x0r2f4h6j8m0p2s",
                        "cancel": "http://localhost:8000/v1/predictions/01kam7vn3c9x0r2f4h6j8m0p2s/cancel",
                        "web": "http://localhost:8000/p/01kam7vn3c9x0r2f4h6j8m0p2s",
                    },
                }
            ]
        },
    )

    id: str
    model: str
    version: str
    status: Literal["starting", "processing", "succeeded", "failed", "canceled"]
    input: dict[str, Any] | None
    output: Any
    error: str | None
    logs: str
    metrics: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    source: str
    data_removed: bool
    urls: UrlsOut
    queue: QueuePlaceOut | None = left_out()
    waiting_for: WaitingForOut | None = left_out()
    deadline: datetime | None = left_out()
    deployment: str | None = left_out()
    request_id: str | None = left_out()
    on_disconnect: Literal["cancel"] | None = left_out()
    warnings: list[str] | None = left_out()
    left_out: list[str] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description=(
            "In lists, examples and webhooks: the names of long values (input, output, logs) that are null or"
            " empty here. `urls.get` has them."
        ),
    )
