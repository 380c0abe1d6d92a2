"""One deadline of one connection, moved often and reached seldom."""

import asyncio
import math
from collections.abc import Callable


def _do_nothing() -> None:
    pass


class Deadline:
    """Calls back at one moment, unless that moment is moved or the deadline disarmed before.

    Each request moves its connection's deadline several times. Cancelling a timer of the event loop and
    setting another each time would cost more than the request, so a timer that is set already stays as it
    is as long as it is not too late: when it fires early, it is set again for what is left.
    """

    __slots__ = ("_callback", "_loop", "_timer", "due")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._callback: Callable[[], None] = _do_nothing
        self.due = math.inf
        """The moment, in the loop's time; infinite while disarmed."""

    def arm(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back so many seconds from now, instead of what was armed before."""
        self.due = self._loop.time() + seconds
        self._callback = callback
        if self._timer is None or self._timer.when() > self.due:
            self._set_timer()

    def disarm(self) -> None:
        """Call nothing. A timer that is set stays set, but does nothing."""
        self.due = math.inf

    def close(self) -> None:
        """Disarm for good, and let go of the timer and of what it would call."""
        self.due = math.inf
        self._callback = _do_nothing
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if self.due == math.inf else self._loop.call_at(self.due, self._fire)

    def _fire(self) -> None:
        if self.due > self._loop.time():
            self._set_timer()
        else:
            self._timer = None
            self._callback()
