"""Brings accepted jobs into the cluster's queue, in order."""

import asyncio

import structlog

from app.cluster.connection import UNAVAILABLE, StorageFull, StreamFull
from app.cluster.jetstream import JobStream
from app.cluster.job_status import JobStatusStore
from app.cluster.leases import LeasedSlot
from app.engine.job_handle import JobHandle

log = structlog.get_logger(__name__)

_RETRY_S = 0.1
_MAX_LATE_TRIES = 20
"""How often a reopened job is tried again while that of its run before is in the queue. After that it is left
to the reconciler."""


class JobPublisher:
    """Accepted jobs that are not in the queue yet. Those that a crash leaves here are still in the store."""

    def __init__(self, job_stream: JobStream, job_status: JobStatusStore) -> None:
        self._job_stream = job_stream
        self._job_status = job_status
        self._waiting: asyncio.Queue[tuple[JobHandle, LeasedSlot]] = asyncio.Queue()
        self.storage_full = False
        """Whether NATS has no room for the next job: uploads would pile up here."""
        self._found_full = 0
        """Uploads that waited here because the queue was full when they were complete."""

    def __len__(self) -> int:
        return self._waiting.qsize()

    def put(self, handle: JobHandle, slot: LeasedSlot) -> None:
        """Add a job. The lease of its slot ends when the job is in the queue."""
        self._waiting.put_nowait((handle, slot))

    async def run(self) -> None:
        """Publish one job after the other, without end. The reconciler finds a job that this loop lost."""
        while True:
            handle, slot = await self._waiting.get()
            try:
                await self._send(handle)
            finally:
                slot.end_lease()
                self._set_storage_full(False)

    async def _send(self, handle: JobHandle) -> None:
        """Publish a job, trying until NATS takes it or the job is cancelled."""
        job = handle.job
        status_written = found_full = False
        tries_left = _MAX_LATE_TRIES if job.reopened else 0
        while not handle.cancelled:
            try:
                if not status_written:  # before a worker can have the job
                    await self._job_status.announce(job)
                    status_written = True
                await self._job_stream.publish(job, f"{job.id}.{job.created_at}.{job.reopened}")
            except StreamFull as full:
                if full.subject and not tries_left:
                    return
                tries_left -= full.subject
                if not found_full and not full.subject:
                    found_full = True
                    self._found_full += 1
                    log.info("the queue was full when an upload was complete", so_far=self._found_full)
                await asyncio.sleep(_RETRY_S)
            except StorageFull as full:
                self._set_storage_full(True, str(full))
                await asyncio.sleep(_RETRY_S)
            except UNAVAILABLE:
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def _set_storage_full(self, full: bool, reason: str = "") -> None:
        if full and not self.storage_full:
            log.error("the engine has no room: uploads are refused until it has", reason=reason)
        elif self.storage_full and not full:
            log.info("the engine takes jobs again")
        self.storage_full = full
