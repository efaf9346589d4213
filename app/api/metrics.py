"""Counts every HTTP request and how long it took, by route and status."""

from functools import lru_cache
from typing import Any

from starlette.types import Scope

from app.observe import metrics

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"})


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
