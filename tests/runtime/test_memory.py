"""The memory that many connections leave behind is given back to the operating system."""

import asyncio
import ctypes
import gc
import itertools
import math
import os
import weakref
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


@pytest.mark.parametrize(
    ("growth", "cpu_s", "objects", "expected"),
    [
        (3 << 20, 0.0, 3000, False),
        (5 << 20, 0.0, 3000, True),
        (5 << 20, 0.0, 100, False),  # what it grew by was freed, and lies between objects that stay
        (5 << 20, 9.0, 3000, False),  # clients would wait
        (63 << 20, 9.0, 3000, False),
        (101 << 20, 9.0, 3000, True),
        (math.nan, 9.0, 3000, True),
    ],
    ids=["quiet", "quiet and grown", "few objects", "busy", "busy and grown more", "by half", "unknown"],
)
async def test_what_outlived_a_collection_is_looked_through_when_memory_and_objects_are_more(
    growth: float, cpu_s: float, objects: int, *, expected: bool
) -> None:
    """And not in each collection, which would hold up the event loop the longer the more there is."""
    memory_bytes, cpu = iter([200 << 20, (200 << 20) + growth, 200 << 20]), itertools.count(0, cpu_s)
    gc.disable()
    try:
        gc.freeze()
        keeping = asyncio.create_task(memory.trim_periodically(lambda: next(memory_bytes), lambda: next(cpu)))
        await settle()
        knot = weakref.ref(Knot())
        kept = [Knot() for _ in range(objects)]
        gc.freeze()
        await asyncio.sleep(memory.TRIM_PERIOD_S + 1)
        assert kept
        await tasks.cancel_and_wait([keeping])
        assert (knot() is None) == expected
    finally:
        gc.unfreeze()
        gc.enable()


def test_open_connections_account_for_memory() -> None:
    """As many of them as come at once do not have everything looked through: their memory is no garbage."""
    before = memory._beside_connections()
    pipes = [os.pipe() for _ in range(200)]
    try:
        assert memory._beside_connections() < before - (10 << 20)
    finally:
        for end in itertools.chain.from_iterable(pipes):
            os.close(end)


async def test_objects_of_the_start_are_exempt_from_collections() -> None:
    """Modules and routes are never garbage. Nor is most of what outlives a collection."""
    before = gc.get_freeze_count()
    try:
        async with memory.kept_trimmed():
            of_start = gc.get_freeze_count()
            assert of_start > before + 10_000
            assert gc.get_threshold() == (700, 10, 5)
            kept = [Knot() for _ in range(1000)]
            gc.collect(1)
            assert gc.get_freeze_count() <= of_start  # a young one says little
            gc.collect()
            assert gc.get_freeze_count() >= of_start + len(kept)
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
    with capture_logs() as logs:
        async with memory.kept_trimmed():
            await asyncio.sleep(3.5 * memory.TRIM_PERIOD_S)
    assert rounds == [0, 1, 2, 3]  # the first is that of the start
    assert [line["task"] for line in logs] == ["memory trimming"]
