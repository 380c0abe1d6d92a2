"""What a crowd leaves behind is given back."""

import asyncio
import ctypes
import gc
import weakref
from pathlib import Path

import pytest

from app.runtime import memory, tasks
from tests.clocks import settle

pytestmark = pytest.mark.anyio


class Knot:
    """Something in a reference cycle with itself."""

    def __init__(self) -> None:
        self.itself = self


def resident() -> int:
    """Pages of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1])


async def test_cycles_are_looked_for_time_and_again() -> None:
    """Even if nothing happens that would have Python do so."""
    gc.disable()
    try:
        keeping = asyncio.create_task(memory.trim_periodically())
        await settle()
        for _ in range(2):
            knot = weakref.ref(Knot())
            assert knot() is not None
            await asyncio.sleep(memory.TRIM_PERIOD_S)
            await settle()
            assert knot() is None
        await tasks.cancel_and_wait([keeping])
    finally:
        gc.enable()


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library gives back by itself"
)
async def test_memory_goes_back_that_lies_below_what_is_in_use() -> None:
    """Of many blocks one in a thousand stays: the end of the heap never moves."""
    blocks = [bytes(2000) for _ in range(50_000)]
    kept = blocks[::1000]
    before = resident()
    del blocks
    keeping = asyncio.create_task(memory.trim_periodically())
    await asyncio.sleep(memory.TRIM_PERIOD_S)
    await settle()
    assert resident() < before - 10_000
    assert len(kept) == 50
    await tasks.cancel_and_wait([keeping])


async def test_what_is_there_at_the_start_is_not_looked_through_again() -> None:
    """Modules and routes are no garbage."""
    before = gc.get_freeze_count()
    try:
        memory.freeze_startup_heap()
        assert gc.get_freeze_count() > before + 10_000
    finally:
        gc.unfreeze()
