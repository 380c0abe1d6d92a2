"""The turnstile: turns away an upload, by its head alone, whose client is known to have no token.

A flood is the moment when a refusal must cost nothing: here it costs no scope, no task, and nothing of
FastAPI. The turnstile asks the limiter that the bouncer asks, and gives the bytes that the bouncer's answer
would become; the bouncer remains the guard that takes tokens.
"""

import contextlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import httptools
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.bucket import Quota, RateLimited

_SECONDS = 7_654_321_000
_MILLISECONDS = _SECONDS * 1000
"""A wait that no refusal tells, and whose digits stand in no other part of one."""


@dataclass(frozen=True, slots=True)
class Wire:
    """An answer as bytes: the status line and fields without the blank line that ends them, and the body."""

    head: bytes
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "Wire":
        """The bytes of a response whose body is known."""
        lines = [STATUS_LINE[response.status_code], *map(field_line, response.raw_headers)]
        return cls(b"".join(lines), bytes(response.body))


def field_line(field: tuple[bytes, bytes]) -> bytes:
    """One header field as it goes over the wire."""
    return field[0] + b": " + field[1] + b"\r\n"


class Template:
    """Every refusal for want of a token of one policy: its bytes, ready but for what differs among them."""

    def __init__(self, limit: int, window_s: int, render: Callable[[RateLimited], Response]) -> None:
        """Made from one that `render` gave, so that there is one truth about how a refusal looks."""
        wire = Wire.of(render(RateLimited(Quota(limit, window_s, 0, _MILLISECONDS))))
        instance = json.loads(wire.body)["instance"].rpartition(":")[2].encode()
        length = b"content-length: %d\r\n" % len(wire.body)
        self._head = _holes(wire.head).replace(length, b"content-length: %(length)d\r\n")
        self._body = _holes(wire.body).replace(instance, b"%(instance)s")

    def fill(self, next_token_ms: int) -> Wire:
        """The refusal of a client whose next token comes after so many milliseconds."""
        values: dict[bytes, int | bytes] = {
            b"ms": next_token_ms,
            b"s": -(-next_token_ms // 1000),
            b"instance": str(uuid.uuid4()).encode(),
        }
        body = self._body % values
        values[b"length"] = len(body)
        return Wire(self._head % values, body)


def _holes(rendered: bytes) -> bytes:
    """A format string: what was rendered, with holes where the wait stood."""
    text = rendered.replace(b"%", b"%%").replace(b"%d" % _MILLISECONDS, b"%(ms)d")
    return text.replace(b"%d" % _SECONDS, b"%(s)d")


def _shared(cors: CORSMiddleware, request: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The fields that let a page of another origin read the answer, as the layer itself adds them."""
    answer: Message = {"type": "http.response.start", "headers": []}

    async def nobody(_: Message) -> None:
        pass

    with contextlib.suppress(StopIteration):  # it has nothing to wait for
        cors.send(answer, nobody, Headers(raw=list(request))).send(None)
    return b"".join(map(field_line, answer["headers"]))


class Turnstile:
    """Answers the heads of uploads from clients without tokens; lets everything else through."""

    def __init__(
        self,
        path: str,
        quota_or_due: Callable[[Scope], Quota | None],
        render: Callable[[RateLimited], Response],
        count: Callable[[], None],
        cors: CORSMiddleware | None = None,
    ) -> None:
        """Watches POST `path`. `quota_or_due` gives None for an upload that owes no token; `count` counts."""
        self._path = path.encode()
        self._target = self._path + b"?"
        self._quota_or_due = quota_or_due
        self._render = render
        self._count = count
        self._cors = cors
        self._policy: tuple[int, int] | None = None
        self._template: Template | None = None

    def __call__(self, scope: Scope, target: bytes) -> Wire | None:
        """The refusal of a POST to `target`, or None. Of `scope`, the client and the headers are read."""
        if not self._is_watched(target):
            return None
        quota = self._quota_or_due(scope)
        if quota is None or quota.remaining:
            return None
        self._count()
        refusal = self._template_of(quota).fill(quota.next_token_ms)
        if self._cors is None:
            return refusal
        return Wire(refusal.head + _shared(self._cors, scope["headers"]), refusal.body)

    def _is_watched(self, target: bytes) -> bool:
        if target == self._path or target.startswith(self._target):
            return True
        if b"%" not in target and b":" not in target:
            return False
        try:
            path = httptools.parse_url(target).path or b""
        except httptools.HttpParserInvalidURLError:
            return False
        return unquote_to_bytes(path) == self._path

    def _template_of(self, quota: Quota) -> Template:
        policy = quota.limit, quota.window_s
        if self._template is None or self._policy != policy:
            self._template, self._policy = Template(*policy, self._render), policy
        return self._template
