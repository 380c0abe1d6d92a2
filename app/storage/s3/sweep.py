"""Stocktaking: what is over in a store in a bucket, and how much is left."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from app.job import Job
from app.storage.s3.client import S3Client
from app.storage.s3.inventory import StoredJob, inventory
from app.storage.s3.records import Records

_ORPHANED = 3600.0
"""Seconds after which a file without a record is no upload on its way in any more."""


class Sweep:
    """One pass over every name there is; several replicas may do it at once."""

    def __init__(
        self,
        remote: S3Client,
        records: Records,
        retention: float,
        expired: Callable[[Job], bool],
        clock: Callable[[], float],
    ) -> None:
        """`retention` in seconds; `expired`: whether a job's retention is over by `clock`."""
        self._remote = remote
        self._records = records
        self._retention = retention
        self._expired = expired
        self._clock = clock
        self.found = 0
        """Bytes that are left, of what the last pass has seen so far."""

    async def over(self) -> AsyncIterator[StoredJob]:
        """Pass over everything: jobs that have expired, and files of no job. Raises OSError."""
        self.found = 0
        async for stock in inventory(self._remote):
            if await self._is_over(stock):
                yield stock
            elif stock.source is not None and await self._is_left_over(stock):
                await self._remote.delete([stock.source.name])
                self.found += stock.size - stock.source.size
            else:
                self.found += stock.size

    async def _is_over(self, stock: StoredJob) -> bool:
        now = self._clock()
        if stock.record is None:
            return stock.written_at <= now - _ORPHANED
        # A record is written last when its job ends, so a younger one need not be read.
        if stock.record.written_at > now - self._retention:
            return False
        try:
            job = await self._records.read(stock.id)
        except FileNotFoundError:
            return False
        # Damaged, or never to be done, and without its source: it can only be in the way.
        return self._expired(job) if job is not None and job.is_final else stock.source is None

    async def _is_left_over(self, stock: StoredJob) -> bool:
        """Whether the source could not be removed when its job had ended."""
        if stock.record is None or stock.source is None:
            return False
        if stock.source.written_at > self._clock() - _ORPHANED:
            return False
        with suppress(FileNotFoundError):
            job = await self._records.read(stock.id)
            return job is not None and job.is_final
        return False
