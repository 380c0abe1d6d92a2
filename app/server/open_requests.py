"""Bounds on requests that stay open: event streams, and requests that wait for a job."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request

from app.runtime import tasks
from app.server.client_connection import connection_of
from app.server.problems import ProblemError

MAX_PER_CLIENT = 16
RETRY_AFTER_S = 15.0
"""Seconds that a refused client is told to wait: a guess, for when a stream will end is unknown."""


class TooManyStreams(ProblemError):
    """Raised when as many streams and waits are open as may be, in all or for one client."""

    slug = "streams"

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many event streams and waits are open.", retry_after=retry_after)


class OpenRequests:
    """Counts the requests that are held open, and ends all of them when the service stops."""

    def __init__(self, max_open: int, max_per_client: int = MAX_PER_CLIENT) -> None:
        self._max_open = max_open
        self._max_per_client = max_per_client
        self._open: Counter[str] = Counter()
        self._count = 0
        self.closing = asyncio.Event()

    @property
    def count(self) -> int:
        """How many are open."""
        return self._count

    def apart(self) -> "OpenRequests":
        """Another count with the same bounds, which ends with this one."""
        other = OpenRequests(self._max_open, self._max_per_client)
        other.closing = self.closing
        return other

    def take(self, client: str) -> Callable[[], None]:
        """Count one stream or wait of a client; calling the function returned uncounts it.

        Raises:
            TooManyStreams: one of the two bounds is reached.
        """
        if self._count >= self._max_open or self._open[client] >= self._max_per_client:
            raise TooManyStreams(RETRY_AFTER_S)
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
        """Count one stream or wait of a client while the block runs.

        Raises:
            TooManyStreams: one of the two bounds is reached.
        """
        release = self.take(client)
        try:
            yield
        finally:
            release()

    async def wait(self, event: asyncio.Event, seconds: float, request: Request) -> None:
        """Wait until the event is set, the time is over, the client has disconnected or the service stops.

        What still arrives of the request's body is dropped.
        """
        if event.is_set() or seconds <= 0:
            return
        connection_of(request.scope).treat_eof_as_disconnect()

        async def disconnected() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        waits = [asyncio.ensure_future(wait) for wait in (event.wait(), self.closing.wait(), disconnected())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await tasks.cancel_and_wait(waits)

    def close(self) -> None:
        """End every stream and wait."""
        self.closing.set()
