"""How many uploads are read at full speed at once, and that the others lose nothing by it."""

import asyncio
from types import SimpleNamespace

import pytest
from fastapi import Request

from app.server.read_buffer import SMALL_READ
from app.uploads.body import MAX_FAST_READERS, PERMIT_IDLE_TIMEOUT_S, BodyReader
from app.uploads.file_sink import TooLarge
from tests.uploads.test_body import ReceivingSlots, Uplink

pytestmark = pytest.mark.anyio

LARGE = b"\xff\xd8\xff\xe0" + bytes(SMALL_READ)
SMALL = LARGE[: SMALL_READ // 2]
SLOW_WRITE_S = 10.0
"""Seconds that the disk takes: twice as long as a client may be silent."""


class Uploads:
    """One reader with many uploads, on a disk that is slow to write."""

    def __init__(self, write_s: float = SLOW_WRITE_S) -> None:
        self._reader = BodyReader(ReceivingSlots(), 10 * len(LARGE), 120, 1000)  # type: ignore[arg-type]
        self._write_s = write_s
        self._writing = self.max_writing = 0

    async def write(self, data: bytes) -> None:
        """Take a piece of an upload; counts the large pieces that are written at once."""
        is_large = len(data) >= SMALL_READ
        self._writing += is_large
        self.max_writing = max(self.max_writing, self._writing)
        await asyncio.sleep(self._write_s)
        self._writing -= is_large

    async def read(self, *pieces: bytes | tuple[float, bytes]) -> float:
        """Read one upload; returns the loop time at which it was complete."""
        connection = SimpleNamespace(fast_reading=False)
        scope = {"type": "http", "method": "POST", "path": "/", "state": {"connection": connection}}
        request = Request(scope | {"headers": [(b"content-type", b"image/jpeg")]}, Uplink(pieces).receive)
        try:
            await self._reader.receive(request, self, None)
        finally:
            assert not connection.fast_reading
        return asyncio.get_running_loop().time()


async def test_some_are_read_at_once_and_the_others_after_them() -> None:
    """In the order in which they came; none is too slow because it had to wait."""
    uploads = Uploads()
    ends = await asyncio.gather(*(uploads.read(LARGE) for _ in range(5 * MAX_FAST_READERS)))
    assert uploads.max_writing == MAX_FAST_READERS
    assert ends == sorted(ends)
    assert ends[-1] - ends[0] == pytest.approx(4 * SLOW_WRITE_S, abs=0.1)


async def test_a_slow_upload_needs_no_permit() -> None:
    """Small pieces are read while other uploads wait for a permit."""
    uploads = Uploads()
    async with asyncio.TaskGroup() as group:
        for _ in range(2 * MAX_FAST_READERS):
            group.create_task(uploads.read(LARGE))
        began = asyncio.get_running_loop().time()
        slow = group.create_task(uploads.read(SMALL))
    assert slow.result() - began == pytest.approx(SLOW_WRITE_S, abs=0.1)


async def test_a_silent_upload_gives_its_permit_back() -> None:
    """Uploads that begin fast and then stall hold nobody up."""
    uploads = Uploads(write_s=0.0)
    async with asyncio.TaskGroup() as group:
        for _ in range(MAX_FAST_READERS):
            group.create_task(uploads.read(LARGE, (4.0, SMALL)))
        began = asyncio.get_running_loop().time()
        last = group.create_task(uploads.read(LARGE))
    assert last.result() - began == pytest.approx(PERMIT_IDLE_TIMEOUT_S, abs=0.01)


async def test_a_refused_body_gives_its_permit_back() -> None:
    """However an upload ends, the next one is read."""
    uploads = Uploads(write_s=0.0)
    for _ in range(MAX_FAST_READERS):
        with pytest.raises(TooLarge):
            await uploads.read(*[LARGE] * 11)
    async with asyncio.timeout(1):
        await uploads.read(LARGE)
