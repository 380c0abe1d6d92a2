"""A download: one object's bytes as they come, begun again where it broke."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore import GetResult


class Download:
    """A stream that is read in order. A server may close it while a slow reader takes its time."""

    def __init__(
        self,
        begin: Callable[[int], Awaitable["GetResult"]],
        within: Callable[[float], AbstractAsyncContextManager[None]],
        patience: float,
        piece: int,
    ) -> None:
        """`begin` asks for the bytes from an offset on; a `piece` of them comes `within` so many seconds."""
        self._begin = begin
        self._within = within
        self._patience = patience
        self._piece = piece
        self._pieces: AsyncIterator[bytes] | None = None
        self._buffer = bytearray()
        self._at = 0
        """The offset of the first byte in the buffer."""
        self.size = 0
        """Bytes of the whole object."""

    async def open(self, offset: int) -> None:
        """Begin at an offset. Raises OSError, FileNotFoundError."""
        self.close()
        result = await self._begin(offset)
        self._pieces = aiter(result.stream(min_chunk_size=self._piece))
        self._at = offset
        self.size = result.meta["size"]

    async def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset, fewer only at the end of what was asked for. Raises OSError."""
        if offset >= self.size:
            return b""
        if offset != self._at or self._pieces is None:
            await self.open(offset)
        if not await self._gather(length):
            await self.open(offset)
            if not await self._gather(length):
                raise OSError("the download broke off twice")
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._at += len(data)
        return data

    async def _gather(self, length: int) -> bool:
        """Have so many bytes in the buffer, or all there are; False when the stream broke."""
        assert self._pieces is not None  # noqa: S101 - it was opened
        with suppress(StopAsyncIteration):
            try:
                while len(self._buffer) < length:
                    async with self._within(self._patience):
                        self._buffer += await anext(self._pieces)
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Let go of the stream."""
        self._pieces = None
        self._buffer.clear()
