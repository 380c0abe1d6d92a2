"""Waits that end together do not hold up the event loop together."""

import asyncio

import pytest

from app.runtime.wakeups import _AT_ONCE, Wakeups
from tests.clocks import settle

pytestmark = pytest.mark.anyio


def waiter() -> asyncio.Future[bool]:
    """Something to wait for."""
    return asyncio.get_running_loop().create_future()


async def test_of_many_waits_that_end_at_one_moment_some_go_on_at_a_time() -> None:
    """Whatever else there is to do comes in between."""
    wakeups, iteration, went_on = Wakeups(), 0, list[int]()
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        assert not await wakeups.wait(waiter(), 1.0)
        went_on.append(iteration)

    def count() -> None:
        nonlocal iteration
        iteration += 1
        if len(went_on) < len(waits):
            loop.call_soon(count)

    waits = [asyncio.create_task(wait()) for _ in range(3 * _AT_ONCE)]
    await settle()
    loop.call_later(1.0, count)
    await asyncio.gather(*waits)
    assert [went_on.count(each) for each in sorted(set(went_on))] == [_AT_ONCE] * 3


async def test_what_comes_first_ends_a_wait() -> None:
    """The event before the time is over, or somebody who does not wait any more."""
    wakeups, event = Wakeups(), waiter()
    heard = asyncio.create_task(wakeups.wait(event, 5.0))
    left = asyncio.create_task(wakeups.wait(waiter(), 5.0))
    await settle()
    event.set_result(True)
    left.cancel()
    assert await heard
    await asyncio.sleep(10)
    assert left.cancelled()
    assert not await wakeups.wait(waiter(), 5.0)
