"""Time in the tests: a clock that is set by hand, and an event loop that never waits."""

import asyncio
import selectors
from typing import Any


class HandClock:
    """A clock that moves only when told to, in whatever unit its reader uses."""

    def __init__(self, now: Any = 0) -> None:
        self.now = now

    def __call__(self) -> Any:
        return self.now

    def advance(self, by: Any) -> None:
        """Let this much time pass; a negative amount sets the clock back."""
        self.now += by


class _Leap(selectors.DefaultSelector):
    """A selector that advances the clock to the next deadline instead of waiting for it."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits, and nothing is left that could wake one")
            self._clock.advance(max(0.0, timeout))
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop in which timeouts are exact and take no real time."""

    def __init__(self) -> None:
        self.clock = HandClock(1000.0)
        super().__init__(_Leap(self.clock))

    def time(self) -> float:
        return float(self.clock())


async def settle() -> None:
    """Let every other task run until it waits for something; no time passes."""
    for _ in range(20):
        await asyncio.sleep(0)
