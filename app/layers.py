"""What every answer passes through, as plain ASGI layers around the application."""

import asyncio
import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.bucket import Quota, RateLimited
from app.metrics import Histograms

_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class SecurityHeaders:
    """Adds the headers that tell browsers to trust nothing; a page that sets its own keeps it."""

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
                headers.extend(header for header in _SECURITY if header[0] not in names)
                if _CSP[0] not in names:
                    headers.append(_CSP)
            await send(message)

        await self._app(scope, receive, sending)


class EarlyRefusal:
    """Turns away, before FastAPI is entered, an upload whose client is known to have no token.

    A flood is the moment when a refusal must cost nothing. It asks the limiter that the bouncer asks and
    answers as the bouncer would; the bouncer remains the guard that takes tokens.
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        quota_of: Callable[[Scope], Quota],
        refuse: Callable[[RateLimited], Response],
    ) -> None:
        """Watches POST `path`; `refuse` renders and counts."""
        self._app = app
        self._path = path
        self._quota_of = quota_of
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == self._path and scope["method"] == "POST":
            quota = self._quota_of(scope)
            if quota.remaining == 0:
                await self._refuse(RateLimited(quota))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class HeadAsGet:
    """Answers HEAD wherever GET works: the application sees a GET whose client leaves after the headers."""

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

        await self._app({**scope, "method": "GET"}, receiving, sending)


class Timing:
    """Measures each request from its head to the end of its answer."""

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
