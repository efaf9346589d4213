"""A trace for each request that makes predictions, in pure ASGI; only there while traces are wanted."""

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.access_log import PREDICTIONS, TRACEPARENT
from app.api.creating_addresses import makes_predictions
from app.observe.tracing import Tracing, set_error, traceparent_of

SPAN = "span"  # in a request's scope


class TraceRequests:
    """`traceparent` of the caller is the parent. What writes the spans is the process's own, which is there
    once it serves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_making = scope["type"] == "http" and scope["method"] == "POST" and makes_predictions(scope["path"])
        if not is_making:
            await self._app(scope, receive, send)
            return
        parent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        tracing: Tracing = scope["app"].state.api.core.tracing
        span = tracing.begin("POST", parent or None)
        scope[TRACEPARENT] = traceparent_of(span)
        scope[SPAN] = span
        await self._app(scope, receive, send)


def end_span(scope: Scope, status: int, _: float) -> None:
    """The request is answered; does nothing for one without a trace."""
    span: Any = scope.get(SPAN)
    if span is None:
        return
    route = getattr(scope.get("route"), "path", "other")
    span.update_name(f"POST {route}")
    attributes = {
        "http.request.method": "POST",
        "http.route": route,
        "http.response.status_code": status,
        "lovage.request_id": scope.get("request_id"),
    }
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if ids := scope.get(PREDICTIONS):
        span.set_attribute("lovage.predictions", ids)
    if status >= 500:
        set_error(span, str(status))
    span.end()
