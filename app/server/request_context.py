"""What belongs to one request from its head to the end of its answer: its id, and its span of a trace."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.runtime import tracing
from app.server.request_id import FIELD, id_for, sent_id

_TRACED = "/v1/images"
_MAX_BYTES = {b"traceparent": 55, b"tracestate": 512}
"""The fields of W3C Trace Context and the longest values that they may have: a longer one is ignored."""


class RequestContext:
    """Gives each request an id, which its answer and every line of the log that is written for it have.

    A request about images is a span of a trace, where traces are made: of the trace that its client names.
    What is refused by the head alone never comes here and has no span.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = id_for(sent_id(scope["headers"]))
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())  # each request is a task
        with _span_of(scope, request_id) as span:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"].append((FIELD, request_id))
                    span.set("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, sending)


def _span_of(scope: Scope, request_id: bytes) -> AbstractContextManager[tracing.Span]:
    """The span of a request about images; of others, and where no traces are made, one that is nothing."""
    if not tracing.are_made() or not scope["path"].startswith(_TRACED):
        return tracing.NO_SPAN
    method = scope["method"]
    attributes = {"http.request.method": method, "spillway.request_id": request_id.decode()}
    parent, name = _trace_fields(scope["headers"]), f"{method} {_route(scope['path'])}"
    return tracing.span(name, parent, tracing.SpanKind.SERVER, **attributes)


def _trace_fields(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The fields of W3C Trace Context that a request has."""
    return {
        name.decode(): value.decode("latin-1")
        for name, value in fields
        if name in _MAX_BYTES and len(value) <= _MAX_BYTES[name]
    }


def _route(path: str) -> str:
    """The address of a request without what differs from image to image, as spans are named."""
    parts = path.split("/")[3:]
    last = [part if part in ("events", "original", "variants") else "{variant}" for part in parts[1:2]]
    return "/".join([_TRACED, *(["{id}", *last] if parts else [])])
