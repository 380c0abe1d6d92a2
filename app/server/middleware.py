"""ASGI middleware that every answer passes through."""

import asyncio
import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.runtime.metrics import Histograms

SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
"""Header fields that restrict what a browser does with an answer as far as possible."""


_ASKED_BY_HEAD = "spillway.asked_by_head"


class SecurityHeaders:
    """Adds the header fields of `SECURITY`, except those that the answer sets itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                names = {name for name, _ in headers}
                headers.extend(header for header in SECURITY if header[0] not in names)
            await send(message)

        await self._app(scope, receive, sending)


class UnexpectedErrors:
    """Answers requests that end with an exception which nobody handles.

    Unlike Starlette's own handler of such exceptions it can stand inside of other middleware, which then
    sees the answer. If the answer has begun already, the exception goes on to the server, which cuts the
    connection off.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[Scope, Exception], Response]) -> None:
        """`answer` makes what the client gets instead of the exception."""
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await self._answer(scope, error)(scope, receive, send)


class HeadAsGet:
    """Answers HEAD wherever GET works.

    The application sees a GET whose client disconnects after the header fields, so that it ends even an
    endless stream. Range has a meaning for GET alone (RFC 9110, section 14.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered = asyncio.Event()

        async def sending(message: Message) -> None:
            if answered.is_set():
                return
            await send(message)
            if message["type"] == "http.response.start":
                answered.set()
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def receiving() -> Message:
            await answered.wait()
            return {"type": "http.disconnect"}

        headers = [field for field in scope["headers"] if field[0] != b"range"]
        as_get = {**scope, "method": "GET", "headers": headers, _ASKED_BY_HEAD: True}
        await self._app(as_get, receiving, sending)


def was_head(scope: Scope) -> bool:
    """Whether a request that looks like a GET came as a HEAD."""
    return _ASKED_BY_HEAD in scope


class StripPrefix:
    """Takes the path of the public URL off the paths of requests, for a proxy in front that hands it on.

    Most proxies take it off themselves. So a path is left as it is unless the rest is one of the application:
    with the prefix `/v1`, `/v1/images` is as it should be, and only `/v1/v1/images` has the prefix.
    """

    def __init__(self, app: ASGIApp, prefix: str, is_known: Callable[[Scope], bool]) -> None:
        """`prefix` has no final slash; `is_known` tells whether a route of the application matches."""
        self._app = app
        self._prefix = prefix
        self._is_known = is_known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(f"{self._prefix}/"):
            stripped = {**scope, "path": scope["path"][len(self._prefix) :]}
            scope = stripped if self._is_known(stripped) else scope
        await self._app(scope, receive, send)


class Timing:
    """Measures the seconds of each request from its head to the end of its answer.

    Early rejections never come here. There may be thousands of them, of microseconds each, which would hide
    what the histogram tells about all others.
    """

    def __init__(self, app: ASGIApp, histograms: Histograms) -> None:
        self._app = app
        self._observe = histograms.request.observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                self._observe(time.perf_counter() - started)
