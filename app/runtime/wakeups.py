"""Waits that end together, of which a bounded number goes on in each iteration of the event loop."""

import asyncio

from app.runtime.slices import Slices

_AT_ONCE = 50
"""Waits that end in one iteration: what follows each of them may take .1 ms."""


class Wakeups:
    """Ends waits when their time has come.

    Thousands may come due together, though each has a time of its own, while the process is kept from a
    processor. Timers of the event loop would all be served before anything else.
    """

    def __init__(self) -> None:
        self._due: Slices[asyncio.Future[bool]] = Slices(_end_wait, _AT_ONCE)

    async def wait(self, waiter: asyncio.Future[bool], seconds: float) -> bool:
        """Wait for the result of `waiter`, which is False once the time is over."""
        timer = asyncio.get_running_loop().call_later(seconds, self._due.add, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()


def _end_wait(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
