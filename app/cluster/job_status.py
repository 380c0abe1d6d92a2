"""The status of every job, shared by all processes through a key-value bucket.

The bucket keeps the last record of each job for some minutes, so a replica that starts later learns what is
under way. The record in the store remains authoritative.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from app.cluster import jetstream
from app.cluster.connection import PUBLISH_TIMEOUT_S, NatsConnection
from app.job import Job
from app.runtime import tasks

log = structlog.get_logger(__name__)

_WATCH_TIMEOUT_S = 5.0


class JobStatusStore:
    """Writes statuses, and passes on those that other processes write."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._bucket: KeyValue | None = None
        self._watcher: KeyValue.KeyWatcher | None = None
        self._reader: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Create the bucket if it is missing. Raises EngineDown, BreakerOpen."""
        self._bucket = await jetstream.status_bucket(self._connection)

    async def put(self, job: Job) -> None:
        """Write the present status of a job. Raises EngineDown, BreakerOpen, StreamFull."""
        bucket = self._prepared()
        async with self._connection.request(PUBLISH_TIMEOUT_S):
            await bucket.put(job.id, job.to_record())

    async def read(self, job_id: str) -> Job | None:
        """The last status of a job, None when there is none. Raises EngineDown, BreakerOpen."""
        bucket = self._prepared()
        try:
            async with self._connection.request(PUBLISH_TIMEOUT_S):
                entry = await bucket.get(job_id)
            return Job.from_record(entry.value or b"")
        except (KeyNotFoundError, ValueError):
            return None

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
