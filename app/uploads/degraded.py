"""The degraded response: a small preview for an upload that finds the queue full, instead of an error.

A client asks for it with `Prefer: handling=lenient` (RFC 7240, section 4.4). The answer holds a preview made
from the first bytes of the body, and the same Retry-After that the refusal would have had. Nothing is queued
or stored. A client that waits for `100 Continue` gets it when its body is about to be read; the rest of the
body is discarded like that of any refusal.

A client that returns on time waits in the waiting room like any other, since a place is reserved for it. It
gets a degraded response again only if no place becomes free in time.
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
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from app.engine.preview_worker import PreviewWorker, PreviewWorkerSnapshot
from app.server.accept import Accept
from app.server.headers import parse_prefer, ratelimit_fields
from app.server.problems import Problem, whole_seconds
from app.uploads.body import pass_on
from app.uploads.file_sink import FileSink, TooLarge, UnsupportedType
from app.uploads.multipart import MalformedForm, form_in
from app.uploads.placeholder import HEIGHT, WIDTH, placeholder_png
from workers.thumbnail import find_exif_segment

_MAX_HEAD_BYTES = 256 * 1024
"""Bytes of a body that are read in search of its EXIF thumbnail."""
_READ_TIMEOUT_S = 2.0
_MAX_READING = 8
"""Bodies read at once for their previews."""


@dataclass(frozen=True, slots=True)
class DegradedSnapshot:
    """Degraded responses sent so far, bodies being read for one now, and the preview worker."""

    degraded: int
    reading: int
    previews: PreviewWorkerSnapshot


class DegradedResponse:
    """Answers uploads that the queue refuses, with a preview instead of an error."""

    def __init__(
        self, previews: PreviewWorker, *, always: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`always` makes it the default, which a client can still decline with `handling=strict`."""
        self._previews = previews
        self._clock = clock
        self._always = always
        self._placeholder = _picture("placeholder", "image/png", placeholder_png(), WIDTH, HEIGHT)
        self._degraded = 0
        self._reading = 0

    def wanted_by(self, scope: Scope) -> bool:
        """Whether an upload gets a degraded response when the queue refuses it.

        One that wants the picture itself does not: its client would take a document for the picture, or a
        preview for the variant.
        """
        headers = Headers(scope=scope)
        preferences = headers.getlist("prefer")
        handling = parse_prefer(preferences).handling if preferences else None
        if handling == "lenient" or (self._always and handling is None):
            return not Accept.parse(headers.getlist("accept")).prefers_picture()
        return False

    async def answer(self, request: Request, refusal: Problem) -> Response:
        """The degraded response in place of `refusal`; its Retry-After names the same moment."""
        assert refusal.retry_after is not None  # noqa: S101 - guard 5 says when to return
        assert refusal.quota is not None  # noqa: S101 - a token was spent
        self._degraded += 1
        retry_at = self._clock() + refusal.retry_after
        preview = await self._preview(request)
        left_s = max(0.001, retry_at - self._clock())
        seconds = whole_seconds(left_s)
        document = {
            "status": "degraded",
            "detail": f"The queue is full and nothing was kept: send the image again in {seconds} s.",
            "retry_after_ms": math.ceil(left_s * 1000 - 1e-6),
            "preview": preview,
        }
        fields = {
            "Cache-Control": "no-store",
            "Retry-After": str(seconds),
            "Preference-Applied": "handling=lenient",
            "Vary": "Accept",
        }
        return JSONResponse(document, headers=fields | dict(ratelimit_fields(refusal.quota, refusal.policy)))

    async def _preview(self, request: Request) -> dict[str, str | int]:
        """The photo's own thumbnail; the placeholder if it has none, or if many bodies are being read."""
        if self._reading >= _MAX_READING:
            return self._placeholder
        self._reading += 1
        try:
            segment = await _read_exif_segment(request)
            preview = await self._previews.make(segment) if segment else None
        finally:
            self._reading -= 1
        if preview is None:
            return self._placeholder
        return _picture("exif", "image/jpeg", preview.jpeg, preview.width, preview.height)

    def snapshot(self) -> DegradedSnapshot:
        """The state now."""
        return DegradedSnapshot(self._degraded, self._reading, self._previews.snapshot())


def _picture(kind: str, media_type: str, data: bytes, width: int, height: int) -> dict[str, str | int]:
    url = f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
    return {"url": url, "width": width, "height": height, "kind": kind}


class _FileHead:
    """The begin of a file, in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, data: bytes | memoryview) -> None:
        self.data += data

    async def restart(self) -> None:
        self.data.clear()


async def _read_exif_segment(request: Request) -> bytes:
    """The EXIF segment of the photo in the body, which is read no further; empty if none arrives in time."""
    head = _FileHead()
    sink = FileSink(head, _MAX_HEAD_BYTES)
    left = _MAX_HEAD_BYTES
    segment = None
    with suppress(MalformedForm, TooLarge, UnsupportedType, TimeoutError, ClientDisconnect):
        form = form_in(request.headers.get("content-type"))
        async with asyncio.timeout(_READ_TIMEOUT_S):
            async for piece in request.stream():
                data = piece[:left]
                left -= len(data)
                if form is None:
                    await head.write(data)
                else:
                    await pass_on(data, form, sink)
                segment = find_exif_segment(head.data)
                if segment is not None or not left:
                    break
    return segment or b""
