"""Who gets a degraded response, and when it says to return."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from fastapi import Request
from starlette.types import Message

from app.backpressure.token_bucket import Quota
from app.engine.preview_worker import PreviewWorker
from app.server.headers import ConcurrencyPolicy
from app.server.problems import KINDS, Problem
from app.uploads.degraded import DegradedResponse
from tests.clocks import HandClock

QUOTA = Quota(10, 5, 3, 0)


def upload(*prefer: str, body: Sequence[bytes] = (), clock: HandClock | None = None) -> Request:
    """A request whose body comes in these pieces, each after a second of the clock."""
    headers = [(b"content-type", b"image/jpeg"), *((b"prefer", value.encode()) for value in prefer)]
    pieces = iter(body)

    async def receive() -> Message:
        if clock is not None:
            clock.advance(1)
        piece = next(pieces, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return Request({"type": "http", "headers": headers}, receive)


@pytest.mark.parametrize(
    ("prefer", "asked_for", "by_default"),
    [
        ((), False, True),
        (("handling=lenient",), True, True),
        (("handling=strict",), False, False),
        (("wait=5, handling=Lenient",), True, True),
        (("wait=5", "handling=lenient"), True, True),
        (("handling=strict, handling=lenient",), False, False),
        (("handling=other",), False, True),
        (("handling",), False, True),
    ],
)
def test_leniency_is_preferred_or_the_default(
    prefer: tuple[str, ...], asked_for: bool, by_default: bool
) -> None:
    """The first preference counts, and one that is not understood is none (RFC 7240, section 2)."""
    assert DegradedResponse(PreviewWorker(), always=False).wanted_by(upload(*prefer).scope) is asked_for
    assert DegradedResponse(PreviewWorker(), always=True).wanted_by(upload(*prefer).scope) is by_default


@pytest.mark.parametrize(
    ("body", "seconds", "left_ms"),
    [([b"no photo"], 3, 2900), ([b"\xff", b"no"], 2, 1900), ([b"\xff", b"\xd8", b"\xff", b"\xe1"], 1, 1)],
)
def test_retry_after_is_counted_from_the_answer(body: list[bytes], seconds: int, left_ms: int) -> None:
    """Reading the body takes time, which does not postpone the reserved moment."""
    clock = HandClock()
    degraded_response = DegradedResponse(PreviewWorker(), always=False, clock=clock)
    policy = ConcurrencyPolicy("queue", 100, 4)
    request = upload("handling=lenient", body=body, clock=clock)
    answer = asyncio.run(degraded_response.answer(request, Problem(KINDS["queue"], "", 3.9, QUOTA, policy)))
    assert answer.status_code == 200
    assert answer.headers["retry-after"] == str(seconds)
    assert json.loads(bytes(answer.body))["retry_after_ms"] == left_ms
    assert degraded_response.snapshot().degraded == 1
    assert degraded_response.snapshot().reading == 0


def test_no_more_than_the_head_is_read() -> None:
    """A body that may hold a thumbnail somewhere is left alone after 256 KiB."""
    read: list[int] = []

    async def receive() -> Message:
        read.append(64 * 1024)
        start = b"\xff\xd8" if len(read) == 1 else b""
        return {
            "type": "http.request",
            "body": start + b"\xff\xe2\xff\xff" + bytes(65_533),
            "more_body": True,
        }

    request = Request({"type": "http", "headers": [(b"content-type", b"image/jpeg")]}, receive)
    problem = Problem(KINDS["queue"], "", 1.0, QUOTA)
    answer = asyncio.run(DegradedResponse(PreviewWorker(), always=True).answer(request, problem))
    assert json.loads(bytes(answer.body))["preview"]["kind"] == "placeholder"
    assert sum(read) == 256 * 1024
