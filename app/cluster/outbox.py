"""The outbox: brings accepted jobs into the engine's queue, and finds those that never got there."""

import asyncio
import random
import time
from contextlib import suppress

import structlog
from nats.js.errors import NotFoundError

from app.cluster.connection import UNAVAILABLE, NatsConnection, StreamFull
from app.cluster.jetstream import JOBS, WORKERS, job_subject
from app.cluster.job_registry import JobRegistry
from app.cluster.job_status import JobStatusStore
from app.cluster.leases import LeasedSlot
from app.engine.job_handle import JobHandle
from app.job import Job
from app.storage.interface import Store, StoreError

log = structlog.get_logger(__name__)

_PAUSE = 0.1
_REPEAT = 30.0
"""Seconds between looks for jobs that are in the store but not in the queue, and for silent ones."""
_LOST = 30.0


class Outbox:
    """Accepted jobs on their way into the queue, in order. What a crash leaves here, the store knows."""

    def __init__(self, connection: NatsConnection, job_status: JobStatusStore) -> None:
        self.overtaken = 0
        """Uploads whose place in the queue was gone when they had come, so that they waited here."""
        self._connection = connection
        self._job_status = job_status
        self._waiting: asyncio.Queue[tuple[JobHandle, LeasedSlot]] = asyncio.Queue()

    def __len__(self) -> int:
        return self._waiting.qsize()

    def put(self, handle: JobHandle, berth: LeasedSlot) -> None:
        """A job, and the place in the dock that others may have once it is in the queue."""
        self._waiting.put_nowait((handle, berth))

    async def run(self) -> None:
        """Send one after the other, for ever."""
        while True:
            handle, berth = await self._waiting.get()
            try:
                await self._send(handle)
            except Exception:  # the mender finds it
                log.exception("job could not be sent", job=handle.job.id)
            berth.end_lease()

    async def _send(self, handle: JobHandle) -> None:
        posted, waited = False, False
        job = handle.job
        while not handle.cancelled:
            try:
                if not posted:  # first, or it would be later than what the worker tells
                    await self._job_status.put(job)
                    posted = True
                await self.publish(job, f"{job.id}.{job.created_at}")
            except StreamFull as full:
                if full.subject:
                    return
                if not waited:
                    self.overtaken += 1
                    log.info("the queue was full by the time an upload had come", so_far=self.overtaken)
                waited = True
                await asyncio.sleep(_PAUSE)
            except UNAVAILABLE:
                await asyncio.sleep(_PAUSE)
            else:
                return

    async def publish(self, job: Job, mark: str | None = None) -> None:
        """Put a job into the queue; `mark` tells the same try repeated. Raises as `Link.asking` does."""
        headers = None if mark is None else {"Nats-Msg-Id": mark}
        async with self._connection.request(2.0) as js:
            await js.publish(job_subject(job.id), b"", headers=headers)

    async def withdraw(self, job_id: str) -> None:
        """Take a job out of the queue, in whosever hands it is. Raises as `Link.asking` does.

        Its message is deleted: a purge of its subject makes a server (2.9) pass over all others that wait.
        """
        async with self._connection.request(2.0) as js:
            with suppress(NotFoundError):
                await js.delete_msg(JOBS, (await js.get_last_msg(JOBS, job_subject(job_id))).seq or 0)

    async def queued(self) -> list[str]:
        """The ids of all jobs in the queue. Raises as `Link.asking` does."""
        async with self._connection.request(2.0) as js:
            subjects = (await js.stream_info(JOBS, subjects_filter=">")).state.subjects
        return [subject.rpartition(".")[2] for subject in subjects or {}]

    async def is_passed(self, job_id: str) -> bool:
        """Whether a job is in the queue and nobody will ever get it, for the engine takes it for done."""
        async with self._connection.request(2.0) as js:
            floor = (await js.consumer_info(JOBS, WORKERS)).ack_floor
            seq = (await js.get_last_msg(JOBS, job_subject(job_id))).seq
        return floor is not None and (seq or 0) <= floor.stream_seq


class Reconciler:
    """Holds queue and store against each other, time and again."""

    def __init__(self, registry: JobRegistry, store: Store, outbox: Outbox) -> None:
        self._registry = registry
        self._store = store
        self._outbox = outbox

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            await asyncio.sleep(_REPEAT * random.uniform(0.5, 1.0))  # noqa: S311 - so that replicas differ
            with suppress(*UNAVAILABLE, OSError, StoreError, StreamFull):
                await self._reconcile()
                await self._recover()
                await self.tidy()

    async def _recover(self) -> None:
        """Put jobs into the queue that were accepted by a replica which died before it did that.

        One that is there already is refused by the engine, and one that has ended by whoever takes it.
        """
        async for job in self._store.pending():
            if job.created_at < time.time() - _LOST:
                try:
                    await self._outbox.publish(job)
                except StreamFull as full:
                    if not full.subject:
                        return
                else:
                    log.info("a job was missing from the queue", job=job.id)

    async def _reconcile(self) -> None:
        """Look in the store what has become of jobs that nothing was heard of for a while."""
        for known in self._registry:
            if time.monotonic() - known.changed_at < _LOST:
                continue
            job = await self._store.load(known.handle.job.id)
            if job is None:
                self._registry.end_cancelled(known.handle)
            elif job.is_final:
                self._registry.update(job)

    async def tidy(self) -> None:
        """Take out of the queue what has ended: a killed server may bring back what was acknowledged.

        Raises OSError, and as `Link.asking` does.
        """
        for job_id in await self._outbox.queued():
            handle = self._registry.find(job_id)
            job = await self._store.load(job_id) if handle is None else handle.job
            if job is None or job.is_final:
                await self._outbox.withdraw(job_id)
                log.info("a job that has ended was still in the queue", job=job_id)
            elif job.created_at < time.time() - _LOST and await self._outbox.is_passed(job_id):
                await self._outbox.withdraw(job_id)  # to be put in anew
                log.warning("a job in the queue was passed over", job=job_id)
