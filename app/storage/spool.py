"""The spool: an upload's bytes on their way in, in a file of this machine."""

import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.storage.interface import StoreFull

SOURCE = "source"
_WRITE_BEHIND = 256 * 1024
"""Half the calls into threads that 128 KiB takes; more would save little, and every upload may hold it."""
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_full_refuses() -> Iterator[None]:
    """Raises StoreFull for what the system says when the disk or a quota is full."""
    try:
        yield
    except OSError as error:
        if error.errno in _OUT_OF_SPACE:
            raise StoreFull(os.strerror(error.errno)) from None
        raise


class FileSpool:
    """An upload's bytes, gathered in memory up to 256 KiB before they go to disk in a thread.

    They are the file `source` of a folder of their own, which is not made before there is anything to write.
    """

    def __init__(self, folder: Path, writing: Callable[..., Awaitable[Any]]) -> None:
        """`writing` runs a blocking call in a thread."""
        self.folder: Path | None = folder
        self._writing = writing
        self._buffer = bytearray()
        self._descriptor: int | None = None
        self._begun = False

    async def write(self, data: bytes) -> None:
        """Append bytes. Raises StoreFull when the disk is."""
        if not self._buffer and len(data) >= _WRITE_BEHIND:
            await self._writing(self._append, data)  # as it is, without a copy
            return
        self._buffer += data
        if len(self._buffer) >= _WRITE_BEHIND:
            gathered, self._buffer = self._buffer, bytearray()
            await self._writing(self._append, gathered)

    def _append(self, data: bytes | bytearray) -> None:
        if self.folder is None:
            raise RuntimeError("the upload was discarded")
        with disk_full_refuses():
            if self._descriptor is None:
                self._begun = True
                self.folder.mkdir()
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._descriptor = os.open(self.folder / SOURCE, flags, 0o600)
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def gathered(self) -> tuple[Path, int]:
        """Blocking: write what is left; the folder, and the descriptor of the file, which is whole now."""
        self._append(self._buffer)
        self._buffer = bytearray()
        if self.folder is None or self._descriptor is None:
            raise RuntimeError("the upload was discarded")
        return self.folder, self._descriptor

    async def discard(self) -> None:
        """Remove every trace; harmless when called again or after the upload was accepted."""
        self._buffer = bytearray()
        if self._begun and self.folder is not None:
            await self._writing(self._remove)

    def _remove(self) -> None:
        self.close()
        folder, self.folder = self.folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
