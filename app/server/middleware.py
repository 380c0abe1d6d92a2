"""What every answer passes through, as plain ASGI layers around the application."""

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
"""Header fields that tell browsers to trust nothing."""


class SecurityHeaders:
    """Adds the headers of `SECURITY`; an answer that sets its own keeps them."""

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


class Faults:
    """Answers for what nobody foresaw, where all layers see it; an answer that has begun is cut off."""

    def __init__(self, app: ASGIApp, answer: Callable[[Scope, Exception], Response]) -> None:
        """`answer` says what a client gets to see of an exception."""
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
    """Measures each request from its head to the end of its answer.

    What is answered by its head alone never comes here: refusals by the thousand, each of microseconds,
    would drown what the others tell.
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
