"""What calls answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from lovage.errors import PredictionFailed

TERMINAL = ("succeeded", "failed", "canceled")
Kind = Literal["start", "output", "log", "progress", "restart", "done"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction as it was when it was read. `data` is all that the platform says of it."""

    id: str
    model: str
    version: str
    status: str
    output: Any = None
    error: str | None = None
    error_code: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Of the API's object."""
        return cls(
            data["id"],
            data["model"],
            data["version"],
            data["status"],
            data.get("output"),
            data.get("error"),
            data.get("error_code"),
            data.get("metrics") or {},
            data,
        )

    @property
    def has_ended(self) -> bool:
        """Whether it succeeded, failed or was canceled."""
        return self.status in TERMINAL

    def require_success(self) -> Self:
        """Itself. Raises PredictionFailed."""
        if self.status != "succeeded":
            raise PredictionFailed(self)
        return self


@dataclass(frozen=True, slots=True)
class Event:
    """One of a prediction's, numbered from 1. `data` of `output` is a piece, of `log` a text, of `progress`
    `{"done": …, "total": …}`. After `restart` everything begins anew. The last is `done`, with the whole
    `prediction`. `id`: the prediction's."""

    number: int
    kind: Kind
    data: Any = None
    prediction: Prediction | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What POST /v1/sessions answers. `tls`: none, server or mutual. `certificate_sha256`: of the one that
    the worker shows, in hex."""

    address: str
    token: str
    model: str
    version: str
    worker: str = ""
    tls: str = "none"
    certificate_sha256: str | None = None
    expires_at: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Of the API's object; what it has besides is left out."""
        return cls(**{name: data[name] for name in cls.__slots__ if data.get(name) is not None})


@dataclass(frozen=True, slots=True)
class Tls:
    """Files, PEM. `ca`: who signs the server's certificate (default: the system's authorities). `certificate`
    and `key`: the client's own, for mutual TLS."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
