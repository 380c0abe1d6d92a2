"""The turnstile: its bytes are those that the bouncer's refusal would become, and it stops nobody else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from app.api.errors import problem_of
from app.backpressure.token_bucket import Quota, RateLimited
from app.backpressure.waiting_room import QueueFull
from app.server.fast_reject import FastReject, RawResponse, Template
from app.server.problems import render
from app.uploads.admission import Refusal
from tests.examples import examples

EMPTY = Quota(limit=10, window_s=5, remaining=0, next_token_ms=440)
ORIGIN = b"https://photos.example"


def rendered(error: RateLimited) -> Response:
    return render(problem_of(error))


def answered(refusal: Refusal) -> Response:
    return render(problem_of(refusal.error, refusal.quota))


def parsed(wire: RawResponse) -> tuple[bytes, dict[bytes, bytes], dict[str, Any]]:
    """The status line, the fields and the document of a refusal, without what differs each time."""
    status, *lines = wire.head.removesuffix(b"\r\n").split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    assert len(fields) == len(lines)
    document = json.loads(wire.body)
    assert int(fields[b"content-length"]) == len(wire.body)
    assert len(document.pop("instance")) == len("urn:uuid:") + 36
    return status, fields, document


@examples
@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_filled_template_is_the_rendered_refusal(wait_ms: int, limit: int, window_s: int) -> None:
    """Status, every field and every member, for any wait and policy."""
    filled = Template(limit, window_s, rendered).fill(wait_ms)
    truth = RawResponse.of(rendered(RateLimited(Quota(limit, window_s, 0, wait_ms))))
    assert parsed(filled) == parsed(truth)


def test_each_refusal_is_an_instance_of_its_own() -> None:
    """Two refusals differ in nothing but their instance."""
    template = Template(10, 5, rendered)
    first, second = template.fill(440), template.fill(440)
    assert first.body != second.body
    assert parsed(first) == parsed(second)


class WaitingRoom:
    """A turnstile that refuses all for want of a token, and what it counted."""

    def __init__(self, quota: Quota = EMPTY, cors: CORSMiddleware | None = None) -> None:
        self.counted = 0
        self.asked: list[Any] = []
        self.refusal: Refusal | None = Refusal(RateLimited(quota), quota)
        self._turnstile = FastReject("/v1/images", self._refuse, answered, rendered, self._count, cors)

    def _refuse(self, scope: Any) -> Refusal | None:
        self.asked.append(scope)
        return self.refusal

    def _count(self) -> None:
        self.counted += 1

    def ask(self, target: bytes = b"/v1/images", *fields: tuple[bytes, bytes]) -> RawResponse | None:
        """Ask for one upload."""
        return self._turnstile({"client": ("192.0.2.7", 4711), "headers": list(fields)}, target)


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
def test_an_upload_without_a_token_is_turned_away_however_its_target_is_written(target: bytes) -> None:
    """It is answered, and counted once."""
    door = WaitingRoom()
    wire = door.ask(target)
    assert wire is not None
    assert wire.head.startswith(b"HTTP/1.1 429 ")
    assert door.counted == 1


@pytest.mark.parametrize(
    "target",
    [b"/v1/images/", b"//v1/images", b"/v1/quota", b"/", b"*", b"/v1/imagesx", b"/v1/images%2f"],
)
def test_nothing_else_is_looked_at(target: bytes) -> None:
    """What is no upload passes, and no bucket is asked."""
    door = WaitingRoom()
    assert door.ask(target) is None
    assert not door.asked


def test_whoever_may_get_in_passes() -> None:
    """An upload that the gate does not refuse by its head is the endpoint's; nothing is counted."""
    door = WaitingRoom()
    door.refusal = None
    assert door.ask() is None
    assert door.counted == 0


def test_other_refusals_are_answered_as_the_endpoint_would() -> None:
    """A full queue's refusal is rendered, and counted by whoever renders it."""
    door = WaitingRoom()
    door.refusal = Refusal(QueueFull(3, 100), EMPTY)
    wire = door.ask()
    assert wire is not None
    assert parsed(wire) == parsed(RawResponse.of(answered(door.refusal)))
    assert wire.head.startswith(b"HTTP/1.1 503 ")
    assert door.counted == 0


def test_a_policy_that_changes_changes_the_refusals() -> None:
    """The template is that of the quota at hand."""
    door = WaitingRoom()
    door.ask()
    quota = Quota(3, 60, 0, 19_500)
    door.refusal = Refusal(RateLimited(quota), quota)
    wire = door.ask()
    assert wire is not None
    _, fields, document = parsed(wire)
    assert fields[b"ratelimit-policy"] == b'"ip";q=3;w=60'
    assert fields[b"ratelimit"] == b'"ip";r=0;t=20'
    assert fields[b"retry-after"] == b"20"
    assert document["retry_after_ms"] == 19_500


def test_pages_of_other_origins_may_read_it_where_they_may() -> None:
    """Where CORS is on, the fields are those that its layer adds; a stranger's origin is not named."""

    async def nothing(*_: Any) -> None:
        """Never called."""

    cors = CORSMiddleware(nothing, allow_origins=[ORIGIN.decode()], expose_headers=["Retry-After"])
    for origin, allowed in ((ORIGIN, True), (b"https://evil.example", False), (None, False)):
        wire = WaitingRoom(cors=cors).ask(b"/v1/images", *[(b"origin", origin)] if origin else [])
        assert wire is not None
        _, fields, _ = parsed(wire)
        assert fields.get(b"access-control-allow-origin") == (origin if allowed else None)
        assert (fields.get(b"access-control-expose-headers") == b"Retry-After") == (origin is not None)
        assert fields[b"vary"] == b"Origin"
