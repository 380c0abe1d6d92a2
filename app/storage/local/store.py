"""A store in one directory of the local file system: the store of one machine.

This is the asynchronous half. It runs the blocking calls of `directory` and `job_folders` in threads,
writers and readers in separate ones, so that a disk which is slow to write delays neither the event loop nor
the images that are served. It also counts the bytes and remembers the records that were read last.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
from anyio import CapacityLimiter, to_thread

from app.job import Job, MadeVariant, is_id
from app.runtime.recently_used import RecentlyUsed
from app.storage.base import P, StoreBase, T
from app.storage.interface import JobExists, JobGone, Spool
from app.storage.local.directory import Directory
from app.storage.local.expiry_index import ExpiryIndex
from app.storage.local.inventory import Inventory, survey_shard
from app.storage.local.job_folders import ORIGINAL, JobFolders
from app.storage.local.kept_files import KeptFiles
from app.storage.local.open_file import OpenFile, open_file
from app.storage.local.sweep import BATCH, remove_expired
from app.storage.spool import SOURCE, FileSpool
from workers.messages import Made

log = structlog.get_logger(__name__)

MAX_READER_THREADS = 8
_MAX_RECOUNT_DUTY = 1 / 20
"""The largest share of time spent in looking at all files while uploads are refused for want of space."""


class LocalStore(StoreBase):
    """Keeps everything below one directory, which no other server may use at the same time."""

    def __init__(
        self, root: Path, max_bytes: int, retention: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Keeps at most `max_bytes`, and each job for `retention` seconds after it is final.

        `clock` gives seconds since the epoch.
        """
        super().__init__(max_bytes, retention, clock)
        self._keeps_images = math.isinf(retention)
        self.directory = Directory(root, keeps_images=self._keeps_images)
        self.folders = JobFolders(self.directory.images, self.directory.work, self._is_expired)
        self.events = KeptFiles(self.directory.outbox, self.write_in_thread)
        self.spent = KeptFiles(self.directory.spent, self.write_in_thread)
        self._readers = CapacityLimiter(MAX_READER_THREADS)
        self._final_jobs: RecentlyUsed[Job] = RecentlyUsed()
        self._inventory = Inventory()
        """Filled by `survey()`. It counts no bytes after that."""
        self._pending: list[str] = []
        """The ids of the jobs that `survey()` found unfinished, the oldest last. `pending()` empties it."""
        self._surveyed = False
        self._recount_from = -math.inf

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
        kept, self.directory.inventory = self.directory.inventory, None
        try:
            self._inventory = kept or await self._look_at_all(at_start=True)
        except OSError as error:
            raise self.directory.unusable(error) from None
        self._space.used += self._inventory.used
        self._pending = await self.read_in_thread(self._inventory.newest_first)
        self._surveyed = True

    async def _look_at_all(self, *, at_start: bool) -> Inventory:
        """Find out the inventory, one shard after the other, so that a stop need not wait for the end."""
        found = Inventory()
        look = partial(survey_shard, at_start=at_start, keeps_images=self._keeps_images)
        for shard in await self.read_in_thread(self.folders.shards):
            found.add(await self.read_in_thread(look, shard))
        return found

    async def close(self) -> None:
        is_exact = self._surveyed and not self._space.recount_wanted
        inventory = replace(self._inventory, used=self._space.used) if is_exact else None
        await self.write_in_thread(self.directory.close, inventory)

    async def pending(self, except_for: Container[str] = ()) -> AsyncIterator[Job]:
        while self._pending:
            batch = [job_id for job_id in reversed(self._pending[-BATCH:]) if job_id not in except_for]
            del self._pending[-BATCH:]
            for job_id, record in await self.read_in_thread(self.folders.read_records, batch):
                is_there = record is not None and job_id in self._inventory.unfinished
                job = record if is_there else await self._make_whole(job_id)
                if job is None:  # deleted meanwhile
                    continue
                if job.is_final:  # the process died after it had written the record
                    freed = await self.write_in_thread(self.folders.settle_source, job)
                    self._ended(job, freed)
                else:
                    yield job

    async def _make_whole(self, job_id: str) -> Job | None:
        """Give a job a new record that has none which can be read; None if its source is gone, too."""
        try:
            source = await self.read_in_thread(self.folders.source(job_id).stat)
            job = Job(job_id, source.st_mtime, source.st_size, wanted=())
            await self.save(job)
        except (FileNotFoundError, JobGone):  # deleted since the start
            return None
        return job

    def _ended(self, job: Job, freed: int) -> None:
        """A job has become final, and its source is removed, which freed so many bytes."""
        self._space.used -= freed
        self._inventory.unfinished.pop(job.id, None)
        if (end := self.expires_at(job)) is not None:
            self._inventory.expiry.add(end - self._shortest_life, job.id)

    async def load_state(self) -> bytes | None:
        return await self.read_in_thread(self.directory.load_state)

    async def save_state(self, data: bytes) -> None:
        await self.write_in_thread(self.directory.save_state, data)

    # --- uploads ---------------------------------------------------------------------------------------

    async def spool(self, job_id: str) -> FileSpool:
        return FileSpool(self.directory.spool / job_id, self.write_in_thread)

    async def accept(self, spool: Spool, job: Job) -> None:
        assert isinstance(spool, FileSpool)  # noqa: S101 - a store is given its own spools only
        unfinished = self._inventory.unfinished
        unfinished.setdefault(job.id, job.created_at)  # in time: rather one too many than one too few
        try:
            await self._accept(spool, job)
        except (OSError, JobExists):
            if not await self.read_in_thread(self.folders.source(job.id).exists):
                unfinished.pop(job.id, None)
            raise
        unfinished.setdefault(job.id, job.created_at)  # another upload of this id may have failed meanwhile
        self._space.used += job.size
        self._final_jobs.pop(job.id)
        await self._check_unspent(job)

    async def _accept(self, spool: FileSpool, job: Job) -> None:
        try:
            await self.write_in_thread(self.folders.accept, spool, job)
        except JobExists:  # its retention may be over
            await self._remove_if_over(job.id, await self.read_in_thread(self.folders.read_record, job.id))
            await self.write_in_thread(self.folders.accept, spool, job)

    # --- work ------------------------------------------------------------------------------------------

    async def workspace(self, job_id: str) -> Path:
        return await self.write_in_thread(self.directory.new_workspace, job_id)

    async def fetch(self, job: Job, folder: Path) -> Path:  # noqa: ARG002 - the source is on this machine
        return self.folders.source(job.id)

    async def take_variants(self, job: Job, folder: Path, made: Sequence[Made]) -> dict[str, MadeVariant]:
        try:
            variants, replaced = await self.write_in_thread(self._take_variants, job.id, folder, made)
        except OSError:
            self._space.recount_wanted = True  # some may have been moved
            raise
        self._space.used += sum(variant.size for variant in variants.values()) - replaced
        return variants

    def _take_variants(
        self, job_id: str, folder: Path, made: Sequence[Made]
    ) -> tuple[dict[str, MadeVariant], int]:
        taken = self.folders.take_variants(job_id, folder, made)
        self.directory.drop_workspace(folder)  # in the same thread, for each change of threads costs
        return taken

    async def drop_workspace(self, folder: Path) -> None:
        if folder in self.directory.workspaces:
            await self.write_in_thread(self.directory.drop_workspace, folder)

    async def save(self, job: Job) -> None:
        self._final_jobs.pop(job.id)
        freed = await self.write_in_thread(self.folders.save, job)
        if job.is_final:
            self._ended(job, freed)

    async def reopen(self, job: Job) -> None:
        self._inventory.unfinished.setdefault(job.id, job.created_at)
        await self.write_in_thread(self.folders.reopen, job)
        self._inventory.unfinished.setdefault(job.id, job.created_at)  # its run before may just have ended
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
    ) -> OpenFile | None:
        made = job.made[variant]
        return await open_file(self.folders.home(job.id) / made.file, made.size, self.read_in_thread)

    async def original(
        self,
        job: Job,
        span: tuple[int, int],  # noqa: ARG002 - a file can be read from any offset
    ) -> OpenFile | None:
        for name in (ORIGINAL, SOURCE, ORIGINAL):  # which becomes the other when the job ends or is reopened
            file = await open_file(self.folders.home(job.id) / name, job.size, self.read_in_thread)
            if file is not None:
                return file
        return None

    # --- removal ---------------------------------------------------------------------------------------

    async def delete(self, job_id: str) -> None:
        self._final_jobs.pop(job_id)
        await self._keep_spent(await self.read_in_thread(self.folders.read_record, job_id))
        freed = await self.write_in_thread(self.folders.delete, job_id)
        if self._surveyed:
            self._space.used -= freed
        else:  # it may have been counted, or not
            self._space.recount_wanted = True
        self._inventory.unfinished.pop(job_id, None)
        self._final_jobs.pop(job_id)  # a reader may have loaded it meanwhile

    async def sweep(self) -> int:
        if await self.write_in_thread(self.directory.recreate_if_emptied):
            log.warning("store was emptied by hand", store=str(self.directory.root))
            self._final_jobs.clear()
            self.folders.forget_shards()
            self._space.recount_wanted = True
        removed = await remove_expired(
            self._inventory.expiry,
            self._clock() - self._shortest_life,
            self.folders,
            self.read_in_thread,
            self._remove_if_over,
        )
        if self._space.recount_wanted and self._clock() >= self._recount_from:
            await self._recount()
        await self._forget_spent()
        return removed

    async def _remove_if_over(self, job_id: str, job: Job | None) -> None:
        """Remove a job, which was `job` just now, if nobody can ask for it any more. Raises OSError."""
        is_expired = job is not None and self._is_expired(job)
        async with self._expiring(job) if job is not None and is_expired else nullcontext():
            freed = await self.write_in_thread(self.folders.remove_if_over, job_id)
        self._space.used -= freed
        self._final_jobs.pop(job_id)

    async def _recount(self) -> None:
        """Count the bytes and index the ended jobs anew. What changes meanwhile is kept."""
        self._space.recount_wanted = False
        before, began = self._space.used, self._clock()
        meanwhile = self._inventory.expiry = ExpiryIndex()
        try:
            found = await self._look_at_all(at_start=False)
        except BaseException:
            self._space.recount_wanted = True
            raise
        finally:
            now = self._clock()
            self._recount_from = now + (now - began) / _MAX_RECOUNT_DUTY
        self._space.used += found.used - before
        for ended_at, job_id in meanwhile.take(math.inf, len(meanwhile)):
            found.expiry.add(ended_at, job_id)
        self._inventory.expiry = found.expiry
