"""The uploads of a bucket's jobs, as objects `sources/<id>/<upload>`, and copies of some on this machine.

An upload that is to be kept is `originals/<id>/<upload>` from the beginning, and is never moved. An empty
object in its place among the sources marks its job as unfinished: a start looks for such jobs there alone.

Two replicas may receive different files under one Idempotency-Key, and so for one id. Each upload has a name
of its own, so the one that is not accepted cannot replace the other. Earlier versions wrote `sources/<id>`;
the records of such jobs name no upload.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.job import Job, is_id, is_upload
from app.storage.interface import JobGone, StoreUnavailable
from app.storage.s3.client import ObjectInfo, S3Client
from app.storage.s3.download import Download
from app.storage.s3.images import image_name

SOURCES = "sources"
ORIGINALS = "originals"
_MAX_KEPT_BYTES = 256 * 2**20
"""Bytes of copies kept on this machine, so that its workers need not download what it has just uploaded."""
_MAX_UPLOADS_AT_ONCE = 8
_PIECE_BYTES = 2**20


def source_name(job: Job) -> str:
    """The name of the object that holds a job's source. Raises ValueError for what is no id."""
    if not is_id(job.id):
        raise ValueError("not an id")
    if job.upload is None:
        return f"{SOURCES}/{job.id}"
    return f"{ORIGINALS if job.original else SOURCES}/{job.id}/{job.upload}"


def names_needed(job: Job) -> set[str]:
    """The names of the objects that hold its source, or mark it as unfinished, which a job still needs."""
    if job.is_final:
        return {source_name(job)} if job.keeps_original else set()
    return {source_name(job), _mark_name(job)}


def _mark_name(job: Job) -> str:
    """The name among the sources by which a start finds the job."""
    return source_name(replace(job, original=False))


def parse_source_name(name: str) -> tuple[str, str | None] | None:
    """The job's id and the upload that the name of a source's object stands for; None for another name."""
    job_id, slash, upload = name.removeprefix(f"{SOURCES}/").partition("/")
    if not is_id(job_id) or (slash and not is_upload(upload)):
        return None
    return job_id, upload or None


class Sources:
    """Uploads sources to the bucket and brings them back."""

    def __init__(self, client: S3Client, run_in_thread: Callable[..., Awaitable[Any]]) -> None:
        """`run_in_thread` runs a blocking call in a thread and awaits it."""
        self._client = client
        self._run_in_thread = run_in_thread
        self._uploads = asyncio.Semaphore(_MAX_UPLOADS_AT_ONCE)
        self._kept: OrderedDict[str, tuple[Path, int]] = OrderedDict()
        """Path and size of each copy, by the name of the source, the oldest first."""
        self._kept_bytes = 0

    async def upload(self, job: Job, file: Path) -> None:
        """Write a job's source into the bucket, a few at once. Raises OSError."""
        async with self._uploads:
            await self._client.put(source_name(job), file, job.size)
        if job.original:
            await self.mark_unfinished(job)

    async def mark_unfinished(self, job: Job) -> None:
        """Have starts find a job that keeps its original. Raises OSError."""
        await self._client.put(_mark_name(job), b"", 0)

    async def find(self, item: ObjectInfo, job_id: str, upload: str | None) -> Job:
        """A new job for a source or a mark whose record cannot be read. Raises OSError."""
        job = Job(job_id, item.written_at, item.size, wanted=(), upload=upload)
        if item.size:
            return job
        originals = {each.name: each async for each in self._client.list(f"{ORIGINALS}/{job_id}")}
        job = replace(job, original=True)
        found = originals.get(source_name(job))
        return replace(job, size=0 if found is None else found.size)

    async def keep(self, job: Job, file: Path, target: Path) -> None:
        """Move an uploaded file to `target`, as a copy for this machine's workers; the oldest ones may go."""
        await self._run_in_thread(file.rename, target)
        self._kept[source_name(job)] = target, job.size
        self._kept_bytes += job.size
        while self._kept_bytes > _MAX_KEPT_BYTES:
            await self._drop_copy(next(iter(self._kept)))

    def _take_copy(self, name: str) -> Path | None:
        """Forget the copy of a source; its path, or None if there is none."""
        path, size = self._kept.pop(name, (None, 0))
        self._kept_bytes -= size
        return path

    async def _drop_copy(self, name: str) -> None:
        if (kept := self._take_copy(name)) is not None:
            await self._run_in_thread(kept.unlink, missing_ok=True)

    async def fetch(self, job: Job, path: Path) -> None:
        """Put a source at `path`: the copy of this machine, or else a download.

        Raises:
            JobGone: there is no source any more.
            OSError: it could not be fetched.
        """
        name = source_name(job)
        if (kept := self._take_copy(name)) is not None:
            with suppress(FileNotFoundError):  # the temporary folder may have been cleaned up
                await self._run_in_thread(kept.rename, path)
                return
        try:
            download = await self._client.download(name, 0, piece_bytes=_PIECE_BYTES)
        except FileNotFoundError:
            raise JobGone(job.id) from None
        try:
            await self._save(download, path)
        finally:
            download.close()

    async def _save(self, download: Download, path: Path) -> None:
        """Write a download to a file, in large pieces: each costs one call into a thread."""
        offset = 0
        while True:
            data = await download.read(offset, _PIECE_BYTES)
            await self._run_in_thread(_append, path, data)
            offset += len(data)
            if not data or offset >= download.size:
                break
        if offset != download.size:
            raise StoreUnavailable("a source is shorter than its size says")

    async def settle(self, job: Job) -> int:
        """Remove what a final job needs no more; the bytes that this freed. Raises OSError.

        That includes provisional variants which were replaced: there were none unless others were deferred.
        """
        name = source_name(job)
        await self._drop_copy(name)
        replaced = job.replaced_files if job.completed_at != job.finished_at else ()
        unneeded = {name, _mark_name(job)} - names_needed(job)
        await self._client.delete(sorted(unneeded | {image_name(job.id, file) for file in replaced}))
        return 0 if job.keeps_original else job.size

    async def remove(self, job: Job) -> None:
        """Remove a source from the bucket and from this machine. Raises OSError."""
        name = source_name(job)
        await self._drop_copy(name)
        await self._client.delete(sorted({name, _mark_name(job)}))

    async def remove_all(self, job_id: str) -> None:
        """Remove every source of an id, for a job whose record cannot be read. Raises OSError."""
        named = [
            item.name
            for folder in (SOURCES, ORIGINALS)
            async for item in self._client.list(f"{folder}/{job_id}")
        ]
        for name in (f"{SOURCES}/{job_id}", *named):
            await self._drop_copy(name)
        await self._client.delete([f"{SOURCES}/{job_id}", *named])


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
