"""What a request may say about where it runs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.request_routing import RequestRouting


class RoutingIn(BaseModel):
    """About the backends of a version that runs on several, as far as its `request_routing` allows."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"strategy": "least-loaded", "backends": ["gpu"]}]}
    )

    strategy: Literal["failover", "round-robin", "least-loaded", "best-performance"] | None = Field(
        None, description="Instead of the version's own."
    )
    backends: list[Annotated[str, Field(max_length=64)]] | None = Field(
        None, min_length=1, max_length=16, description="Only these of the version's."
    )


def routing_of(body: RoutingIn | None, config: Mapping[str, Any]) -> RequestRouting | None:
    """Raises InvalidRequest naming what the version's configuration does not allow."""
    if body is None:
        return None
    routing = RequestRouting(body.strategy or "", tuple(body.backends or ()))
    routing.check(config)
    return routing
