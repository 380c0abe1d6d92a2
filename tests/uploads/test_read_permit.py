"""How many uploads are read at full speed at once, and that the others lose nothing by it."""

import asyncio
from types import SimpleNamespace

import pytest
from fastapi import Request

from app.server.read_buffer import SMALL_READ
from app.uploads.body import BodyReader, TooLarge
from app.uploads.read_permit import MAX_FAST_READERS, PATIENCE
from tests.uploads.test_body import Uplink, dock

pytestmark = pytest.mark.anyio

LARGE = b"\xff\xd8\xff\xe0" + bytes(SMALL_READ)
SMALL = LARGE[: SMALL_READ // 2]
SLOW = 10.0
"""Seconds that the disk takes: twice as long as a client may be silent."""


class Yard:
    """One intake with many uploads, on a disk that is slow to write."""

    def __init__(self, disk_s: float = SLOW) -> None:
        self._intake = BodyReader(dock(), 10 * len(LARGE), 120, 1000)  # type: ignore[arg-type]
        self._disk_s = disk_s
        self.writing = self.most = 0

    async def write(self, data: bytes) -> None:
        """Take a piece of an upload, which is to be read eagerly only as long as it has hands."""
        self.writing += len(data) >= SMALL_READ
        self.most = max(self.most, self.writing)
        await asyncio.sleep(self._disk_s)
        self.writing -= len(data) >= SMALL_READ

    async def unload(self, *pieces: bytes | tuple[float, bytes]) -> float:
        """Read one upload; the moment when it was there."""
        tap = SimpleNamespace(fast_reading=False)
        scope = {"type": "http", "method": "POST", "path": "/", "state": {"connection": tap}}
        request = Request(scope | {"headers": [(b"content-type", b"image/jpeg")]}, Uplink(pieces).receive)
        try:
            await self._intake.receive(request, self, None)
        finally:
            assert not tap.fast_reading
        return asyncio.get_running_loop().time()


async def test_some_are_unloaded_at_once_and_the_others_after_them() -> None:
    """In the order of their coming; nobody is too slow for having waited."""
    yard = Yard()
    ends = await asyncio.gather(*(yard.unload(LARGE) for _ in range(5 * MAX_FAST_READERS)))
    assert yard.most == MAX_FAST_READERS
    assert ends == sorted(ends)
    assert ends[-1] - ends[0] == pytest.approx(4 * SLOW, abs=0.1)


async def test_who_trickles_needs_no_hands() -> None:
    """Small pieces pass all who wait."""
    yard = Yard()
    async with asyncio.TaskGroup() as group:
        for _ in range(2 * MAX_FAST_READERS):
            group.create_task(yard.unload(LARGE))
        began = asyncio.get_running_loop().time()
        trickle = group.create_task(yard.unload(SMALL))
    assert trickle.result() - began == pytest.approx(SLOW, abs=0.1)


async def test_who_falls_silent_leaves_the_hands_to_others() -> None:
    """Many that begin fast and then stall hold nobody up."""
    yard = Yard(disk_s=0.0)
    async with asyncio.TaskGroup() as group:
        for _ in range(MAX_FAST_READERS):
            group.create_task(yard.unload(LARGE, (4.0, SMALL)))
        began = asyncio.get_running_loop().time()
        last = group.create_task(yard.unload(LARGE))
    assert last.result() - began == pytest.approx(PATIENCE, abs=0.01)


async def test_a_refused_body_gives_its_hands_back() -> None:
    """However an upload ends, the next one is unloaded."""
    yard = Yard(disk_s=0.0)
    for _ in range(MAX_FAST_READERS):
        with pytest.raises(TooLarge):
            await yard.unload(*[LARGE] * 11)
    async with asyncio.timeout(1):
        await yard.unload(LARGE)
