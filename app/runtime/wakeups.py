"""Waits that end together, of which a bounded number goes on in each iteration of the event loop."""

import asyncio
from collections import deque

_AT_ONCE = 50
"""Waits that end in one iteration: what follows each of them may take .1 ms."""


class Wakeups:
    """Ends waits when their time has come.

    Thousands may come due together, though each has a time of its own, while the process is kept from a
    processor. Timers of the event loop would all be served before anything else.
    """

    def __init__(self) -> None:
        self._due: deque[asyncio.Future[bool]] = deque()
        self._is_scheduled = False

    async def wait(self, waiter: asyncio.Future[bool], seconds: float) -> bool:
        """Wait for the result of `waiter`, which is False once the time is over."""
        timer = asyncio.get_running_loop().call_later(seconds, self._add, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()

    def _add(self, waiter: asyncio.Future[bool]) -> None:
        self._due.append(waiter)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _wake_some(self) -> None:
        self._is_scheduled = False
        for _ in range(min(_AT_ONCE, len(self._due))):
            waiter = self._due.popleft()
            if not waiter.done():
                waiter.set_result(False)
        if self._due:
            self._schedule()
