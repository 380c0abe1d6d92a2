"""Early rejection: its bytes are those of the endpoint's refusal, and it stops only uploads."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api.errors import problem_of
from app.backpressure.token_bucket import Quota, RateLimited
from app.backpressure.waiting_room import QueueFull
from app.server.cors import CorsFields
from app.server.fast_reject import FastReject, Refusal, rate_limited_response
from app.server.problems import render
from app.server.raw_response import RawResponse, field_line
from tests.examples import examples

EMPTY = Quota(limit=10, window_s=5, remaining=0, next_token_ms=440)
ORIGIN = "https://photos.example"
EXPOSED = ["Retry-After", "RateLimit"]


def rendered(refusal: Refusal, sent: bytes | None = None) -> Response:
    """The endpoint's answer to a request that sent no id of its own."""
    assert sent is None
    return render(problem_of(refusal.error, refusal.quota))


def document(response: RawResponse) -> dict[str, Any]:
    """The problem in a response."""
    parsed: dict[str, Any] = json.loads(response.body)
    return parsed


def instance(response: RawResponse) -> str:
    """The UUID of the problem in a response."""
    return str(document(response)["instance"]).removeprefix("urn:uuid:")


def id_line(request_id: str) -> bytes:
    """The line of a head that tells the id of the request."""
    return field_line((b"x-request-id", request_id.encode()))


def with_instance_of(response: RawResponse, other: RawResponse) -> RawResponse:
    """The response with the other one's instance, which is all that may differ."""
    assert len(instance(response)) == len(instance(other)) == 36
    body = response.body.replace(instance(response).encode(), instance(other).encode())
    return RawResponse(response.head, body)


@examples
@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_bytes_of_a_rate_limit_refusal_are_those_that_are_rendered(
    wait_ms: int, limit: int, window_s: int
) -> None:
    """Every byte but the instance, for any wait and policy, and each instance is another."""
    quota = Quota(limit, window_s, 0, wait_ms)
    truth = RawResponse.of(rendered(Refusal(RateLimited(quota), quota)))
    response = rate_limited_response(quota)
    assert response.body != truth.body
    assert with_instance_of(response, truth) == truth.with_lines(id_line(instance(response)))
    named = rate_limited_response(quota, b'a"b')
    assert named.head.endswith(id_line('a"b'))
    assert document(named) == document(truth) | {"request_id": 'a"b', "instance": document(named)["instance"]}


class Guarded:
    """An early rejection that refuses every upload for want of a token, and what it asked and counted."""

    def __init__(self, quota: Quota = EMPTY, cors: CorsFields | None = None) -> None:
        self.counted = 0
        self.asked: list[Any] = []
        self.refusal: Refusal | None = Refusal(RateLimited(quota), quota)
        self._fast_reject = FastReject(["/v1/images"], self._check, rendered, self._count, cors)

    def _check(self, scope: Any) -> Refusal | None:
        self.asked.append(scope)
        return self.refusal

    def _count(self) -> None:
        self.counted += 1

    def post(self, target: bytes = b"/v1/images", *fields: tuple[bytes, bytes]) -> RawResponse | None:
        """The answer to the head of a POST."""
        return self._fast_reject({"client": ("192.0.2.7", 4711), "headers": list(fields)}, target)


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/images",
        b"/v1/images?variants=thumb",
        b"/v1/images?",
        b"/v1/%69mages",
        b"http://spillway.test/v1/images?x=1",
    ],
)
def test_an_upload_without_a_token_is_refused_however_its_target_is_written(target: bytes) -> None:
    """It is answered, and counted once."""
    guarded = Guarded()
    response = guarded.post(target)
    assert response is not None
    assert response.head.startswith(b"HTTP/1.1 429 ")
    assert guarded.counted == 1


@pytest.mark.parametrize(
    "target",
    [b"/v1/images/", b"//v1/images", b"/v1/quota", b"/", b"*", b"/v1/imagesx", b"/v1/images%2f"],
)
def test_nothing_else_is_looked_at(target: bytes) -> None:
    """A request that is no upload passes, and no guard is asked."""
    guarded = Guarded()
    assert guarded.post(target) is None
    assert not guarded.asked


def test_an_upload_that_may_come_in_passes() -> None:
    """An upload that no guard refuses by its head is left to the endpoint; nothing is counted."""
    guarded = Guarded()
    guarded.refusal = None
    assert guarded.post() is None
    assert guarded.counted == 0


def test_other_refusals_are_answered_as_the_endpoint_does() -> None:
    """A full queue's refusal is rendered, and counted where it is rendered."""
    guarded = Guarded()
    error = QueueFull(3, 100)
    with pytest.raises(QueueFull):
        raise error
    guarded.refusal = Refusal(error, EMPTY)
    response = guarded.post()
    assert response is not None
    assert error.__traceback__ is None  # else a cycle of its frames waits for the garbage collector
    truth = RawResponse.of(rendered(guarded.refusal))
    assert with_instance_of(response, truth).body == truth.body
    assert response.head.startswith(truth.head + b"x-request-id: ")
    assert response.head.startswith(b"HTTP/1.1 503 ")
    assert guarded.counted == 0


def test_a_refusal_tells_the_quota_at_hand() -> None:
    """Also after the rate limit was changed."""
    guarded = Guarded()
    guarded.post()
    quota = Quota(3, 60, 0, 19_500)
    guarded.refusal = Refusal(RateLimited(quota), quota)
    response = guarded.post()
    assert response is not None
    lines = response.head.split(b"\r\n")
    assert b'ratelimit-policy: "ip";q=3;w=60' in lines
    assert b'ratelimit: "ip";r=0;t=20' in lines
    assert b"retry-after: 20" in lines
    assert document(response)["retry_after_ms"] == 19_500


async def through_middleware(allowed: Sequence[str], headers: list[tuple[bytes, bytes]]) -> bytes:
    """The lines that CORSMiddleware adds to an answer without any."""
    lines: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 429, "headers": []})

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        lines.extend(map(field_line, message["headers"]))

    middleware = CORSMiddleware(app, allow_origins=allowed, expose_headers=EXPOSED)
    await middleware({"type": "http", "method": "POST", "headers": headers}, receive, send)
    return b"".join(lines)


@pytest.mark.anyio
@pytest.mark.parametrize("allowed", [[ORIGIN], ["*"], ["https://other.example", ORIGIN]], ids=str)
@pytest.mark.parametrize("origin", [ORIGIN, "https://evil.example", "null", "é", None], ids=str)
async def test_pages_of_other_origins_may_read_it_where_they_may_read_answers(
    allowed: list[str], origin: str | None
) -> None:
    """The lines are those that CORSMiddleware adds, byte for byte, and follow those of the refusal."""
    headers = [(b"x-first", b"1")] + ([] if origin is None else [(b"origin", origin.encode("latin-1"))])
    expected = await through_middleware(allowed, headers)
    response = Guarded(cors=CorsFields(allowed, EXPOSED)).post(b"/v1/images", *headers)
    assert response is not None
    assert response.head.endswith(b"\r\n" + expected)
    named = f"access-control-allow-origin: {ORIGIN}\r\n".encode() in response.head
    assert named == (origin == ORIGIN and "*" not in allowed)
