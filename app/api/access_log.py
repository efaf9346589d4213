"""One line for each request that is no probe. The route is written, never the address: tokens and signatures
stand in addresses."""

from typing import Any

from starlette.types import Scope

from app.observe.access_log import AccessLog

PREDICTIONS = "predictions"  # in a request's scope: ids of those that it has made or read
TRACEPARENT = "traceparent"  # in a request's scope: of its trace, where there is one
MOST_IDS = 8  # of them in one line
PROBES = frozenset({"/health", "/livez", "/ready", "/readyz", "/metrics"})


class AccessLines:
    """Of the requests that are no probes."""

    def __init__(self, access_log: AccessLog) -> None:
        self._log = access_log

    def add(self, scope: Scope, status: int, seconds: float) -> None:
        """One more."""
        if scope["path"] not in PROBES:
            self._log.add(fields_of(scope, status, seconds))


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
