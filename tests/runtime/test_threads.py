"""Blocking calls in threads: so many at once, in turn, and never left behind while they use something."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from app.runtime.threads import ThreadPool

pytestmark = pytest.mark.anyio
NAME = "thread of a test"
PATIENCE_S = 30


@pytest.fixture
def anyio_backend() -> str:
    """The event loop has to wait for threads."""
    return "asyncio"


@pytest.fixture
async def gate() -> AsyncIterator[threading.Event]:
    """What calls of a test may wait for; it is open at the end."""
    event = threading.Event()
    yield event
    event.set()


def living() -> list[threading.Thread]:
    """The threads of the pool of a test."""
    return [thread for thread in threading.enumerate() if thread.name == NAME]


async def ended() -> bool:
    """Whether all of these threads end by themselves, once what is not used any more is gone."""
    gc.collect()
    for thread in living():
        await asyncio.to_thread(thread.join, PATIENCE_S)
    return not living()


async def test_a_call_has_its_result_or_its_exception() -> None:
    """As if it had been made here."""
    pool = ThreadPool(1, NAME)
    assert await pool.run(divmod, 7, 2) == (3, 1)
    assert await pool.run(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 7, 0)


async def test_no_more_calls_run_at_once_than_there_are_threads(gate: threading.Event) -> None:
    """The others wait, first come first served."""
    pool, begun, both = ThreadPool(2, NAME), [], threading.Barrier(3)

    def work(number: int) -> None:
        begun.append(number)
        if number < 2:
            both.wait(PATIENCE_S)
            gate.wait(PATIENCE_S)

    calls = [asyncio.create_task(pool.run(work, number)) for number in range(6)]
    await asyncio.to_thread(both.wait, PATIENCE_S)
    assert (sorted(begun), len(living())) == ([0, 1], 2)
    gate.set()
    await asyncio.gather(*calls)
    assert sorted(begun) == list(range(6))


async def test_threads_end_when_there_is_nothing_to_do() -> None:
    """And the next call has a new one."""
    pool = ThreadPool(2, NAME, idle_s=0)
    for _ in range(2):
        await asyncio.gather(pool.run(gc.isenabled), pool.run(gc.isenabled))
        assert await ended()


async def test_threads_end_with_the_event_loop() -> None:
    """Nobody has to close their pool."""

    async def use() -> None:
        await ThreadPool(2, NAME).run(gc.isenabled)
        assert living()

    await asyncio.to_thread(asyncio.run, use())
    assert await ended()


async def test_who_is_cancelled_waits_for_the_end_of_the_call(gate: threading.Event) -> None:
    """So it can close the file that the call writes to. Cancelled once more, it waits no longer."""
    pool, done = ThreadPool(1, NAME), []

    def work() -> None:
        gate.wait(PATIENCE_S)
        done.append(True)

    patient, impatient = (asyncio.create_task(pool.run(work)) for _ in range(2))
    for _ in range(2):
        await asyncio.sleep(0)
        impatient.cancel()
    patient.cancel()
    with suppress(asyncio.CancelledError):
        await impatient
    assert not done
    assert not patient.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await patient
    assert done
