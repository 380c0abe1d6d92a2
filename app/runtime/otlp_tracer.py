"""Traces by OpenTelemetry, exported by OTLP over HTTP. Imported only where they are asked for."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.runtime.spans import Span, SpanKind, Value

_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
_FLUSH_S = 3.0
"""Seconds at the end of the process for the spans that are left."""


class _OpenSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def fail(self, reason: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, reason))


class OtlpTracer:
    """Makes spans, which a thread sends in batches; when the collector does not keep up, spans are dropped.

    The SDK reads the other variables of OpenTelemetry itself: the sampler, the batches, headers, the timeout.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        own = {"service.version": __version__}
        if not variables.get("OTEL_SERVICE_NAME") and "service.name=" not in variables.get(_RESOURCE, ""):
            own["service.name"] = "spillway"
        self._provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("spillway", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, kind: SpanKind, parent: Mapping[str, str] | None, attributes: Mapping[str, Value]
    ) -> Iterator[Span]:
        """The span of a block."""
        context = None if parent is None else self._propagator.extract(parent)
        with self._tracer.start_as_current_span(
            name, context, trace.SpanKind[kind], attributes, set_status_on_exception=True
        ) as span:
            yield _OpenSpan(span)

    def record(self, name: str, seconds: float, parent: Mapping[str, str]) -> None:
        """A span that ends now."""
        context, now = self._propagator.extract(parent), time.time_ns()
        span = self._tracer.start_span(name, context, start_time=now - int(seconds * 1e9))
        span.end(now)

    def context(self) -> dict[str, str]:
        """The header fields of W3C Trace Context for the current span."""
        fields: dict[str, str] = {}
        self._propagator.inject(fields)
        return fields

    def ids(self) -> dict[str, str]:
        """The ids of the current span for the log."""
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return {}
        return {"trace_id": f"{current.trace_id:032x}", "span_id": f"{current.span_id:016x}"}

    def stop(self) -> None:
        """Send what is left, for a bounded time: the SDK would try for half a minute."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(_FLUSH_S)
