"""The live statistics: one snapshot a second for everybody who watches."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from app.runtime.tasks import cancel_and_wait, supervise
from app.server.open_requests import OpenRequests
from app.server.streaming import EventStream, event

_AT_ONCE = 50
"""Viewers that are sent a snapshot before anything else is done."""
_BETWEEN_S = 0.005
"""Seconds until the next ones are."""


class StatsFeed:
    """Builds a snapshot every `period` seconds, however many watch, and streams it to all of them.

    A few viewers are served at a time, so that thousands of them do not hold up uploads.
    """

    def __init__(
        self, snapshot: Callable[[], dict[str, Any]], open_requests: OpenRequests, period: float = 1.0
    ) -> None:
        """`snapshot` builds the document; it is called every `period` seconds while the feed runs."""
        self._snapshot = snapshot
        self._open_requests = open_requests
        self._period = period
        self._latest = b""
        self._waiting: list[asyncio.Future[bool]] = []
        """One for each viewer that waits for the next snapshot; the result is whether it is to be sent."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Build snapshots while the block runs; the first one is there when it begins."""
        self._build()
        task = supervise(self._run, "stats feed")
        try:
            yield
        finally:
            await cancel_and_wait([task])

    def stream(self, client: str) -> EventStream:
        """A stream of the latest snapshot at once, then of each new one.

        Raises:
            TooManyStreams: this client, or all together, have as many streams as may be open.
        """
        return EventStream(self._watch(), self._open_requests.take(client))

    async def _watch(self) -> AsyncGenerator[bytes]:
        """The snapshots for one client; a slow reader skips those that it was too slow for."""
        yield self._latest
        closing, new_future = self._open_requests.closing, asyncio.get_running_loop().create_future
        while not closing.is_set():
            built = new_future()
            self._waiting.append(built)
            if await built:
                yield self._latest

    async def _run(self) -> None:
        """Build snapshots until the service stops; the last one wakes those who watch, so that they end."""
        closing, loop = self._open_requests.closing, asyncio.get_running_loop()
        due = loop.time()
        while not closing.is_set():
            due = max(due + self._period, loop.time())
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await closing.wait()
            self._build()
            await self._wake()

    def _build(self) -> None:
        self._latest = event("stats", self._snapshot())

    async def _wake(self) -> None:
        """Let those who watch send the latest snapshot, some at a time."""
        waiting, self._waiting = self._waiting, []
        for number, built in enumerate(waiting):
            if number and number % _AT_ONCE == 0:
                await asyncio.sleep(_BETWEEN_S)
            if not built.done():  # its viewer may have left
                built.set_result(not self._open_requests.closing.is_set())
