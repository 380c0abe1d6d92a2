"""The memory that many connections leave behind is given back to the operating system."""

import asyncio
import ctypes
import gc
import itertools
import weakref
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

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


async def test_cycles_are_collected_periodically() -> None:
    """Even if nothing happens that would make Python do so by itself."""
    gc.disable()
    try:
        keeping = asyncio.create_task(memory.trim_periodically(lambda: 0.0))  # as if it took no time
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


async def test_collections_that_take_long_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take a hundredth of the time at most, however much there is to look through."""
    rounds: list[float] = []
    moments = itertools.count(0, 0.5)  # each collection takes half a second
    monkeypatch.setattr(memory.gc, "collect", lambda: rounds.append(asyncio.get_running_loop().time()))
    keeping = asyncio.create_task(memory.trim_periodically(lambda: next(moments)))
    await asyncio.sleep(memory.TRIM_PERIOD_S + 3 * 50 + 1)
    await tasks.cancel_and_wait([keeping])
    assert [round(later - earlier) for earlier, later in pairwise(rounds)] == [50, 50, 50]


async def test_objects_of_the_start_are_exempt_from_collections() -> None:
    """Modules and routes are never garbage."""
    before = gc.get_freeze_count()
    try:
        memory.freeze_startup_heap()
        assert gc.get_freeze_count() > before + 10_000
    finally:
        gc.unfreeze()


async def test_trimming_outlives_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in one round is logged, and the next rounds run."""
    rounds: list[int] = []

    def collect() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 2:
            raise MemoryError

    monkeypatch.setattr(memory.gc, "collect", collect)
    monkeypatch.setattr(memory.gc, "freeze", lambda: None)
    with capture_logs() as logs:
        async with memory.kept_trimmed():
            await asyncio.sleep(3.5 * memory.TRIM_PERIOD_S)
    assert rounds == [0, 1, 2, 3]  # the first is that of the start
    assert [line["task"] for line in logs] == ["memory trimming"]
