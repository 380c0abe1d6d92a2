"""Background tasks: started again when they fail, and ended for certain."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.runtime import tasks

pytestmark = pytest.mark.anyio


async def forever() -> None:
    await asyncio.Event().wait()


class Work:
    """Raises in its first rounds, then goes on for ever, or returns."""

    def __init__(self, failures: int, *, returns: bool = False) -> None:
        self.starts: list[float] = []
        self._failures = failures
        self._returns = returns

    async def __call__(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(10)
        if len(self.starts) <= self._failures:
            raise RuntimeError("a bug")
        if not self._returns:
            await forever()


# --- supervise ------------------------------------------------------------------------------------------


async def test_a_task_that_fails_is_logged_and_started_again() -> None:
    """After a pause, each time, with its traceback and under its own name."""
    work = Work(failures=2)
    with capture_logs() as logs:
        task = tasks.supervise(work, "some work")
        await asyncio.sleep(100)
    assert [b - a for a, b in zip(work.starts, work.starts[1:], strict=False)] == [
        10 + tasks.RESTART_PAUSE_S,
        10 + tasks.RESTART_PAUSE_S,
    ]
    assert [(line["event"], line["task"], line["exc_info"]) for line in logs] == [
        ("background task failed", "some work", True)
    ] * 2
    assert task.get_name() == "some work"
    await tasks.cancel_and_wait([task])
    assert task.cancelled()


async def test_a_task_that_returns_has_ended() -> None:
    """It is not started again."""
    work = Work(failures=1, returns=True)
    with capture_logs():
        await tasks.supervise(work, "some work")
    assert len(work.starts) == 2


async def test_a_task_ends_while_it_waits_to_be_started_again() -> None:
    """A cancellation in the pause is one like any other."""
    work = Work(failures=1)
    with capture_logs():
        task = tasks.supervise(work, "some work")
        await asyncio.sleep(10 + tasks.RESTART_PAUSE_S / 2)
        await tasks.cancel_and_wait([task])
    assert task.cancelled()
    assert len(work.starts) == 1


# --- cancel_and_wait ------------------------------------------------------------------------------------


async def test_all_have_ended_when_it_returns() -> None:
    """Those that waited, and those that had ended by themselves."""
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    waiting = [asyncio.create_task(forever()) for _ in range(3)]
    await tasks.cancel_and_wait([ended, *waiting])
    assert all(task.cancelled() for task in waiting)


async def test_a_task_that_swallows_its_cancellation_ends_as_well() -> None:
    """As one does that waits for an answer which comes at that very moment."""

    async def swallowing() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await forever()

    task = asyncio.create_task(swallowing())
    await asyncio.sleep(0)
    await tasks.cancel_and_wait([task])
    assert task.cancelled()


async def test_what_a_task_raises_at_its_end_is_dropped() -> None:
    """The others end as well."""

    async def failing() -> None:
        try:
            await forever()
        finally:
            raise ValueError("at the end")

    both = [asyncio.create_task(failing()), asyncio.create_task(forever())]
    await asyncio.sleep(0)
    await tasks.cancel_and_wait(both)
    assert both[1].cancelled()


async def test_without_tasks_there_is_nothing_to_wait_for() -> None:
    """A service that never started has none."""
    await tasks.cancel_and_wait([])
