"""Where a trace's spans begin and end; they cost nothing until `start()` finds that they are wanted.

Traces are made by OpenTelemetry, an extra (`spillway[otel]`), and are turned on by its own variables: by
OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. Nothing of it is imported otherwise.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import structlog

from app.runtime.spans import Span, SpanKind, Tracer, Value

__all__ = [
    "NO_SPAN",
    "Span",
    "SpanKind",
    "are_made",
    "context",
    "ids",
    "record",
    "span",
    "start",
    "stop",
    "traceparent",
]

log = structlog.get_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOL, _SPOKEN = "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"


class _NoSpan:
    def set(self, name: str, value: Value) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


NO_SPAN: AbstractContextManager[Span] = nullcontext(_NoSpan())
"""The span of a block that is in no trace."""
_tracer: Tracer | None = None


def start(variables: Mapping[str, str] = os.environ) -> None:
    """Make traces from now on, if the variables ask for them. Without effect while they are made.

    What is wrong with the variables is logged, and there are no traces then.
    """
    global _tracer
    if _tracer is not None or not _are_wanted(variables):
        return
    protocol = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or variables.get(_PROTOCOL) or _SPOKEN
    if protocol != _SPOKEN:
        log.warning(f"no traces: {_PROTOCOL} is {protocol}, and only {_SPOKEN} is spoken here")
        return
    try:
        from app.runtime.otlp_tracer import OtlpTracer

        _tracer = OtlpTracer(variables)
    except ImportError:
        log.warning("no traces: OTEL_EXPORTER_OTLP_ENDPOINT is set, but spillway[otel] is not installed")
    except ValueError as error:
        log.warning("no traces: a variable of OpenTelemetry is not valid", reason=str(error))
    else:
        log.info("traces are exported")


def _are_wanted(variables: Mapping[str, str]) -> bool:
    """Whether there is a collector, and nothing turns traces off."""
    is_off = variables.get("OTEL_SDK_DISABLED", "").lower() == "true"
    is_named = any(variables.get(name) for name in _ENDPOINTS)
    return is_named and not is_off and variables.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"


def are_made() -> bool:
    """Whether traces are made, for callers that would compute something for a span."""
    return _tracer is not None


async def stop() -> None:
    """Send the spans that are left, for a bounded time, and make no more."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        await asyncio.to_thread(tracer.stop)


def span(
    name: str,
    parent: str | Mapping[str, str] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    **attributes: Value,
) -> AbstractContextManager[Span]:
    """The span of a block, in which it is the current one; an exception that leaves the block marks it.

    `parent` is a `traceparent`, or header fields that may have one; without, it is the current span.
    """
    if _tracer is None:
        return NO_SPAN
    return _tracer.span(
        name, kind, {"traceparent": parent} if isinstance(parent, str) else parent, attributes
    )


def record(name: str, seconds: float, parent: str | None) -> None:
    """A span that took so many `seconds` and ends now; `parent` is a `traceparent`."""
    if _tracer is not None and parent is not None:
        _tracer.record(name, seconds, {"traceparent": parent})


def traceparent() -> str | None:
    """The current span, as a record or a header field names a parent (W3C Trace Context)."""
    return context().get("traceparent")


def context() -> dict[str, str]:
    """The header fields that tell a server of the current span; none when no traces are made."""
    return {} if _tracer is None else _tracer.context()


def ids() -> dict[str, str]:
    """`trace_id` and `span_id` of the current span, for lines of the log; none when no traces are made."""
    return {} if _tracer is None else _tracer.ids()
