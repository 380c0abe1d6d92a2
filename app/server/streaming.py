"""Event streams and waits: requests that stay open, so there is a bound on them, and an end."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.runtime import tasks
from app.server.problems import ProblemError

PER_CLIENT = 16
HEARTBEAT = 15.0
"""Seconds after which a silent stream gets a comment, so that proxies keep it open."""


class TooManyStreams(ProblemError):
    """Raised when as many streams and waits are open as may be, in all or for one client."""

    slug = "streams"

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many event streams and waits are open.", retry_after=retry_after)


class OpenRequests:
    """Counts what is held open, and ends it all when the service closes."""

    def __init__(self, most: int, per_client: int = PER_CLIENT) -> None:
        self._most = most
        self._per_client = per_client
        self._open: Counter[str] = Counter()
        self._count = 0
        self.closing = asyncio.Event()

    def take(self, client: str) -> Callable[[], None]:
        """Count one stream or wait; what is returned ends it. Raises StreamsFull."""
        if self._count >= self._most or self._open[client] >= self._per_client:
            raise TooManyStreams(HEARTBEAT)
        self._count += 1
        self._open[client] += 1

        def release() -> None:
            self._count -= 1
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

        return release

    @contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Count one stream or wait while the block lasts. Raises StreamsFull."""
        release = self.take(client)
        try:
            yield
        finally:
            release()

    async def wait(self, event: asyncio.Event, seconds: float, receive: Callable[[], Awaitable[Any]]) -> None:
        """Return when the event is set, the time is over, the client is gone or the service closes."""

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        waits = [asyncio.ensure_future(wait) for wait in (event.wait(), self.closing.wait(), gone())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*waits, return_exceptions=True)

    def close(self) -> None:
        """End every stream and wait."""
        self.closing.set()


def event(name: str, data: Any, event_id: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


COMMENT = b": still here\n\n"


class HeldResponse(StreamingResponse):
    """A streamed answer that holds something, and lets go of it when it ends, however that is."""

    def __init__(self, content: AsyncGenerator[bytes], release: Callable[[], None], **rest: Any) -> None:
        super().__init__(content, **rest)
        self._content = content
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - HTTP alone
        """Send until the end, or until the client has gone."""
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
        """Send all of it, no piece of which is held while the next one is fetched.

        Who is cancelled there may leave a reference cycle behind, and of a crowd that goes at once the pieces
        in it would be hundreds of megabytes until they are collected.
        """
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._content:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            del piece
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventStream(HeldResponse):
    """A server-sent event stream that no cache and no proxy holds back."""

    def __init__(self, content: AsyncGenerator[bytes], release: Callable[[], None] = lambda: None) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, release, media_type="text/event-stream", headers=headers)


class StatsFeed:
    """One snapshot a second, built once whoever watches, and handed to all who do."""

    def __init__(
        self, beat: Callable[[], dict[str, Any]], open_requests: OpenRequests, period: float = 1.0
    ) -> None:
        """`beat` builds the snapshot; it is called each `period` seconds while this runs."""
        self._beat = beat
        self._open_requests = open_requests
        self._period = period
        self._latest = b""
        self._next = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Build snapshots while the block lasts; the first one before it."""
        self._build()
        task = asyncio.create_task(self._run(), name="stats feed")
        try:
            yield
        finally:
            task.cancel()

    def stream(self, client: str) -> EventStream:
        """The latest snapshot at once, then each new one. Raises StreamsFull."""
        return EventStream(self._watch(), self._open_requests.take(client))

    async def _watch(self) -> AsyncGenerator[bytes]:
        """A slow reader skips the snapshots that it missed."""
        yield self._latest
        closing = self._open_requests.closing
        while not closing.is_set():
            await self._next.wait()
            if not closing.is_set():
                yield self._latest

    async def _run(self) -> None:
        closing = self._open_requests.closing
        while not closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._period):
                    await closing.wait()
            self._build()

    def _build(self) -> None:
        self._latest = event("stats", self._beat())
        self._next.set()
        self._next = asyncio.Event()
