"""`/metrics` for Prometheus: by METRICS_TOKEN, or for operators."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.deps import ServicesDep, caller_of
from app.api.problems import declared
from app.domain.errors import Forbidden, NotFound
from app.services.platform.metrics import may_scrape

router = APIRouter(tags=["Platform"])
TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@router.get(
    "/metrics",
    operation_id="platform.metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": TEXT, "application/openmetrics-text": TEXT},
            "description": "Prometheus' text format.",
        },
        **declared(401, 403, 404),
    },
)
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Of this process, and of the whole platform. For whoever has METRICS_TOKEN, and for operators."""
    options = services.options
    if not options.metrics:
        raise NotFound("Metrics are switched off (METRICS).")
    scraper = may_scrape(options.metrics_token, request.headers.get("authorization"))
    if not scraper and not (await caller_of(request)).is_operator:
        raise Forbidden("Metrics are for operators (scope admin) and for whoever has METRICS_TOKEN.")
    body, content_type = await run_sync(services.metrics.render, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
