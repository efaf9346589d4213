"""A prediction as the answer to a request: written by hand (orjson), in blocks where part of it is in the
storage."""

from collections.abc import Mapping
from typing import Any

import orjson
from anyio.to_thread import run_sync
from starlette.responses import Response, StreamingResponse

from app.api.deps import Services
from app.domain.predictions import Prediction

JSON = "application/json"


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON, written once and directly."""
    return Response(orjson.dumps(body), status, headers, JSON)


async def answer_prediction(
    services: Services,
    prediction: Prediction,
    base: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    as_starting: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """The whole object. Long values go from the storage to the caller block by block: however slowly that one
    reads, this process holds one of them. Raises StorageFailed."""
    if not prediction.not_here:
        shown = services.view.render(prediction, base, as_starting=as_starting)
        return answer({**shown, **more} if more else shown, status, headers)
    async with services.follower.budget.hold(prediction.size if must_be_read(prediction) else 0):
        whole = await run_sync(
            lambda: services.answers.render(prediction, base, as_starting=as_starting, more=more)
        )
    length = {"Content-Length": str(whole.size)}
    return StreamingResponse(whole.blocks, status, (headers or {}) | length, JSON)


def must_be_read(prediction: Prediction) -> bool:
    """Whether its stored output cannot be passed on as it is: its links are signed anew for each reader."""
    return bool(prediction.output_key and (prediction.output or {}).get("files"))
