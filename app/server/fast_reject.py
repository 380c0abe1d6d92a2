"""Early rejection: answers an upload that is certain to be refused, by its head alone.

A flood is the moment when refusing must be cheap. Here a refusal costs no task and nothing of FastAPI; the
guards that decide are those of the upload endpoint, and the answer is the one that the endpoint would give.
The most frequent one, for want of a token, is not even rendered: its few bytes are put together directly.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import httptools
from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.backpressure.token_bucket import Quota, RateLimited, ceil_div
from app.server.cors import CorsFields
from app.server.middleware import SECURITY
from app.server.problem_kinds import KINDS
from app.server.problems import RATE_LIMITED_DETAIL
from app.server.raw_response import RawResponse, field_line
from app.server.request_id import FIELD, id_for, random_uuid, sent_id

_RATE_LIMITED_HEAD = (
    STATUS_LINE[429]
    + b"cache-control: no-store\r\n"
    + b"retry-after: %d\r\n"
    + b'ratelimit-policy: "%b";q=%d;w=%d\r\n'
    + b'ratelimit: "%b";r=%d;t=%d\r\n'
    + b"content-length: %d\r\n"
    + b"content-type: application/problem+json\r\n"
    + b"".join(map(field_line, SECURITY))
    + b"x-request-id: %b\r\n"
)
_RATE_LIMITED_BODY = (
    f'{{"type":"{KINDS["rate"].type_uri}","title":"{KINDS["rate"].title}","status":429,'
    f'"detail":"{RATE_LIMITED_DETAIL}","instance":"urn:uuid:%s",'
    '"guard":"rate","violated-policies":["%s"],"retry_after_ms":%d}'
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an upload is refused, and what its client has left."""

    error: Exception
    quota: Quota


def rate_limited_response(quota: Quota, sent: bytes | None = None) -> RawResponse:
    """The bytes of `render(rate_limited(quota))` and the id of the request, for a client without a token.

    Where no id was `sent`, it is that of the problem's instance, so that none has to be made.
    """
    wait_ms = quota.next_token_ms
    wait_s = ceil_div(wait_ms, 1000)
    instance = random_uuid()
    text = _RATE_LIMITED_BODY % (quota.limit, wait_ms, instance, quota.policy, wait_ms)
    if sent is None:
        request_id, body = instance.encode(), text.encode()
    else:
        request_id, body = sent, f'{text[:-1]},"request_id":{json.dumps(sent.decode())}}}'.encode()
    name = quota.policy.encode()
    policy, left = (name, quota.limit, quota.window_s), (name, quota.remaining, wait_s)
    head = _RATE_LIMITED_HEAD % (max(1, wait_s), *policy, *left, len(body), request_id)
    return RawResponse(head, body)


class FastReject:
    """Decides about the heads of uploads, `POST` to one of some paths."""

    def __init__(
        self,
        paths: Iterable[str],
        check: Callable[[Scope], Refusal | None],
        answer: Callable[[Refusal, bytes | None], Response],
        count_rate_limited: Callable[[], None],
        cors: CorsFields | None = None,
    ) -> None:
        """`check` returns None for an upload that may come in.

        `answer` renders and counts a refusal of a request that sent this id, or none. One for want of a
        token is rendered here, and `count_rate_limited` is called for it. `cors` is given if pages of other
        origins may read answers.
        """
        self._paths = frozenset(path.encode() for path in paths)
        self._check = check
        self._answer = answer
        self._count_rate_limited = count_rate_limited
        self.cors = cors

    def __call__(self, scope: Scope, target: bytes) -> RawResponse | None:
        """The refusal of a POST to `target`, or None. Of `scope`, the client and the headers are read."""
        if not self._is_upload(target):
            return None
        refusal = self._check(scope)
        if refusal is None:
            return None
        refusal.error.__traceback__ = None  # its frames refer to the refusal: a cycle for each one in a flood
        sent = sent_id(scope["headers"])
        if isinstance(refusal.error, RateLimited):
            self._count_rate_limited()
            response = rate_limited_response(refusal.quota, sent)
        else:
            response = RawResponse.of(self._answer(refusal, sent))
            response = response.with_lines(field_line((FIELD, id_for(sent))))
        return response if self.cors is None else response.with_lines(self.cors.lines(scope["headers"]))

    def _is_upload(self, target: bytes) -> bool:
        """Whether a request target is one of the paths, however it is written (RFC 9112, section 3.2)."""
        if target.partition(b"?")[0] in self._paths:
            return True
        if b"%" not in target and b":" not in target:
            return False
        try:
            path = httptools.parse_url(target).path or b""
        except httptools.HttpParserInvalidURLError:
            return False
        return unquote_to_bytes(path) in self._paths
