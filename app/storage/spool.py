"""The spool: the bytes of an upload while it arrives, in a file of this machine."""

import errno
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.storage.interface import StoreFull

SOURCE = "source"
"""The name of an upload's file, in the spool and in a job's folder."""
BUFFER_BYTES = 256 * 1024
"""Bytes gathered in memory before they are written. Every upload may hold so many; twice as many would save
hardly any calls into threads."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def raising_store_full() -> Iterator[None]:
    """Turn the system's errors for a full disk, a used-up quota or a file size limit into StoreFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(os.strerror(error.errno)) from None
        raise


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all bytes to a file. Blocking. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class FileSpool:
    """An upload in a file named `source` in a folder of its own.

    Neither is made before the first 256 KiB have come, or `flush()` is called: a small upload that is refused
    never touches the disk.
    """

    def __init__(self, folder: Path, run_in_thread: Callable[..., Awaitable[Any]]) -> None:
        """`folder` must not exist yet; `run_in_thread` runs a blocking call in a thread and awaits it."""
        self.folder: Path | None = folder
        """None once it was discarded or moved away."""
        self._run_in_thread = run_in_thread
        self._buffer = bytearray()
        self._descriptor: int | None = None
        self._on_disk = False
        self._hash = hashlib.sha256()

    async def write(self, data: bytes | memoryview) -> None:
        """Append bytes, of which a view is not valid after that. Raises StoreFull, OSError."""
        if len(self._buffer) + len(data) < BUFFER_BYTES:
            self._buffer += data
            return
        gathered, self._buffer = self._buffer, bytearray()
        await self._run_in_thread(self._append, gathered, data)

    def _append(self, *pieces: bytes | bytearray | memoryview) -> None:
        if self.folder is None:
            raise RuntimeError("the upload was discarded")
        with raising_store_full():
            if self._descriptor is None:
                self._on_disk = True
                self.folder.mkdir()
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._descriptor = os.open(self.folder / SOURCE, flags, 0o600)
            for piece in pieces:
                if piece:
                    self._hash.update(piece)
                    write_all(self._descriptor, piece)

    async def restart(self) -> None:
        """Forget what was written. Raises OSError."""
        self._buffer = bytearray()
        self._hash = hashlib.sha256()
        if self._descriptor is not None:
            await self._run_in_thread(self._empty, self._descriptor)

    @staticmethod
    def _empty(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)

    def flush(self) -> tuple[Path, int]:
        """Write what is still in memory; the folder, and the open descriptor of the file. Blocking.

        Raises:
            StoreFull, OSError: it could not be written.
        """
        self._append(self._buffer)
        self._buffer = bytearray()
        if self.folder is None or self._descriptor is None:
            raise RuntimeError("the upload was discarded")
        return self.folder, self._descriptor

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of what was written to the file: of all of it after `flush()`."""
        return self._hash.hexdigest()

    def moved(self) -> None:
        """Tell that the folder was moved away, so that `discard()` removes nothing. Blocking."""
        self._close()
        self.folder = None

    async def discard(self) -> None:
        """Remove the upload. Does nothing after the first call, or when the folder was moved away."""
        self._buffer = bytearray()
        if self._on_disk and self.folder is not None:
            await self._run_in_thread(self._remove)

    def _remove(self) -> None:
        self._close()
        folder, self.folder = self.folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
