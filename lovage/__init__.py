"""Lovage's client for Python: `Client` for threads, `AsyncClient` for asyncio. docs/reference/sdk.md lists
everything. `Context` is for predictors, which run on workers (docs/runtimes.md).

Each name is imported when it is asked for: a predictor that needs `Context` may bring an httpx of its own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.runtimes.python.context import Context
    from lovage.async_client import AsyncClient
    from lovage.client import Client
    from lovage.errors import LovageError, PredictionFailed, Refused, Unreachable, WrongCertificate
    from lovage.tensors import Tensor
    from lovage.values import Event, Prediction, SessionInfo, Tls

__all__ = [
    "AsyncClient",
    "Client",
    "Context",
    "Event",
    "LovageError",
    "Prediction",
    "PredictionFailed",
    "Refused",
    "SessionInfo",
    "Tensor",
    "Tls",
    "Unreachable",
    "WrongCertificate",
]

HOMES = {
    "AsyncClient": "lovage.async_client",
    "Client": "lovage.client",
    "Context": "app.runtimes.python.context",
    "Tensor": "lovage.tensors",
    **dict.fromkeys(("Event", "Prediction", "SessionInfo", "Tls"), "lovage.values"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lovage' has no attribute {name!r}")
    return getattr(import_module(HOMES.get(name, "lovage.errors")), name)
