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
        self._rest = memoryview(b"")
        """What has come and was not read yet."""
        self._at = 0
        """The offset of its first byte."""
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
        """Some bytes from an offset on, at most `length`; none only beyond the end. Raises OSError."""
        if offset >= self.size:
            return b""
        if offset != self._at or self._pieces is None:
            await self.open(offset)
        if not await self._has_some():
            await self.open(offset)
            if not await self._has_some():
                raise OSError("the download broke off twice")
        data, self._rest = bytes(self._rest[:length]), self._rest[length:]
        self._at += len(data)
        return data

    async def _has_some(self) -> bool:
        """Have at least a byte to read; False when the stream broke, or ended too early."""
        assert self._pieces is not None  # noqa: S101 - it was opened
        with suppress(OSError, StopAsyncIteration):
            while not self._rest:
                async with self._within(self._patience):
                    self._rest = memoryview(await anext(self._pieces))
        return bool(self._rest)

    def close(self) -> None:
        """Let go of the stream."""
        self._pieces = None
        self._rest = memoryview(b"")
