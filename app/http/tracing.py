"""Traces (OpenTelemetry) of requests that Flask answers, of their SQL and of their commands to Redis.

Imported only if OTEL_EXPORTER_OTLP_ENDPOINT is set. OpenTelemetry reads its other variables, OTEL_*, itself.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from flask import Flask
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from app.http.context import context
from app.version import VERSION

_DEFAULTS = {
    "OTEL_SERVICE_NAME": "fullstack-app",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
    # A request in a hundred begins a trace.
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.01",
    # In seconds. The stop of a worker waits for it.
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
}
_ATTRIBUTES = frozenset(
    {
        *("http.request.method", "http.route", "http.response.status_code", "url.scheme", "error.type"),
        *("db.system.name", "db.namespace", "db.operation.name", "db.query.text"),
    }
)
"""The exported attributes. Others, such as URLs, hosts and addresses, may contain personal data."""
_HEALTH_CHECKS = r"/health(/live|/ready)?$"


class SpanExport(BatchSpanProcessor):
    """Exports spans in batches, by a thread: only _ATTRIBUTES, and no events and messages of errors."""

    def on_end(self, span: ReadableSpan) -> None:
        """Export a span later, unless it belongs to no request, as the checks of health do."""
        if span.parent is None and span.kind != trace.SpanKind.SERVER:
            return
        allowed = {name: value for name, value in (span.attributes or {}).items() if name in _ATTRIBUTES}
        # The name of a request without a route is its path.
        has_path = span.kind == trace.SpanKind.SERVER and "http.route" not in allowed
        super().on_end(
            ReadableSpan(
                "HTTP" if has_path else span.name,
                _without_state(span.context),
                _without_state(span.parent),
                span.resource,
                allowed,
                kind=span.kind,
                status=trace.Status(span.status.status_code),
                start_time=span.start_time,
                end_time=span.end_time,
                instrumentation_scope=span.instrumentation_scope,
            )
        )


def _without_state(span: trace.SpanContext | None) -> trace.SpanContext | None:
    """Without `tracestate`, whose text comes from the client."""
    return span and trace.SpanContext(span.trace_id, span.span_id, span.is_remote, span.trace_flags)


def install_tracing(app: Flask) -> None:
    """Trace the requests of `app`, and the statements and commands of this process. Nothing is exported yet."""
    for name, value in _DEFAULTS.items():
        os.environ[name] = os.environ.get(name) or value
    FlaskInstrumentor().instrument_app(app, excluded_urls=_HEALTH_CHECKS, enable_commenter=False)  # type: ignore[no-untyped-call]
    PsycopgInstrumentor().instrument()
    RedisInstrumentor().instrument()
    app.before_request(_keep_trace_id)


@contextlib.contextmanager
def exporting() -> Iterator[None]:
    """Export the spans of this process, which has been forked already, inside the block. It starts a thread."""
    resource = Resource.create({SERVICE_VERSION: VERSION})
    # The process ends without the functions of atexit.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SpanExport(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def add_trace_id(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Add the ids of the current span to a log line. A processor of structlog."""
    current = trace.get_current_span().get_span_context()
    if current.trace_flags.sampled:
        event["trace_id"] = trace.format_trace_id(current.trace_id)
        event["span_id"] = trace.format_span_id(current.span_id)
    return event


def _keep_trace_id() -> None:
    current = trace.get_current_span().get_span_context()
    if current.trace_flags.sampled:
        context().trace_id = trace.format_trace_id(current.trace_id)
