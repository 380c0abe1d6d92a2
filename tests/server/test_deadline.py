"""A deadline is reached once, at its last moment, and needs few timers."""

import asyncio

import pytest

from app.server.deadline import Deadline
from tests.clocks import settle

pytestmark = pytest.mark.anyio


class Alarm:
    """A deadline, and the moments at which it was reached, in seconds from now."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.deadline = Deadline(self._loop)
        self.reached: list[tuple[str, float]] = []

    def arm(self, seconds: float, name: str = "") -> None:
        self.deadline.arm(seconds, lambda: self.reached.append((name, self._loop.time() - self._began)))


async def test_it_is_reached_once() -> None:
    """At its moment."""
    alarm = Alarm()
    alarm.arm(5)
    await asyncio.sleep(100)
    assert alarm.reached == [("", 5)]


async def test_the_last_arming_counts() -> None:
    """Whether it makes the moment later or earlier; the callback is the last one's."""
    alarm = Alarm()
    alarm.arm(5, "first")
    alarm.arm(9, "later")
    alarm.arm(7, "earlier")
    await asyncio.sleep(6)
    assert alarm.reached == []
    alarm.arm(0.5, "soon")
    await asyncio.sleep(100)
    assert alarm.reached == [("soon", 6.5)]


async def test_disarmed_it_is_not_reached() -> None:
    """It can be armed again."""
    alarm = Alarm()
    alarm.arm(5)
    alarm.deadline.disarm()
    await asyncio.sleep(100)
    assert alarm.reached == []
    alarm.arm(5)
    await asyncio.sleep(100)
    assert alarm.reached == [("", 105)]


async def test_moving_it_on_sets_no_timer() -> None:
    """A request after another moves it, and the loop keeps one timer of it in all; closed, none."""
    alarm = Alarm()
    timers = len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]
    for _ in range(100):
        alarm.arm(10)
        await asyncio.sleep(1)
    assert len(asyncio.get_running_loop()._scheduled) <= timers + 1  # type: ignore[attr-defined]
    assert alarm.reached == []
    alarm.deadline.close()
    await settle()
    await asyncio.sleep(100)
    assert alarm.reached == []
