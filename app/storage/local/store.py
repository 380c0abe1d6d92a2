"""A store in one directory of the local file system: the store of one machine.

This is the asynchronous half. It runs the blocking calls of `directory` and `job_folders` in threads,
writers and readers in separate ones, so that a disk which is slow to write delays neither the event loop nor
the images that are served. It also counts the bytes and remembers the records that were read last.
"""

import asyncio
import heapq
import math
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread

from app.job import Job, MadeVariant, is_id
from app.runtime.recently_used import RecentlyUsed
from app.storage.base import StoreBase
from app.storage.interface import EventNotKept, JobExists, JobGone, Spool
from app.storage.local.directory import Directory
from app.storage.local.job_folders import ORIGINAL, JobFolders
from app.storage.local.kept_files import KeptFiles
from app.storage.spool import SOURCE, FileSpool
from workers.messages import Made

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_READER_THREADS = 8


class LocalStore(StoreBase):
    """Keeps everything below one directory, which no other server may use at the same time."""

    def __init__(
        self, root: Path, max_bytes: int, retention: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Keeps at most `max_bytes`, and each job for `retention` seconds after it is final.

        `clock` gives seconds since the epoch.
        """
        super().__init__(max_bytes, retention, clock)
        self.directory = Directory(root)
        self.folders = JobFolders(self.directory.images, self.directory.work, self._is_expired)
        self.events = KeptFiles(self.directory.outbox, self.write_in_thread)
        self.spent = KeptFiles(self.directory.spent, self.write_in_thread)
        self._readers = CapacityLimiter(MAX_READER_THREADS)
        self._final_jobs: RecentlyUsed[Job] = RecentlyUsed()
        self._unfinished: list[tuple[float, str]] = []
        """A heap of (accepted at, id), found by `survey()` and emptied by `pending()`."""
        self._surveyed = False
        self._swept_until = -math.inf
        """What was written before that moment is kept for good."""

    async def read_in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call that reads from the disk, in one of the readers' threads."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._readers)

    # --- start and stop --------------------------------------------------------------------------------

    async def check(self) -> str:
        return await self.write_in_thread(self.directory.check)

    async def open(self) -> None:
        try:
            await self.write_in_thread(self.directory.open)
        except OSError as error:
            raise self.directory.unusable(error) from None
        self._secret = self.directory.secret

    async def survey(self) -> None:
        try:  # one shard at a time, so that a stop need not wait for the end
            for shard in await self.read_in_thread(self.folders.shards):
                used, unfinished = await self.read_in_thread(self.folders.survey, shard)
                self._space.used += used
                self._unfinished += unfinished
        except OSError as error:
            raise self.directory.unusable(error) from None
        heapq.heapify(self._unfinished)
        self._surveyed = True

    async def close(self) -> None:
        self.directory.close()

    async def pending(self, except_for: Container[str] = ()) -> AsyncIterator[Job]:
        while self._unfinished:
            accepted_at, job_id = heapq.heappop(self._unfinished)
            if job_id in except_for:
                continue
            job = await self.read_in_thread(self.folders.read_record, job_id)
            if job is None:
                try:
                    source = await self.read_in_thread(self.folders.source(job_id).stat)
                    job = Job(job_id, accepted_at, source.st_size, wanted=())
                    await self.save(job)
                except (FileNotFoundError, JobGone):  # deleted since the start
                    continue
            if job.is_final:  # the process died after it had written the record
                await self._settle_source(job)
            else:
                yield job

    async def load_state(self) -> bytes | None:
        return await self.read_in_thread(self.directory.load_state)

    async def save_state(self, data: bytes) -> None:
        await self.write_in_thread(self.directory.save_state, data)

    # --- uploads ---------------------------------------------------------------------------------------

    async def spool(self, job_id: str) -> FileSpool:
        return FileSpool(self.directory.spool / job_id, self.write_in_thread)

    async def accept(self, spool: Spool, job: Job) -> None:
        assert isinstance(spool, FileSpool)  # noqa: S101 - a store is given its own spools only
        try:
            await self.write_in_thread(self.folders.accept, spool, job)
        except JobExists:  # its retention may be over
            await self._remove_if_over(job.id)
            await self.write_in_thread(self.folders.accept, spool, job)
        self._space.used += job.size
        self._final_jobs.pop(job.id)
        await self._check_unspent(job)

    # --- work ------------------------------------------------------------------------------------------

    async def workspace(self, job_id: str) -> Path:
        return await self.write_in_thread(self.directory.new_workspace, job_id)

    async def fetch(self, job: Job, folder: Path) -> Path:  # noqa: ARG002 - the source is on this machine
        return self.folders.source(job.id)

    async def take_variants(self, job: Job, folder: Path, made: Sequence[Made]) -> dict[str, MadeVariant]:
        try:
            variants, replaced = await self.write_in_thread(self.folders.take_variants, job.id, folder, made)
        except OSError:
            self._space.recount_wanted = True  # some may have been moved
            raise
        self._space.used += sum(variant.size for variant in variants.values()) - replaced
        return variants

    async def drop_workspace(self, folder: Path) -> None:
        await self.write_in_thread(shutil.rmtree, folder, ignore_errors=True)

    async def save(self, job: Job) -> None:
        self._final_jobs.pop(job.id)
        freed = await self.write_in_thread(self._save, job)
        self._space.used -= freed

    def _save(self, job: Job) -> int:
        self.folders.write_record(job)
        return self.folders.settle_source(job) if job.is_final else 0

    async def _settle_source(self, job: Job) -> None:
        freed = await self.write_in_thread(self.folders.settle_source, job)
        self._space.used -= freed

    async def reopen(self, job: Job) -> None:
        await self.write_in_thread(self.folders.reopen, job)
        self._final_jobs.pop(job.id)

    # --- reading ---------------------------------------------------------------------------------------

    async def load(self, job_id: str, *, fresh: bool = False) -> Job | None:
        if not is_id(job_id):
            return None
        job = None if fresh else self._final_jobs.get(job_id)
        if job is None:
            job = await self.read_in_thread(self.folders.read_record, job_id)
            if job is None:
                return None
            if job.is_final and not self._is_expired(job):
                self._final_jobs.put(job_id, job)
        return None if self._is_expired(job) else job

    async def blob(
        self,
        job: Job,
        variant: str,
        span: tuple[int, int] | None = None,  # noqa: ARG002 - a file can be read from any offset
    ) -> "OpenFile | None":
        made = job.made[variant]
        return await self._open_file(job.id, made.file, made.size)

    async def original(
        self,
        job: Job,
        span: tuple[int, int],  # noqa: ARG002 - a file can be read from any offset
    ) -> "OpenFile | None":
        for name in (ORIGINAL, SOURCE, ORIGINAL):  # which becomes the other when the job ends or is reopened
            file = await self._open_file(job.id, name, job.size)
            if file is not None:
                return file
        return None

    async def _open_file(self, job_id: str, name: str, size: int) -> "OpenFile | None":
        path = self.folders.home(job_id) / name
        try:
            descriptor = await self.read_in_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if os.fstat(descriptor).st_size != size:  # cut by a failing disk, or by hand
            os.close(descriptor)
            return None
        return OpenFile(descriptor, self.read_in_thread)

    # --- removal ---------------------------------------------------------------------------------------

    async def delete(self, job_id: str) -> None:
        self._final_jobs.pop(job_id)
        await self._keep_spent(await self.read_in_thread(self.folders.read_record, job_id))
        freed = await self.write_in_thread(self.folders.delete, job_id)
        if self._surveyed:
            self._space.used -= freed
        else:  # it may have been counted, or not
            self._space.recount_wanted = True
        self._final_jobs.pop(job_id)  # a reader may have loaded it meanwhile

    async def sweep(self) -> int:
        if await self.write_in_thread(self.directory.recreate_if_emptied):
            log.warning("store was emptied by hand", store=str(self.directory.root))
            self._final_jobs.clear()
            self.folders.forget_shards()
            self._space.recount_wanted = True
        horizon = self._clock() - self._shortest_life
        removed = 0
        for shard in await self.read_in_thread(self.folders.shards):
            for job_id in await self.read_in_thread(
                self.folders.jobs_over_in, shard, self._swept_until, horizon
            ):
                with suppress(EventNotKept):  # the next sweep tries again
                    await self._remove_if_over(job_id)
                    removed += 1
            await asyncio.sleep(0)
        if math.isinf(self.retention):  # else what stays is looked at again, until it is over
            self._swept_until = horizon
        if self._space.recount_wanted:
            await self._recount()
        await self._forget_spent()
        return removed

    async def _remove_if_over(self, job_id: str) -> None:
        """Remove a job that nobody can ask for any more. Raises OSError."""
        job = await self.read_in_thread(self.folders.read_record, job_id)
        is_expired = job is not None and self._is_expired(job)
        async with self._expiring(job) if job is not None and is_expired else nullcontext():
            freed = await self.write_in_thread(self.folders.remove_if_over, job_id)
        self._space.used -= freed
        self._final_jobs.pop(job_id)

    async def _recount(self) -> None:
        """Correct the count of bytes by what is there. What is counted meanwhile is kept."""
        self._space.recount_wanted = False
        before = self._space.used
        found = await self.read_in_thread(self.folders.count_bytes)
        self._space.used += found - before


class OpenFile:
    """The open file of one variant."""

    def __init__(self, descriptor: int, read_in_thread: Callable[..., Awaitable[bytes]]) -> None:
        self._descriptor = descriptor
        self._read_in_thread = read_in_thread

    async def read(self, offset: int, length: int) -> bytes:
        return await self._read_in_thread(os.pread, self._descriptor, length, offset)

    def close(self) -> None:
        os.close(self._descriptor)
