"""The records of a bucket's jobs, as objects `records/<id>.json`.

A record is written on a condition: created only where there is none, and replaced only in place of the
version that this process has seen. So of two writers one fails instead of overwriting what the other wrote,
and a worker that is late cannot bring back a job that was deleted.
"""

import errno
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from app.job import Job, JobStatus, is_id
from app.runtime.recently_used import RecentlyUsed
from app.storage.base import parse_record
from app.storage.interface import JobGone
from app.storage.s3.client import ObjectChanged, S3Client

RECORDS = "records"
_MAX_STALENESS_S = 2.0
"""For so long a final record is not read again, and a deletion by another replica may go unnoticed."""
_MAX_ATTEMPTS = 5


def record_name(job_id: str) -> str:
    """The name of a record's object. Raises ValueError for what is no id."""
    if not is_id(job_id):
        raise ValueError("not an id")
    return f"{RECORDS}/{job_id}.json"


class Records:
    """Reads and writes records, and remembers their versions."""

    def __init__(self, client: S3Client, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self._client = client
        self._clock = clock
        self._versions: RecentlyUsed[tuple[str, tuple[float, int]]] = RecentlyUsed()
        """The version of each record as last read or written here, and the run of the job that it is of."""
        self._final_jobs: RecentlyUsed[tuple[float, Job]] = RecentlyUsed()
        """Final jobs, and when each was read."""

    async def create(
        self,
        job: Job,
        is_over: Callable[[Job], bool],
        expiring: Callable[[Job], AbstractAsyncContextManager[None]],
    ) -> bool:
        """Write the record of a new job: where there is none, or in place of one that `is_over`.

        It is replaced within `expiring`. Returns whether it replaced one.

        Raises:
            FileExistsError: there is another record, or another process has replaced the same one.
            OSError: it could not be written.
        """
        name, record = record_name(job.id), job.to_record()
        replaced = False
        try:
            version = await self._client.create(name, record)
        except FileExistsError:
            there, version = await self._read_version(job.id)
            if not version:  # removed meanwhile
                version = await self._client.create(name, record)
            elif there is None or not is_over(there):
                raise
            else:
                async with expiring(there):
                    version = await self._take_place(name, record, version)
                replaced = True
        self._versions.put(job.id, (version, job.run))
        self._final_jobs.pop(job.id)
        return replaced

    async def _read_version(self, job_id: str) -> tuple[Job | None, str]:
        """The job of a record, None when it is damaged, and its version, empty when there is no record."""
        try:
            data, version = await self._client.get(record_name(job_id))
        except FileNotFoundError:
            return None, ""
        return parse_record(job_id, data), version

    async def _take_place(self, name: str, record: bytes, version: str) -> str:
        """Replace that version of a record; the new version. Raises FileExistsError, OSError."""
        try:
            return await self._client.replace(name, record, version)
        except (FileNotFoundError, ObjectChanged):
            with suppress(FileNotFoundError):
                there, version = await self._client.get(name)
                if there == record:  # written by an earlier try whose answer got lost
                    return version
            raise FileExistsError(errno.EEXIST, f"{name} has been replaced by others") from None

    async def read(self, job_id: str) -> Job | None:
        """The job of a record; None when it is damaged. Raises FileNotFoundError, OSError."""
        data, version = await self._client.get(record_name(job_id))
        job = parse_record(job_id, data)
        if job is not None and not job.is_final:  # the caller may be about to replace it
            self._versions.put(job_id, (version, job.run))
        return job

    async def read_cached(self, job_id: str) -> Job | None:
        """The job of a record, from memory if it was read as final within the last two seconds.

        None when the record is damaged. Raises FileNotFoundError, OSError.
        """
        if (cached := self._final_jobs.get(job_id)) is not None:
            read_at, job = cached
            if 0 <= self._clock() - read_at < _MAX_STALENESS_S:
                return job
            self._final_jobs.pop(job_id)
        found = await self.read(job_id)
        if found is not None and found.is_final:
            self._final_jobs.put(job_id, (self._clock(), found))
        return found

    async def replace(self, job: Job) -> None:
        """Write a record in place of the stored one, unless the job is not this process's any more.

        A worker that was paused for longer than its lease may come back when another one has taken its job
        over. It brings no deleted job back, writes no final record over, and cannot fail a job in whose
        record the other one has counted a death. A job that it has made is done all the same.

        Raises:
            JobGone: the record is removed, final, or that of a process that took the job over, or its id
                belongs to a later job by now.
            OSError: it could not be written.
        """
        name, record = record_name(job.id), job.to_record()
        known = self._versions.pop(job.id)
        version = known[0] if known is not None and known[1] == job.run else None
        for _ in range(_MAX_ATTEMPTS):
            try:
                if version is None:
                    there, version = await self._client.get(name)
                    if there == record:  # written by an earlier try whose answer got lost
                        return
                    stored = parse_record(job.id, there)
                    if stored is not None and not _may_replace(stored, job):
                        raise JobGone(job.id)
                version = await self._client.replace(name, record, version)
                if not job.is_final:  # a final record is never replaced, so its version is of no use
                    self._versions.put(job.id, (version, job.run))
            except FileNotFoundError:
                raise JobGone(job.id) from None
            except ObjectChanged:
                version = None
            else:
                return
        raise ObjectChanged(f"the record of {job.id} is being written by others")

    async def reopen(self, job: Job, is_expired: Callable[[Job], bool]) -> None:
        """Write the record of a job's next run in place of the final one, which must not have expired.

        Raises:
            JobGone: the record is removed or has expired, or is not that of the run before.
            OSError: it could not be written.
        """
        name, record = record_name(job.id), job.to_record()
        try:
            there, version = await self._client.get(name)
            stored = parse_record(job.id, there)
            was = (job.created_at, job.reopened - 1)
            if stored is None or not stored.is_final or stored.run != was or is_expired(stored):
                raise JobGone(job.id)
            self._versions.put(job.id, (await self._take_place(name, record, version), job.run))
        except (FileNotFoundError, FileExistsError):
            raise JobGone(job.id) from None
        self._final_jobs.pop(job.id)

    async def remove(self, job_id: str) -> None:
        """Remove a record. Does nothing when there is none."""
        await self._client.delete([record_name(job_id)])
        self._versions.pop(job_id)
        self._final_jobs.pop(job_id)


def _may_replace(stored: Job, job: Job) -> bool:
    """Whether a process that last knew the job in another state may write `job` over `stored`."""
    if stored.run != job.run:  # a later upload has the id by now, or the job was reopened
        return False
    if stored.is_final:
        return False
    return job.deaths >= stored.deaths or job.status == JobStatus.DONE
