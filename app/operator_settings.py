"""The settings of what operators look at. Knows no source of settings."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from app.setting_types import Lower, Secret, Token, Url


class OperatorSettings(BaseSettings):
    """What an operator looks at: Flower, metrics, health, logs."""

    flower_address: str = Field("127.0.0.1", description="Address Flower listens on.")
    flower_port: int = Field(5555, ge=1, le=65535, description="Port of Flower, Celery's dashboard.")
    flower_url: str = Field(
        "", description="Where administrators' browsers reach Flower; empty: the web app shows no link."
    )
    flower_basic_auth: Secret = Field(
        "", description="user:password for Flower; it refuses to start without one."
    )

    metrics: bool = Field(True, description="Serve metrics for Prometheus at /metrics.")
    metrics_token: Token = Field(
        "",
        description=(
            "A bearer token that may read /metrics. Empty: only operators from the API, and only callers of"
            " the same machine from HEALTH_PORT."
        ),
    )
    health_host: str = Field("127.0.0.1", description="Address of HEALTH_PORT.")
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description=(
            "Where a worker, courier or clock answers /health, /ready and /metrics; 0: nowhere. "
            "`lovage up` gives it to the first worker and the next ones to the others."
        ),
    )

    log_format: Annotated[Literal["console", "json"], Lower] = Field(
        "json", description="`console` for people, `json` for machines."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = Field(
        "info", description="Least severe level that is written."
    )
    log_file: str = Field(
        "", description="A file for the log lines of this process; empty: standard error, or the terminal."
    )
    log_file_bytes: int = Field(
        10 * 1024 * 1024,
        ge=10_000,
        description="LOG_FILE is cut when it is larger: what it held is kept beside it as NAME.1.",
    )
    log_file_days: int = Field(
        7, ge=0, description="LOG_FILE is cut, too, when its first line is so many days old; 0: whenever."
    )
    otel_exporter_otlp_endpoint: Url = Field(
        "",
        description=(
            "Where traces go, over OTLP/HTTP, e.g. http://collector:4318; empty: nowhere. Needs the extra"
            " `telemetry`."
        ),
    )
    access_log: bool = Field(
        True,
        description=(
            "Write a line for each request that is no probe: method, route, status, milliseconds, user, ids."
        ),
    )
