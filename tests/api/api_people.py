"""Who takes part in a test: a running API process, and people with a key who call it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from app.api.deps import Services


def bearer(token: str) -> dict[str, str]:
    """The header that says who calls."""
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Server:
    """`app` gives tests that need it a way past HTTP."""

    url: str
    app: Any

    @property
    def services(self) -> Services:
        found: Services = self.app.state.services
        return found


@dataclass(frozen=True)
class Person:
    name: str
    id: UUID
    key: str
    http: httpx.Client

    def model(self, name: str, *, visibility: str = "private", **version: Any) -> dict[str, Any]:
        """Registers a model with a version of the runtime echo in one call."""
        asked = {"name": name, "visibility": visibility, "version": {"runtime": "echo", **version}}
        answer = self.http.post("/v1/models", json=asked)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def run(self, model: str, **input: Any) -> dict[str, Any]:
        """Creates a prediction."""
        answer = self.http.post("/v1/predictions", json={"version": model, "input": input})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())
