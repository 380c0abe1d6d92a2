"""The status of every job, shared by all processes through a key-value bucket.

The bucket keeps the last record of each job for some minutes, so a replica that starts later learns what is
under way. The record in the store remains authoritative.

Every status is written on condition of the revision that it replaces. So a process that was paused for longer
than its lease, and lost a job, finds that out and does not write over what another one has written.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from app.cluster import jetstream
from app.cluster.connection import PUBLISH_TIMEOUT_S, NatsConnection
from app.job import Job
from app.runtime import tasks

log = structlog.get_logger(__name__)

_WATCH_TIMEOUT_S = 5.0


class StatusChanged(Exception):
    """Raised when another process has written the status of a job."""


@dataclass(frozen=True, slots=True)
class Status:
    """A status and its revision; no job and revision 0 when there is none."""

    record: bytes
    revision: int

    @property
    def job(self) -> Job | None:
        """The job, None when there is none or it cannot be read."""
        try:
            return Job.from_record(self.record)
        except ValueError:
            return None


class JobStatusStore:
    """Writes statuses, and passes on those that other processes write."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._bucket: KeyValue | None = None
        self._watcher: KeyValue.KeyWatcher | None = None
        self._reader: asyncio.Task[None] | None = None
        self._untold: dict[str, Job] = {}
        """Ended jobs of which NATS has not been told yet."""

    async def prepare(self) -> None:
        """Create the bucket if it is missing. Raises EngineDown, BreakerOpen."""
        self._bucket = await jetstream.status_bucket(self._connection)

    async def read(self, job_id: str) -> Status:
        """The last status of a job. Raises EngineDown, BreakerOpen."""
        bucket = self._prepared()
        try:
            async with self._connection.request(PUBLISH_TIMEOUT_S):
                entry = await bucket.get(job_id)
        except KeyNotFoundError:
            return Status(b"", 0)
        return Status(entry.value or b"", entry.revision or 0)

    async def write(self, job: Job, revision: int) -> int:
        """Write the status of a job in place of `revision`, 0 for none. Returns the new revision.

        Raises:
            StatusChanged: the last status has another revision.
            EngineDown, BreakerOpen, StreamFull: NATS does not take it.
        """
        bucket, record = self._prepared(), job.to_record()
        while True:
            try:
                async with self._connection.request(PUBLISH_TIMEOUT_S):
                    return await bucket.update(job.id, record, last=revision)
            except KeyWrongLastSequenceError:
                last = await self.read(job.id)
                if last.record == record:  # written by a request whose answer was lost
                    return last.revision
                if last.revision:
                    raise StatusChanged(job.id) from None
                revision = 0  # the last one has expired

    async def announce(self, job: Job) -> None:
        """Write the status of a new job, unless a worker has done so already.

        Raises:
            EngineDown, BreakerOpen, StreamFull: NATS does not take it.
        """
        await self._write_unless(job, 0, lambda last: last.run >= job.run)

    async def finish(self, job: Job, revision: int = 0) -> None:
        """Write the status of an ended job, unless a final one, or that of a later upload, is there already.

        `revision` is the last one that the caller knows.

        Raises:
            EngineDown, BreakerOpen, StreamFull: NATS does not take it.
        """

        def outranks(last: Job) -> bool:
            if last.run == job.run:
                return last.is_final
            return last.run > job.run

        await self._write_unless(job, revision, outranks)

    async def tell(self, job: Job) -> None:
        """Write the status of an ended job, or leave it to `settle`. Raises as `finish` does."""
        self._untold[job.id] = job
        await self.settle()

    async def settle(self) -> None:
        """Write the statuses that `tell` could not write. Raises as `finish` does."""
        for job in list(self._untold.values()):
            await self.finish(job)
            self._untold.pop(job.id, None)

    async def _write_unless(self, job: Job, revision: int, stays: Callable[[Job], bool]) -> None:
        """Write the status of a job in place of any other one but such as `stays` returns True for."""
        while True:
            try:
                await self.write(job, revision)
            except StatusChanged:
                last = await self.read(job.id)
                if last.job is not None and stays(last.job):
                    return
                revision = last.revision
            else:
                return

    async def watch(self, update: Callable[[Job], None]) -> None:
        """Call `update` with the last status of each job and every later one, until `close`.

        Replaces an earlier watch. Raises EngineDown, BreakerOpen.
        """
        bucket = self._prepared()
        await self.close()
        async with self._connection.request(_WATCH_TIMEOUT_S):
            watcher = self._watcher = await bucket.watchall()
        self._reader = tasks.supervise(lambda: _read(watcher, update), "job status watch")

    async def close(self) -> None:
        """End the watch."""
        if self._reader is not None:
            await tasks.cancel_and_wait([self._reader])
        if self._watcher is not None:
            with suppress(NatsError, OSError):
                await self._watcher.stop()  # type: ignore[no-untyped-call]
        self._reader = self._watcher = None

    def _prepared(self) -> KeyValue:
        assert self._bucket is not None  # noqa: S101 - `prepare` comes first
        return self._bucket


async def _read(watcher: KeyValue.KeyWatcher, update: Callable[[Job], None]) -> None:
    async for entry in watcher:
        if entry is None or not entry.value:
            continue
        try:
            job = Job.from_record(entry.value)
        except ValueError:
            log.warning("unreadable job status", key=entry.key)
            continue
        if job.id == entry.key:
            update(job)
