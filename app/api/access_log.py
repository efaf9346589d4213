"""One line for each request that is no probe, in pure ASGI. The route is written, never the address: tokens
and signatures stand in addresses."""

from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observe.access_log import AccessLog

PREDICTIONS = "predictions"  # in a request's scope: ids of those that it has made or read
TRACEPARENT = "traceparent"  # in a request's scope: of its trace, where there is one
MOST_IDS = 8  # of them in one line
PROBES = frozenset({"/health", "/livez", "/ready", "/readyz", "/metrics"})
LEFT = 499  # as other servers write it: the caller went away before any answer


class AccessLines:
    """The outermost middleware, so that it sees what was answered in the end."""

    def __init__(self, app: ASGIApp, access_log: AccessLog) -> None:
        self._app, self._log = app, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        status, began = LEFT, perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except BaseException:  # written, then raised on
            status = 500  # Starlette answers it further out
            raise
        finally:
            self._log.add(fields_of(scope, status, perf_counter() - began))


def fields_of(scope: Scope, status: int, seconds: float) -> dict[str, Any]:
    """What a line says of a request that took `seconds`."""
    caller, ids = scope.get("caller"), scope.get(PREDICTIONS)
    named = scope.get("path_params", {}).get("prediction_id")
    return {
        "method": scope["method"],
        "route": getattr(scope.get("route"), "path", "other"),
        "status": status,
        "ms": round(seconds * 1000, 1),
        "user": caller.username if caller else None,
        "request_id": scope.get("request_id"),
        "prediction": ",".join(ids[:MOST_IDS]) if ids else named and named[:26],
    }
