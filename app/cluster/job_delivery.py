"""Brings one delivered job to its end: has it done, writes its statuses, and takes it out of the queue.

While a job is in progress NATS is told so every few seconds; a process that falls silent loses the job to
another. When it comes back, two things keep it from undoing the work of the other one: a status is written
only in place of the last one that the process knows, and the store writes no final record over. A job leaves
the queue only when its stored record is final or gone.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from app.backpressure.circuit_breaker import BreakerOpen
from app.cluster.connection import (
    PUBLISH_TIMEOUT_S,
    UNAVAILABLE,
    EngineDown,
    NatsConnection,
    StorageFull,
    StreamFull,
)
from app.cluster.jetstream import ACK_WAIT_S, DEAD, job_subject
from app.cluster.job_status import JobStatusStore, Status, StatusChanged
from app.engine.dispatcher import Dispatcher
from app.engine.job_handle import JobHandle
from app.job import MAX_DEATHS, WORKER_DIED, Job, JobStatus
from app.storage.interface import JobGone, Store
from app.webhooks.events import changes

log = structlog.get_logger(__name__)

_RETRY_S = 0.5
_CANCEL_TIMEOUT_S = 5.0
_TELL_TIMEOUT_S = 60.0
"""Seconds for which the end of a job that has left the queue is told anew; by then replicas have found it."""
_MAX_ACK_TRIES = 5


def cancel_subject(job_id: str) -> str:
    """The subject on which the process that has a job is asked to cancel it."""
    return f"spillway.cancel.{job_id}"


async def ask_to_cancel(connection: NatsConnection, job_id: str) -> None:
    """Ask whoever has a job to cancel it. Raises NatsError, OSError when there is somebody and no answer."""
    with suppress(NoRespondersError):
        await connection.client.request(cancel_subject(job_id), timeout=_CANCEL_TIMEOUT_S)


async def hand_back(message: Msg) -> None:
    """Give a job back to the queue, for another process to take it at once."""
    with suppress(NatsError, OSError):
        await message.nak()


@dataclass(slots=True)
class _LastStatus:
    """The revision of a job's last status, and the state id for which no status needs to be written."""

    revision: int
    state_id: str


class DeliveryHandler:
    """Handles deliveries, any number at once, with the workers of one dispatcher."""

    def __init__(
        self,
        connection: NatsConnection,
        job_status: JobStatusStore,
        dispatcher: Dispatcher,
        store: Store,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` dates the records, in seconds since the epoch."""
        self._connection = connection
        self._job_status = job_status
        self._dispatcher = dispatcher
        self._store = store
        self._outbox = dispatcher.recorder.outbox
        self._clock = clock

    async def handle(self, message: Msg, job_id: str) -> None:
        """Bring a job to its end and take it out of the queue, unless another process takes it over.

        When it is cancelled, because this process ends, the job is handed back.
        """
        try:
            await self._handle(message, job_id)
        except asyncio.CancelledError:
            await hand_back(message)
            raise

    async def _handle(self, message: Msg, job_id: str) -> None:
        job = await self._load(message, job_id)
        if job is None:
            await self._end_gone(message, job_id)
            return
        status = await self._read_status(message, job_id)
        handle = self._dispatcher.jobs.find(job_id)
        is_redelivered = message.metadata.num_delivered > 1
        if not job.is_final and handle is None and is_redelivered:
            job = await self._take_over(message, job, status.job)
        if job is None:
            await self._end_gone(message, job_id)
        elif job.is_final:
            await self._finish(message, job, status.revision)
        else:
            # On a first delivery the replica that accepted the job has written its status.
            is_announced = status.job is not None and status.job.run == job.run
            last = _LastStatus(status.revision, job.state_id if is_announced and not is_redelivered else "")
            await self._follow(message, handle or self._dispatcher.resume(job), last)

    async def _load(self, message: Msg, job_id: str) -> Job | None:
        """Read the job's record from the store, waiting until the store is available."""
        while True:
            try:
                return await self._store.load(job_id, fresh=True)
            except (OSError, BreakerOpen) as error:
                log.warning("a job cannot be read from the store", job=job_id, reason=str(error))
                await self._extend_ack(message)
                await asyncio.sleep(_RETRY_S)

    async def _read_status(self, message: Msg, job_id: str) -> Status:
        """Read the job's status, waiting until NATS is available."""
        while True:
            try:
                return await self._job_status.read(job_id)
            except (*UNAVAILABLE, StreamFull):
                await self._extend_ack(message)
                await asyncio.sleep(_RETRY_S)

    async def _take_over(self, message: Msg, job: Job, last: Job | None) -> Job | None:
        """Count a worker death for a job that another process had begun; fail it when it has caused too many.

        The count is in the job's status, because NATS's own count of deliveries includes those that were not
        begun. It is written to the record too: the other process, should it be alive, can then not fail the
        job. Returns the job as it is now, None when it is gone.
        """
        if last is None or last.run != job.run:
            return job
        deaths = last.deaths
        if last.status == JobStatus.PROCESSING:
            deaths += 1
        if deaths >= MAX_DEATHS:
            return await self._give_up(message, job)
        if deaths == job.deaths:
            return job
        return await self._save(message, job, replace(job, deaths=deaths))

    async def _give_up(self, message: Msg, job: Job) -> Job | None:
        """Fail a job, or end it without its deferred variants, and keep a copy of its record."""
        log.error("job given up", job=job.id, deliveries=message.metadata.num_delivered)
        status = job.status if job.deferred else JobStatus.FAILED
        failed = replace(job, status=status, deferred=(), problem=WORKER_DIED)
        failed.mark_finished(self._clock())
        saved = await self._save(message, job, failed)
        if saved is failed:
            with suppress(StreamFull, *UNAVAILABLE):
                async with self._connection.request(PUBLISH_TIMEOUT_S) as js:
                    await js.publish(job_subject(job.id, DEAD), failed.to_record())
        return saved

    async def _save(self, message: Msg, before: Job, job: Job) -> Job | None:
        """Write the record of a job that was `before`, waiting until the store is available.

        Returns `job`, or what the record says if another process has written it, or None if it is gone.
        """
        while True:
            try:
                async with self._outbox.announcing(changes(before, job, self._clock())):
                    await self._store.save(job)
            except JobGone:
                return await self._load(message, job.id)
            except (OSError, BreakerOpen) as error:
                log.warning("a job's record cannot be written", job=job.id, reason=str(error))
                await self._extend_ack(message)
                await asyncio.sleep(_RETRY_S)
            else:
                return job

    async def _follow(self, message: Msg, handle: JobHandle, last: _LastStatus) -> None:
        """Write each change of a job's status until its end, then take it out of the queue."""

        async def cancel(request: Msg) -> None:
            await self._dispatcher.cancel(handle)
            await request.respond(b"")

        subscription = None
        with suppress(NatsError, OSError):
            subscription = await self._connection.client.subscribe(cancel_subject(handle.job.id), cb=cancel)
        try:
            is_ours = await self._write_changes(message, handle, last)
        except asyncio.CancelledError:
            await self._write_queued(handle.job, last)
            raise
        finally:
            if subscription is not None:
                with suppress(NatsError, OSError):
                    await subscription.unsubscribe()
        job: Job | None = handle.job
        if not is_ours or (handle.job.status == JobStatus.CANCELLED and not handle.cancelled):
            # Another process has taken it over or finished it, or its source is gone.
            job = await self._load(message, handle.job.id)
        if job is None:
            await self._end_gone(message, handle.job.id)
        elif job.is_final:
            await self._finish(message, job, last.revision if is_ours else 0)

    async def _write_queued(self, job: Job, last: _LastStatus) -> None:
        """Write that a job waits again, so that whoever takes it next does not count a death."""
        if not job.is_final:
            with suppress(*UNAVAILABLE, StreamFull, StatusChanged):
                await self._job_status.write(replace(job, status=JobStatus.QUEUED), last.revision)

    async def _write_changes(self, message: Msg, handle: JobHandle, last: _LastStatus) -> bool:
        """Write each change of a job's status before its end. False when another process has taken over."""
        async for _ in handle.events(lambda: ACK_WAIT_S / 3):
            if handle.is_finished:
                break
            state = handle.job.state_id  # read before the status is written: the job goes on meanwhile
            if state == last.state_id:
                await self._extend_ack(message)
                continue
            try:
                last.revision = await self._job_status.write(handle.job, last.revision)
                last.state_id = state
            except StatusChanged:
                log.warning("another process has taken a job over", job=handle.job.id)
                await self._dispatcher.cancel(handle)
                return False
            except (*UNAVAILABLE, StreamFull):
                pass  # written with the next change
        return True

    async def _extend_ack(self, message: Msg) -> None:
        """Tell NATS that the job is still in progress, for another `ACK_WAIT_S`."""
        with suppress(NatsError, OSError):
            await message.in_progress()

    async def _end_gone(self, message: Msg, job_id: str) -> None:
        """Take a job without a record out of the queue, and tell replicas that take it for unfinished.

        The record is looked for once more, because the status may be that of a later upload.
        """
        last = (await self._read_status(message, job_id)).job
        if last is None or last.is_final or await self._load(message, job_id) is not None:
            await self._acknowledge(message)
        else:
            gone = replace(last, made={}, deferred=(), status=JobStatus.CANCELLED)
            await self._finish(message, gone)

    async def _finish(self, message: Msg, job: Job, revision: int = 0) -> None:
        """Write the final status of a job, which tells replicas of its end, and take it out of the queue.

        When NATS has no room for a status, the job leaves the queue first, which makes room. If there is
        still none after `_TELL_TIMEOUT_S`, replicas find its end in the store.
        """
        give_up_at: float | None = None
        while give_up_at is None or time.monotonic() < give_up_at:
            try:
                await self._job_status.finish(job, revision)
            except StorageFull as full:
                if give_up_at is None:
                    log.warning("the end of a job cannot be told to replicas", job=job.id, reason=str(full))
                    give_up_at = time.monotonic() + _TELL_TIMEOUT_S
                    await self._acknowledge(message)
            except (*UNAVAILABLE, StreamFull):
                pass
            else:
                break
            await asyncio.sleep(_RETRY_S)
        if give_up_at is None:
            await self._acknowledge(message)

    async def _acknowledge(self, message: Msg) -> None:
        """Take a job out of the queue, waiting for NATS to confirm it.

        A message that was withdrawn meanwhile may get no answer. After some attempts it is left to whoever
        gets the job next, who finds that it has ended.
        """
        failures = 0
        while failures < _MAX_ACK_TRIES:
            try:
                async with self._connection.request(PUBLISH_TIMEOUT_S):
                    await message.ack_sync()
            except BreakerOpen:  # nothing was sent
                await asyncio.sleep(_RETRY_S)
            except (EngineDown, StreamFull):
                failures += 1
                await asyncio.sleep(_RETRY_S)
            else:
                return
