"""Answers that are streamed: server-sent events, and files that stay open while they are sent."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.runtime import tasks
from app.server.client_connection import connection_of

HEARTBEAT_S = 15.0
"""Seconds after which a silent event stream gets a comment, so that proxies keep it open."""
COMMENT = b": still here\n\n"


def event(name: str, data: Any, event_id: str | None = None) -> bytes:
    """One server-sent event (HTML standard, section 9.2); `data` is written as JSON."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class HeldResponse(StreamingResponse):
    """A streamed answer that holds a resource, and releases it however the answer ends."""

    def __init__(self, content: AsyncGenerator[bytes], release: Callable[[], None], **rest: Any) -> None:
        """`release` is called once. `rest` are the arguments of `StreamingResponse`."""
        super().__init__(content, **rest)
        self._content = content
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send until the content ends or the client has disconnected."""
        sending = asyncio.create_task(self.stream_response(send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await tasks.cancel_and_wait((sending, leaving))
            await self._content.aclose()
            self._release()

    async def stream_response(self, send: Send) -> None:
        """Send the content without keeping a piece of it while the next one is awaited.

        A task that is cancelled while it awaits may leave a reference cycle. When many clients disconnect at
        the same moment, the pieces in such cycles would be hundreds of megabytes until they are collected.
        """
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._content:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            del piece
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventStream(HeldResponse):
    """Server-sent events. Its header fields keep caches and proxies from holding them back."""

    def __init__(self, content: AsyncGenerator[bytes], release: Callable[[], None] = lambda: None) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, release, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the content ends or the client leaves, if only by shutting down its sending side."""
        connection_of(scope).treat_eof_as_disconnect()
        await super().__call__(scope, receive, send)
