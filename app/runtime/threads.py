"""Runs blocking calls in threads, at little cost for each call.

What an upload costs the event loop is to a good part the hand-over of its writes to threads. anyio and
`concurrent.futures` need two to three times as much CPU for each call as is needed here, where the loop alone
counts the calls, and no thread decides anything.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from anyio import CancelScope

P = ParamSpec("P")
T = TypeVar("T")

IDLE_S = 10.0
"""Seconds after which the threads of a pool with nothing to do end."""


class ThreadPool:
    """Up to `size` threads for the calls of one event loop. Further calls wait, first come first served.

    Threads are started when they are needed, and end when none was for `idle_s`. They do not keep the process
    from its end.
    """

    def __init__(self, size: int, name: str, idle_s: float = IDLE_S) -> None:
        self._size = size
        self._name = name
        self._idle_s = idle_s
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        """None ends the thread that takes it."""
        self._threads = 0
        self._unfinished = 0
        self._count = 0
        self._idle_timer: asyncio.TimerHandle | None = None

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a blocking call, or its exception.

        A caller that is cancelled waits for the end of the call all the same, because what the call uses,
        such as an open file, must not be closed meanwhile. It does not after it was cancelled once more.
        """
        loop = asyncio.get_running_loop()
        waiting = _Call(lambda: call(*args, **kwargs), loop, self._ended)
        self._count += 1
        self._unfinished += 1
        if self._threads < min(self._unfinished, self._size):
            self._threads += 1
            Thread(target=_work, args=[self._calls], name=self._name, daemon=True).start()
        self._calls.put(waiting)
        try:
            result: T = await waiting.outcome
        except asyncio.CancelledError:
            if waiting.outcome.cancelled():
                waiting.outcome = loop.create_future()
                with CancelScope(shield=True), suppress(Exception):
                    await waiting.outcome
            raise
        return result

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        self._unfinished -= 1
        if not self._unfinished and self._idle_timer is None:
            self._idle_timer = loop.call_later(self._idle_s, self._stop_if_idle, loop, self._count)

    def _stop_if_idle(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        """End the threads if there was no call since there were `count`."""
        self._idle_timer = None
        if self._unfinished:
            return
        if self._count == count:
            self._stop()
        else:
            self._idle_timer = loop.call_later(self._idle_s, self._stop_if_idle, loop, self._count)

    def _stop(self) -> None:
        for _ in range(self._threads):
            self._calls.put(None)
        self._threads = 0

    def __del__(self) -> None:
        self._stop()


class _Call:
    """A call for a thread, and the future for which its caller waits."""

    __slots__ = ("_call", "_ended", "_loop", "outcome")

    def __init__(
        self,
        call: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[asyncio.AbstractEventLoop], None],
    ) -> None:
        self._call = call
        self._loop = loop
        self._ended = ended
        self.outcome: asyncio.Future[Any] = loop.create_future()

    def run(self) -> None:
        """Make the call, in a thread, and have the event loop told how it ended."""
        result, error = None, None
        try:
            result = self._call()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the event loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        self._ended(self._loop)
        if self.outcome.done():  # the caller was cancelled, and did not wait
            return
        if error is None:
            self.outcome.set_result(result)
        else:
            self.outcome.set_exception(error)


def _work(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.run()
        del call  # what it holds is not to be kept until the next one
