"""The sources of a store in a bucket: uploads, sent there for safety and kept here for speed."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.job import Job, is_id
from app.storage.interface import JobGone
from app.storage.s3.client import S3Client
from app.storage.s3.download import Download

SOURCES = "sources"
_MOST_KEPT = 256 * 2**20
"""Bytes of uploads that are kept here for the workers of this machine."""
_SENDING = 8
_PIECE = 2**20


def source_name(job_id: str) -> str:
    """Where a source is. Raises ValueError for what is no id."""
    if not is_id(job_id):
        raise ValueError("not an id")
    return f"{SOURCES}/{job_id}"


class Sources:
    """Sends uploads and brings them back."""

    def __init__(self, remote: S3Client, writing: Callable[..., Awaitable[Any]]) -> None:
        """`writing` runs a blocking call in a thread."""
        self._remote = remote
        self._writing = writing
        self._senders = asyncio.Semaphore(_SENDING)
        self._kept: OrderedDict[str, tuple[Path, int]] = OrderedDict()

    async def send(self, job: Job, file: Path) -> None:
        """Send an upload, a few at once. Raises OSError."""
        async with self._senders:
            await self._remote.send(source_name(job.id), file, job.size)

    async def keep(self, job: Job, file: Path, place: Path) -> None:
        """Move a file that was sent to its `place` here, which those kept longest may have to leave."""
        await self._writing(file.rename, place)
        self._kept[job.id] = place, job.size
        while sum(size for _, size in self._kept.values()) > _MOST_KEPT:
            await self.let_go(next(iter(self._kept)))

    async def let_go(self, job_id: str) -> None:
        """Keep a source here no longer."""
        if (kept := self._kept.pop(job_id, None)) is not None:
            await self._writing(kept[0].unlink, missing_ok=True)

    async def fetch(self, job_id: str, path: Path) -> None:
        """Have a source at `path`. Raises JobGone, OSError."""
        if (kept := self._kept.pop(job_id, None)) is not None:
            with suppress(FileNotFoundError):  # somebody has cleaned up here
                await self._writing(kept[0].rename, path)
                return
        try:
            download = await self._remote.download(source_name(job_id), 0, piece=_PIECE)
        except FileNotFoundError:
            raise JobGone(job_id) from None
        try:
            await self._bring(download, path)
        finally:
            download.close()

    async def _bring(self, download: Download, path: Path) -> None:
        """A piece after the other; each trip into a thread costs as much as a small photo's bytes."""
        offset = 0
        while True:
            data = await download.read(offset, _PIECE)
            await self._writing(_append, path, data)
            offset += len(data)
            if not data or offset >= download.size:
                break
        if offset != download.size:
            raise OSError("a source came shorter than it is")

    async def remove(self, job_id: str) -> None:
        """Remove a source, here and there. Raises OSError."""
        await self.let_go(job_id)
        await self._remote.delete([source_name(job_id)])


def _append(path: Path, data: bytes) -> None:
    """Blocking."""
    with path.open("ab") as file:
        file.write(data)
