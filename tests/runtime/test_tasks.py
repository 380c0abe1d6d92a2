"""The end of tasks that go on until they are told to stop."""

import asyncio

import pytest

from app.runtime import tasks

pytestmark = pytest.mark.anyio


async def forever() -> None:
    await asyncio.Event().wait()


async def test_all_have_ended_when_it_returns() -> None:
    """Those that waited, and those that had ended by themselves."""
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    waiting = [asyncio.create_task(forever()) for _ in range(3)]
    await tasks.cancel_and_wait([ended, *waiting])
    assert all(task.cancelled() for task in waiting)


async def test_a_task_that_forgets_its_cancellation_ends_as_well() -> None:
    """As one does that asks the engine, when the answer comes at that very moment."""

    async def forgetful() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await forever()

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)
    await tasks.cancel_and_wait([task])
    assert task.cancelled()


async def test_what_a_task_raises_at_its_end_is_of_no_account() -> None:
    """Its loop has told of it; the others end as well."""

    async def failing() -> None:
        try:
            await forever()
        finally:
            raise ValueError("at the end")

    both = [asyncio.create_task(failing()), asyncio.create_task(forever())]
    await asyncio.sleep(0)
    await tasks.cancel_and_wait(both)
    assert both[1].cancelled()


async def test_of_none_there_is_nothing_to_wait_for() -> None:
    """A service that never started has none."""
    await tasks.cancel_and_wait([])
