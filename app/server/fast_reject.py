"""The turnstile: turns away, by its head alone, an upload that is certain to be refused.

A flood is the moment when a refusal must cost nothing: here it costs no task, and nothing of FastAPI. The
turnstile asks the gate, whose guards are the upload endpoint's own, and gives the bytes that the answer from
there would become. The commonest refusal, for want of a token, is not even rendered.
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

from app.backpressure.token_bucket import Quota, RateLimited
from app.uploads.admission import Refusal

_SECONDS = 7_654_321_000
_MILLISECONDS = _SECONDS * 1000
"""A wait that no refusal tells, and whose digits stand in no other part of one."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """An answer as bytes: the status line and fields without the blank line that ends them, and the body."""

    head: bytes
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "RawResponse":
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
        wire = RawResponse.of(render(RateLimited(Quota(limit, window_s, 0, _MILLISECONDS))))
        instance = json.loads(wire.body)["instance"].rpartition(":")[2].encode()
        length = b"content-length: %d\r\n" % len(wire.body)
        self._head = _holes(wire.head).replace(length, b"content-length: %(length)d\r\n")
        self._body = _holes(wire.body).replace(instance, b"%(instance)s")

    def fill(self, next_token_ms: int) -> RawResponse:
        """The refusal of a client whose next token comes after so many milliseconds."""
        values: dict[bytes, int | bytes] = {
            b"ms": next_token_ms,
            b"s": -(-next_token_ms // 1000),
            b"instance": str(uuid.uuid4()).encode(),
        }
        body = self._body % values
        values[b"length"] = len(body)
        return RawResponse(self._head % values, body)


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


class FastReject:
    """Answers the heads of uploads from clients without tokens; lets everything else through."""

    def __init__(
        self,
        path: str,
        refuse: Callable[[Scope], Refusal | None],
        answer: Callable[[Refusal], Response],
        render: Callable[[RateLimited], Response],
        count: Callable[[], None],
        cors: CORSMiddleware | None = None,
    ) -> None:
        """Watches POST `path`. `refuse` gives None for an upload that may get in.

        `answer` renders and counts a refusal; for want of a token, `render` is asked once and `count` counts.
        """
        self._path = path.encode()
        self._target = self._path + b"?"
        self._refuse = refuse
        self._answer = answer
        self._render = render
        self._count = count
        self._cors = cors
        self._policy: tuple[int, int] | None = None
        self._template: Template | None = None

    def __call__(self, scope: Scope, target: bytes) -> RawResponse | None:
        """The refusal of a POST to `target`, or None. Of `scope`, the client and the headers are read."""
        if not self._is_watched(target):
            return None
        refusal = self._refuse(scope)
        if refusal is None:
            return None
        if isinstance(refusal.error, RateLimited):
            self._count()
            wire = self._template_of(refusal.quota).fill(refusal.quota.next_token_ms)
        else:
            wire = RawResponse.of(self._answer(refusal))
        if self._cors is None:
            return wire
        return RawResponse(wire.head + _shared(self._cors, scope["headers"]), wire.body)

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
