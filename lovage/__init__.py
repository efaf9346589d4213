"""Lovage's client for Python: `Client` for threads, `AsyncClient` for asyncio. docs/reference/sdk.md lists
everything."""

from lovage.async_client import AsyncClient
from lovage.client import Client
from lovage.errors import LovageError, PredictionFailed, Refused, Unreachable, WrongCertificate
from lovage.tensors import Tensor
from lovage.values import Event, Prediction, SessionInfo, Tls

__all__ = [
    "AsyncClient",
    "Client",
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
