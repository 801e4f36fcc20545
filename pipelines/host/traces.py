"""OpenTelemetry traces: a span for each command, below the one that started it, where an endpoint is configured.

The endpoint and all else are OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME ...). The
parent is in TRACEPARENT (W3C), which is passed on to all that a command starts: DVC, its stages, a Ray job. Without an
endpoint nothing of OpenTelemetry is imported.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog

from headrace.components.redaction import redacted
from headrace.pipelines.host.logs import log_context

PARENT_VARIABLE = "TRACEPARENT"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# Which jobs get, too. Never OTEL_EXPORTER_OTLP_HEADERS, which may hold a token: nodes have one of their own.
TRACE_VARIABLES = (
    *_ENDPOINTS,
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    PARENT_VARIABLE,
)
_EXPORT_SECONDS = 5  # a collector that is away may not hold a command up

log = structlog.get_logger()


def is_traced() -> bool:
    """Whether an endpoint is configured, and traces are not switched off."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(os.environ.get(name) for name in _ENDPOINTS)


@contextmanager
def traced(name: str, attributes: Mapping[str, str] | None = None) -> Iterator[None]:
    """A span for the length of the block, below TRACEPARENT, which names the span itself within the block.

    A SystemExit with another code than 0, and any exception, are its error. What can't be exported is lost, with a
    line in the log; nothing fails.
    """
    provider = _provider() if is_traced() else None
    if provider is None:
        yield
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator, before = TraceContextTextMapPropagator(), os.environ.get(PARENT_VARIABLE)
    parent = propagator.extract({"traceparent": before or ""})
    span = provider.get_tracer("headrace").start_span(name, context=parent, attributes=dict(attributes or {}))
    carrier: dict[str, str] = {}
    propagator.inject(carrier, context=trace.set_span_in_context(span))
    os.environ[PARENT_VARIABLE] = carrier["traceparent"]
    try:
        yield
    except BaseException as error:
        _set_error(span, error)
        raise
    finally:
        if before is None:
            os.environ.pop(PARENT_VARIABLE, None)
        else:
            os.environ[PARENT_VARIABLE] = before
        span.set_attributes({f"headrace.{name}": value for name, value in log_context().items()})
        span.end()
        provider.shutdown()


def root_parent(name: str) -> str:
    """TRACEPARENT of a root span that is exported later, by `export_root`: a function of its name alone.

    >>> root_parent("headrace_digits/manual__1")[:6]
    '00-29f'
    """
    trace_id, span_id = _root_ids(name)
    return f"00-{trace_id:032x}-{span_id:016x}-01"


def export_root(
    name: str, *, title: str, start: datetime, end: datetime, error: str | None, attributes: Mapping[str, str]
) -> None:
    """Export the root span that spans below `root_parent(name)` belong to."""
    trace_id, span_id = _root_ids(name)
    provider = _provider(ids=(trace_id, span_id)) if is_traced() else None
    if provider is None:
        return
    from opentelemetry.trace import Status, StatusCode

    span = provider.get_tracer("headrace").start_span(
        title, start_time=_nanoseconds(start), attributes=dict(attributes)
    )
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, redacted(error)))
    span.end(end_time=_nanoseconds(end))
    provider.shutdown()


def _root_ids(name: str) -> tuple[int, int]:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:24], "big") or 1


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1000


def _set_error(span: Any, error: BaseException) -> None:
    from opentelemetry.trace import Status, StatusCode

    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
        span.set_attribute("process.exit.code", code)
        if code:
            span.set_status(Status(StatusCode.ERROR, f"exit code {code}"))
        return
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, redacted(str(error))))


def _provider(ids: tuple[int, int] | None = None) -> Any:
    """What exports the spans of this process, with given ids for the only one; None where a package is missing."""
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        exporter = _exporter()
    except ImportError as error:
        log.warning("no traces: a package is missing; install headrace[otel]", missing=error.name)
        return None

    class Given(RandomIdGenerator):
        """The ids of a span whose children exist already."""

        def generate_trace_id(self) -> int:
            return ids[0] if ids else super().generate_trace_id()

        def generate_span_id(self) -> int:
            return ids[1] if ids else super().generate_span_id()

    resource = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "headrace"})
    provider = TracerProvider(resource=resource, id_generator=Given(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporter() -> Any:
    """OTLP, in the protocol that OpenTelemetry's variables name, by default over HTTP."""
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return Grpc(timeout=_EXPORT_SECONDS)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=_EXPORT_SECONDS)
