"""Which pages of other origins may call, by the CORS protocol of the Fetch standard.

Starlette's middleware does most of it. Added are problem documents for preflights that are refused, and the
fields of answers that never pass the middleware.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.server.links import Links
from app.server.problem_kinds import KINDS
from app.server.problems import Problem, render
from app.server.raw_response import field_line

ALLOWED_HEADERS = (
    "Authorization",
    "Cache-Control",
    "Content-Disposition",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Pragma",
    "Prefer",
    "Range",
    "Traceparent",
    "Tracestate",
    "X-Request-Id",
    "X-Requested-With",
)
"""What pages of the origins that are named may send. Some libraries for uploads add fields that mean nothing
here: Dropzone and uppy send Cache-Control and X-Requested-With."""


@dataclass(frozen=True, slots=True)
class CorsFields:
    """The header fields that let pages of other origins read an answer, as `CORSMiddleware` adds them."""

    allow_origins: Sequence[str]
    """The origins; `*` among them stands for all."""
    expose_headers: Sequence[str]

    def lines(self, request: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The lines that belong into the head of the answer to a request with these header fields."""
        origin = next((value for name, value in request if name == b"origin"), None)
        fields: list[tuple[bytes, bytes]] = []
        if origin is not None:
            if "*" in self.allow_origins:
                fields.append((b"access-control-allow-origin", b"*"))
            fields.append((b"access-control-expose-headers", ", ".join(self.expose_headers).encode()))
            if "*" not in self.allow_origins and origin.decode("latin-1") in self.allow_origins:
                fields.append((b"access-control-allow-origin", origin))
        fields.append((b"vary", b"Origin"))
        return b"".join(map(field_line, fields))


class Cors(CORSMiddleware):
    """Answers preflights, and adds the fields to all other answers; with `*` pages may send any header."""

    def __init__(self, app: ASGIApp, /, links: Links, **rules: Any) -> None:
        """`links` makes the types of problems; `rules` are the arguments of `CORSMiddleware`."""
        super().__init__(app, **rules)
        self._links = links

    def preflight_response(self, request_headers: Headers) -> Response:
        """As Starlette's, but a refusal is a problem document."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        problem = render(Problem(KINDS["preflight"], f"{bytes(answer.body).decode()}."), self._links)
        added = [
            field for field in answer.raw_headers if field[0] not in (b"content-length", b"content-type")
        ]
        problem.raw_headers += added
        return problem
