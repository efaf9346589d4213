"""Traces by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT is set: one for each prediction, from the
request that made it to its webhook.

A span is written when what it is about is over, with the times that were measured anyway: nothing is started,
nested or kept on the way of a prediction. The context travels in its row. Without an endpoint no process
imports OpenTelemetry, and callers hold None instead of a `Tracing`. Knows neither HTTP nor predictions.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ATTRIBUTE = str | int | float | bool
MISSING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: pip install 'lovage[telemetry]',"
    " or leave it empty"
)


class NotInstalled(RuntimeError):
    """Traces are wanted, and the extra `telemetry` is not installed."""


@dataclass(frozen=True, slots=True)
class Period:
    """When something began and ended, in seconds since 1970."""

    began: float
    ended: float


class Tracing:
    """One for each process; thread-safe. `close` sends what is left."""

    def __init__(self, endpoint: str, service: str, version: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise NotInstalled(MISSING) from None
        resource = Resource.create({"service.name": service, "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("lovage", version)

    def begin(self, name: str, parent: str | None) -> Any:
        """An open span, for what others are to be below before it is over. `parent` is a `traceparent`
        header, or None: a trace of its own."""
        return self._tracer.start_span(name, context=_context(parent), kind=_kind("server"))

    def write(
        self,
        name: str,
        parent: str,
        period: Period,
        kind: str = "internal",
        attributes: Mapping[str, ATTRIBUTE | None] | None = None,
        error: str | None = None,
    ) -> str:
        """A span that is over; its own `traceparent`, for spans below it. Attributes that are None are left
        out."""
        known = {key: value for key, value in (attributes or {}).items() if value is not None}
        span = self._tracer.start_span(
            name, _context(parent), _kind(kind), known, start_time=_nanoseconds(period.began)
        )
        if error is not None:
            set_error(span, error)
        span.end(_nanoseconds(max(period.began, period.ended)))
        return traceparent_of(span)

    def close(self) -> None:
        """Sends what waits to be sent."""
        self._provider.shutdown()


def traceparent_of(span: Any) -> str:
    """As the header of the same name (W3C Trace Context)."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def set_error(span: Any, description: str) -> None:
    """The span's status, for what failed."""
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, description))


def now() -> float:
    """Seconds since 1970."""
    return time.time()


def _context(traceparent: str | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": traceparent} if traceparent else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _kind(name: str) -> Any:
    from opentelemetry.trace import SpanKind

    return SpanKind[name.upper()]


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


def open_tracing(endpoint: str, service: str, version: str) -> Tracing | None:
    """None without an endpoint. Raises NotInstalled."""
    return Tracing(endpoint, service, version) if endpoint else None
