"""A download of one object, which is resumed where the connection broke."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING

from app.storage.interface import StoreUnavailable

if TYPE_CHECKING:
    from obstore import GetResult


class Download:
    """The bytes of an object, to be read in order; reading elsewhere begins a new request.

    A server may close the connection while a slow reader takes its time, so a stream that breaks is requested
    again from the byte at which it broke.
    """

    def __init__(
        self,
        begin: Callable[[int], Awaitable["GetResult"]],
        bounded: Callable[[], AbstractAsyncContextManager[None]],
        piece_bytes: int,
    ) -> None:
        """`begin` requests the bytes from an offset on.

        `bounded` makes the context in which one piece, of about `piece_bytes`, has to arrive: it limits the
        time and raises OSError for what fails.
        """
        self._begin = begin
        self._bounded = bounded
        self._piece_bytes = piece_bytes
        self._pieces: AsyncIterator[bytes] | None = None
        self._unread = memoryview(b"")
        """Bytes that have arrived and were not read yet."""
        self._offset = 0
        """The offset in the object of the first unread byte."""
        self.size = 0
        """Bytes of the whole object."""

    async def open(self, offset: int) -> None:
        """Request the bytes from an offset on. Raises OSError, FileNotFoundError."""
        self.close()
        result = await self._begin(offset)
        self._pieces = aiter(result.stream(min_chunk_size=self._piece_bytes))
        self._offset = offset
        self.size = result.meta["size"]

    async def read(self, offset: int, length: int) -> bytes:
        """At least one and at most `length` bytes from `offset` on; none only at or beyond the end.

        Raises:
            OSError: the stream broke twice at the same byte.
        """
        if offset >= self.size:
            return b""
        if offset != self._offset or self._pieces is None:
            await self.open(offset)
        if not await self._receive():
            await self.open(offset)
            if not await self._receive():
                raise StoreUnavailable("the download broke off twice")
        data, self._unread = bytes(self._unread[:length]), self._unread[length:]
        self._offset += len(data)
        return data

    async def _receive(self) -> bool:
        """Wait for a byte to read; False when the stream broke or ended before the end of the object."""
        assert self._pieces is not None  # noqa: S101 - `open()` was called
        with suppress(OSError, StopAsyncIteration):
            while not self._unread:
                async with self._bounded():
                    self._unread = memoryview(await anext(self._pieces))
        return bool(self._unread)

    def close(self) -> None:
        """Release the connection."""
        self._pieces = None
        self._unread = memoryview(b"")
