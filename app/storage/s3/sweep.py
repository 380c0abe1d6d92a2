"""The sweep of a bucket: one pass over every name, which removes what is over and counts what is left."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass

from app.job import ID_LENGTH, Job, is_id
from app.storage.base import shortest_life
from app.storage.interface import EventNotKept
from app.storage.s3.client import ObjectInfo, S3Client
from app.storage.s3.images import IMAGES
from app.storage.s3.records import RECORDS, Records
from app.storage.s3.sources import ORIGINALS, SOURCES, names_needed

_ORPHAN_AGE_S = 3600.0
"""A file without a record is left alone for so long, because it may belong to an upload on its way in."""
_MAX_INTERVAL_S = 3600.0
_PASSES_PER_RETENTION = 24
_MAX_DUTY = 1 / 20
"""The largest share of time spent in passes."""
_SOON_S = 60.0


@dataclass(frozen=True, slots=True)
class StoredJob:
    """The objects that a bucket has of one job. `size` and `written_at` do not include the record."""

    id: str
    record: ObjectInfo | None
    sources: tuple[ObjectInfo, ...]
    images: tuple[ObjectInfo, ...]

    @property
    def size(self) -> int:
        """Bytes of its sources and its images."""
        return sum(item.size for item in self._files())

    @property
    def written_at(self) -> float:
        """When the last of them was written, in seconds since the epoch; 0 when there are none."""
        return max((item.written_at for item in self._files()), default=0.0)

    def names(self) -> list[str]:
        """Their names."""
        return [item.name for item in self._files()]

    def _files(self) -> tuple[ObjectInfo, ...]:
        return self.images + self.sources


class Sweep:
    """Passes over a bucket. Several replicas may do so at the same time."""

    def __init__(
        self,
        client: S3Client,
        records: Records,
        retention: float,
        is_expired: Callable[[Job], bool],
        clock: Callable[[], float],
        expiring: Callable[[Job], AbstractAsyncContextManager[None]],
    ) -> None:
        """`is_expired` tells whether the `retention` of a job, in seconds, is over by `clock`.

        Such a job is removed within `expiring`, and stays for the next pass if that raises EventNotKept.
        """
        self._client = client
        self._records = records
        self._keeps_images = math.isinf(retention)
        self._retention = shortest_life(retention)
        self._is_expired = is_expired
        self._clock = clock
        self._expiring = expiring
        self._due_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next pass.

        A pass reads every name there is, so there is one an hour, or 24 in a retention, or fewer when a pass
        takes more than a twentieth of the time between them.
        """
        return self._clock() >= self._due_at

    def hasten(self) -> None:
        """Have the next pass within a minute."""
        self._due_at = min(self._due_at, self._clock() + _SOON_S)

    async def run(self) -> tuple[int, int]:
        """Pass over everything; the number of jobs removed, and the bytes that are left.

        Raises:
            OSError: the pass could not be finished.
        """
        began = self._clock()
        removed = left_bytes = 0
        async for stored in stored_jobs(self._client):
            is_over, job = await self._find_over(stored)
            if is_over:
                with suppress(EventNotKept):
                    async with nullcontext() if job is None else self._expiring(job):
                        await self._records.remove(stored.id)
                        await self._client.delete(stored.names())
                    removed += stored.record is not None
                    continue
            left_bytes += stored.size
            for source in await self._unused_sources(stored):
                await self._client.delete([source.name])
                left_bytes -= source.size
        now = self._clock()
        interval = min(_MAX_INTERVAL_S, self._retention / _PASSES_PER_RETENTION)
        self._due_at = now + max(interval, (now - began) / _MAX_DUTY)
        return removed, left_bytes

    async def _find_over(self, stored: StoredJob) -> tuple[bool, Job | None]:
        """Whether a job is to be removed, and the job if that is because it has expired."""
        now = self._clock()
        if stored.record is None:
            return stored.written_at <= now - _ORPHAN_AGE_S, None
        # A job's record is written last when it ends, so a younger one need not be read.
        if stored.record.written_at > now - self._retention or (self._keeps_images and stored.images):
            return False, None
        try:
            job = await self._records.read(stored.id)
        except FileNotFoundError:
            return False, None
        if job is not None and job.is_final:
            return self._is_expired(job), job
        return not stored.sources, None  # damaged or unfinished, and it can never be made again

    async def _unused_sources(self, stored: StoredJob) -> list[ObjectInfo]:
        """Sources that were left behind when the job ended, and those of uploads that were not accepted."""
        latest = self._clock() - _ORPHAN_AGE_S
        old = [source for source in stored.sources if source.written_at <= latest]
        if stored.record is None or not old:
            return []
        try:
            job = await self._records.read(stored.id)
        except FileNotFoundError:
            return []
        needed = {source.name for source in old} if job is None else names_needed(job)
        return [source for source in old if source.name not in needed]


async def stored_jobs(client: S3Client) -> AsyncIterator[StoredJob]:
    """Every job of which the bucket has any object, in the order of the ids.

    S3 lists names in order, so the listings of records, sources and images are read side by side, and memory
    does not grow with the number of jobs. Raises OSError.
    """
    listings = [_JobListing(client.list(folder), folder) for folder in (RECORDS, SOURCES, IMAGES, ORIGINALS)]
    for listing in listings:
        await listing.advance()
    while ids := [listing.id for listing in listings if listing.id is not None]:
        job_id = min(ids)
        records, sources, images, originals = [await listing.take(job_id) for listing in listings]
        yield StoredJob(job_id, next(iter(records), None), tuple(sources + originals), tuple(images))


class _JobListing:
    """One listing, read object by object. Objects whose names have no job id in them are passed over."""

    def __init__(self, items: AsyncIterator[ObjectInfo], folder: str) -> None:
        self._items = items
        self._id_at = len(folder) + 1
        self._item: ObjectInfo | None = None
        self.id: str | None = None
        """The job of the next object; None at the end."""

    async def advance(self) -> None:
        """Go to the next object of a job."""
        async for item in self._items:
            job_id = item.name[self._id_at : self._id_at + ID_LENGTH]
            if is_id(job_id):
                self._item, self.id = item, job_id
                return
        self._item = self.id = None

    async def take(self, job_id: str) -> list[ObjectInfo]:
        """The objects of a job, if they come next."""
        taken = []
        while self.id == job_id and self._item is not None:
            taken.append(self._item)
            await self.advance()
        return taken
