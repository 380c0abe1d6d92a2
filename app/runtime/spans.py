"""What `app.runtime.tracing` asks of whatever makes the spans of traces."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

Value = str | int | float | bool


class SpanKind(StrEnum):
    """What a span is about, as OpenTelemetry has it."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"


class Span(Protocol):
    """A part of a trace that has not ended."""

    def set(self, name: str, value: Value) -> None:
        """Give it an attribute."""

    def fail(self, reason: str) -> None:
        """Mark it as an error."""


class Tracer(Protocol):
    """Makes spans."""

    def span(
        self, name: str, kind: SpanKind, parent: Mapping[str, str] | None, attributes: Mapping[str, Value]
    ) -> AbstractContextManager[Span]:
        """The span of a block."""

    def record(self, name: str, seconds: float, parent: Mapping[str, str]) -> None:
        """A span that ends now."""

    def context(self) -> dict[str, str]:
        """The header fields of W3C Trace Context for the current span; none if there is none."""

    def ids(self) -> dict[str, str]:
        """The ids of the current span for the log."""

    def stop(self) -> None:
        """Send what is left, for a bounded time."""
