"""Unloading: how many uploads are read at full speed at once.

Were it all two hundred of a full dock, each would keep large pieces in memory, all would be there only at the
end, and meanwhile those who are to be refused would wait for the loop. So some have hands at a time, for as
long as they have something to unload; the others wait, but for a taste, in the kernel's buffers.
"""

import asyncio
from typing import Protocol, Self

MAX_FAST_READERS = 8
"""As many as the store has threads that write."""
PATIENCE = 0.05
"""Seconds for which an upload keeps its hands while nothing comes."""


class ReadSpeed(Protocol):
    """What an upload is read through."""

    fast_reading: bool
    """Whether it is to be read by large pieces."""


class ReadPermit:
    """One upload's, until the end of the block; it needs one of the `hands` that all share."""

    def __init__(self, hands: asyncio.Semaphore, tap: ReadSpeed) -> None:
        self._fast_readers = hands
        self._tap = tap

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether it has hands."""
        return self._tap.fast_reading

    async def acquire(self) -> None:
        """Wait for hands, in the order of asking; not when it has some."""
        if not self._tap.fast_reading:
            await self._fast_readers.acquire()
            self._tap.fast_reading = True

    def release(self) -> None:
        """Leave the hands to others, if it has some."""
        if self._tap.fast_reading:
            self._tap.fast_reading = False
            self._fast_readers.release()
