"""The fallback: what an upload gets that finds the queue full and would rather have little than an error.

`Prefer: handling=lenient` (RFC 7240, section 4.4) asks for it. The answer is a preview made of the first
bytes of the body, and the turn that the refusal would have told. Nothing of it is queued or stored. Who
waits for `100 Continue` gets it when its body is going to be read; the rest of the body is let go as that of
any refusal.

Who comes back at the turn that it was told waits at the door like any other, for a place was promised to it:
only where that wait is in vain does it get this answer again.
"""

import asyncio
import base64
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from app.engine.preview_worker import PreviewWorker, PreviewWorkerSnapshot
from app.server.headers import parse_prefer, ratelimit_fields
from app.server.problems import Problem, whole_seconds
from app.uploads.multipart import MalformedForm, form_in
from app.uploads.placeholder import HEIGHT, WIDTH, blank_png
from workers.thumbnail import exif_segment

_MOST_READ = 256 * 1024
_READ_WITHIN = 2.0
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class DegradedSnapshot:
    """Degraded answers so far, those being made, and the worker that makes their previews."""

    degraded: int
    reading: int
    previews: PreviewWorkerSnapshot


class DegradedResponse:
    """Answers in place of the queue's refusal."""

    def __init__(
        self, previews: PreviewWorker, *, always: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`always`: also for those who do not ask for it, unless they ask for `handling=strict`."""
        self._clock = clock
        self._previews = previews
        self._always = always
        self._blank = _picture("placeholder", "image/png", blank_png(), WIDTH, HEIGHT)
        self._degraded = 0
        self._reading = 0

    def wanted_by(self, scope: Scope) -> bool:
        """Whether this upload is to be answered from here when the queue has no place for it."""
        preferences = Headers(scope=scope).getlist("prefer")
        handling = parse_prefer(preferences).handling if preferences else None
        return handling == "lenient" or (self._always and handling is None)

    async def answer(self, request: Request, refusal: Problem) -> Response:
        """The degraded answer, which tells the same turn as the `refusal` in whose place it stands."""
        assert refusal.retry_after is not None  # noqa: S101 - the queue tells when to come back
        assert refusal.quota is not None  # noqa: S101 - a token was spent
        self._degraded += 1
        due = self._clock() + refusal.retry_after
        preview = await self._preview(request)
        left = max(0.001, due - self._clock())
        seconds = whole_seconds(left)
        document = {
            "status": "degraded",
            "detail": f"The queue is full and nothing was kept: send the image again in {seconds} s.",
            "retry_after_ms": math.ceil(left * 1000 - 1e-6),
            "preview": preview,
        }
        fields = {
            "Cache-Control": "no-store",
            "Retry-After": str(seconds),
            "Preference-Applied": "handling=lenient",
        }
        return JSONResponse(document, headers=fields | dict(ratelimit_fields(refusal.quota, refusal.policy)))

    async def _preview(self, request: Request) -> dict[str, str | int]:
        """The photo's own thumbnail, or the placeholder: at once and unread when many are being read."""
        if self._reading >= _AT_ONCE:
            return self._blank
        self._reading += 1
        try:
            segment = await _segment(request)
            preview = await self._previews.make(segment) if segment else None
        finally:
            self._reading -= 1
        if preview is None:
            return self._blank
        return _picture("exif", "image/jpeg", preview.jpeg, preview.width, preview.height)

    def snapshot(self) -> DegradedSnapshot:
        """What it has done, and does."""
        return DegradedSnapshot(self._degraded, self._reading, self._previews.snapshot())


def _picture(kind: str, media_type: str, data: bytes, width: int, height: int) -> dict[str, str | int]:
    url = f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
    return {"url": url, "width": width, "height": height, "kind": kind}


async def _segment(request: Request) -> bytes:
    """The EXIF segment of the photo in the body, read no further than that; empty when none comes in time."""
    head = bytearray()
    left = _MOST_READ
    segment = None
    with suppress(MalformedForm, FormParserError, TimeoutError, ClientDisconnect):
        form = form_in(request.headers.get("content-type"))
        async with asyncio.timeout(_READ_WITHIN):
            async for piece in request.stream():
                data = piece[:left]
                left -= len(data)
                head += form.feed(data) if form is not None else data
                segment = exif_segment(head)
                if segment is not None or not left:
                    break
    return segment or b""
