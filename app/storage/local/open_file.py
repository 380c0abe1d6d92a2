"""The open file of one variant, which is read in threads."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


async def open_file(
    path: Path, size: int, read_in_thread: Callable[..., Awaitable[Any]]
) -> "OpenFile | None":
    """Open a file of that size; None when it is gone, or was cut by a failing disk or by hand.

    Raises:
        OSError: it cannot be read now.
    """
    try:
        descriptor = await read_in_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if os.fstat(descriptor).st_size != size:
        os.close(descriptor)
        return None
    return OpenFile(descriptor, read_in_thread)


class OpenFile:
    """The open file of one variant."""

    def __init__(self, descriptor: int, read_in_thread: Callable[..., Awaitable[bytes]]) -> None:
        self._descriptor = descriptor
        self._read_in_thread = read_in_thread

    async def read(self, offset: int, length: int) -> bytes:
        return await self._read_in_thread(os.pread, self._descriptor, length, offset)

    def close(self) -> None:
        os.close(self._descriptor)
