"""The job consumer: takes jobs from the cluster's queue, has them done by this process's workers, and writes
their statuses.

A job is taken only when a worker is free for it. While it is in progress NATS is told so every few seconds; a
process that falls silent loses it to another. A job leaves the queue only when its stored record is final.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from app.backpressure.circuit_breaker import BreakerOpen, BreakerState
from app.cluster.connection import PUBLISH_TIMEOUT_S, UNAVAILABLE, EngineDown, NatsConnection, StreamFull
from app.cluster.heartbeats import Heartbeat
from app.cluster.jetstream import ACK_WAIT_S, DEAD, JOBS, WORKERS, job_subject
from app.cluster.job_status import JobStatusStore
from app.engine.dispatcher import Dispatcher
from app.engine.job_handle import JobHandle
from app.job import MAX_DEATHS, WORKER_DIED, Job, JobStatus
from app.runtime import tasks
from app.storage.interface import JobGone, Store

log = structlog.get_logger(__name__)

_PULL_TIMEOUT_S = 2.0
"""Seconds for which one pull request waits for a job."""
_RETRY_S = 0.5
_MAX_ACK_TRIES = 5


def cancel_subject(job_id: str) -> str:
    """The subject on which the process that has a job is asked to cancel it."""
    return f"spillway.cancel.{job_id}"


class FreeWorkers:
    """Counts free workers. A job occupies one until its variants are made or it has ended."""

    def __init__(self, count: int) -> None:
        self.count = count
        """How many workers there are."""
        self._occupied_by: set[str] = set()
        self._available = asyncio.Event()
        self._available.set()

    async def wait(self) -> None:
        """Return when a worker is free."""
        await self._available.wait()

    def occupy(self, job_id: str) -> None:
        """Count a worker as taken by a job."""
        self._occupied_by.add(job_id)
        self._update()

    def free(self, job_id: str) -> None:
        """Count the worker of a job as free. Harmless when it has none."""
        self._occupied_by.discard(job_id)
        self._update()

    def _update(self) -> None:
        if len(self._occupied_by) < self.count:
            self._available.set()
        else:
            self._available.clear()


class JobConsumer:
    """Connects one process's dispatcher to the cluster's queue."""

    def __init__(
        self,
        connection: NatsConnection,
        job_status: JobStatusStore,
        dispatcher: Dispatcher,
        free_workers: FreeWorkers,
        store: Store,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`free_workers` is told by the dispatcher of workers that became free.

        `clock` dates the records, in seconds since the epoch.
        """
        self._connection = connection
        self._job_status = job_status
        self._dispatcher = dispatcher
        self._free_workers = free_workers
        self._store = store
        self._clock = clock
        self._jobs: dict[asyncio.Task[None], str] = {}
        self._puller: asyncio.Task[None] | None = None
        self._subscription: JetStreamContext.PullSubscription | None = None

    def heartbeat(self, *, serves: bool) -> Heartbeat:
        """The state of this process; `serves` tells whether it also takes uploads."""
        pool = self._dispatcher.pool
        return Heartbeat(serves, self._free_workers.count, tuple(pool.snapshot()), pool.sandbox)

    async def start(self) -> None:
        """Start the workers and take jobs for them."""
        await self._dispatcher.start()
        self._puller = tasks.supervise(self._pull, "job consumer")

    async def drain(self, timeout: float) -> None:
        """Take no more jobs; return when those in progress have ended, or after `timeout` seconds."""
        await self._stop_pulling()
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=timeout)

    async def stop(self) -> None:
        """End the workers at once. NATS gives unfinished jobs to another process after `ACK_WAIT_S`."""
        await self._stop_pulling()
        await tasks.cancel_and_wait(self._jobs)
        await self._dispatcher.stop()

    async def _stop_pulling(self) -> None:
        if self._puller is not None:
            await tasks.cancel_and_wait([self._puller])

    # --- taking jobs from the queue --------------------------------------------------------------------

    async def _pull(self) -> None:
        while True:
            await self._free_workers.wait()
            message = await self._next()
            if message is None:
                continue
            job_id = message.subject.rpartition(".")[2]
            self._free_workers.occupy(job_id)
            task = asyncio.create_task(self._handle(message, job_id), name=f"job {job_id}")
            self._jobs[task] = job_id
            task.add_done_callback(self._ended)

    async def _next(self) -> Msg | None:
        """The next job's message, or None when none came within seconds."""
        try:
            if self._connection.breaker.snapshot().state != BreakerState.CLOSED:
                # A pull is not counted by the breaker, so ask whether NATS is back.
                async with self._connection.request() as js:
                    await js.account_info()
            if self._subscription is None:
                async with self._connection.request() as js:
                    self._subscription = await js.pull_subscribe_bind(durable=WORKERS, stream=JOBS)
            messages = await self._subscription.fetch(1, timeout=_PULL_TIMEOUT_S)
            return messages[0] if messages else None
        except TimeoutError:  # the queue is empty
            return None
        except (NatsError, OSError, *UNAVAILABLE) as error:
            log.debug("no job from the queue", reason=str(error))
            await asyncio.sleep(_RETRY_S)
            return None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._free_workers.free(self._jobs.pop(task))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("handling of a job failed", task=task.get_name(), exc_info=error)

    # --- one job ---------------------------------------------------------------------------------------

    async def _handle(self, message: Msg, job_id: str) -> None:
        """Bring one job to its end and take it out of the queue."""
        job = await self._load(message, job_id)
        if job is None:
            await self._acknowledge(message)
            return
        is_redelivered = message.metadata.num_delivered > 1
        if not job.is_final and is_redelivered:
            job = await self._count_death(message, job)
        if job.is_final or self._dispatcher.jobs.find(job_id) is not None:
            await self._write_status(job)
            await self._acknowledge(message)
            return
        # On its first delivery a job's status was written by the replica that accepted it.
        written = "" if is_redelivered else job.state_id
        await self._follow(message, self._dispatcher.resume(job), written)

    async def _load(self, message: Msg, job_id: str) -> Job | None:
        """Read the job's record from the store, waiting until the store is available."""
        while True:
            try:
                return await self._store.load(job_id)
            except (OSError, BreakerOpen) as error:
                log.warning("a job cannot be read from the store", job=job_id, reason=str(error))
                await self._extend_ack(message)
                await asyncio.sleep(_RETRY_S)

    async def _count_death(self, message: Msg, job: Job) -> Job:
        """Count a worker death for a job that another process had begun; fail it when it has caused too many.

        The count is in the job's status. NATS's own count of deliveries includes those that were never begun,
        and the store's record must not be written while another process may be working on the job.
        """
        with suppress(*UNAVAILABLE, StreamFull):
            status = await self._job_status.read(job.id)
            if status is not None and status.created_at == job.created_at:
                deaths = status.deaths
                if status.status == JobStatus.PROCESSING:
                    deaths += 1
                job = replace(job, deaths=deaths)
        return await self._give_up(message, job) if job.deaths >= MAX_DEATHS else job

    async def _give_up(self, message: Msg, job: Job) -> Job:
        """Fail a job, or end it without its deferred variants, and keep a copy of its record."""
        log.error("job given up", job=job.id, deliveries=message.metadata.num_delivered)
        status = job.status if job.deferred else JobStatus.FAILED
        failed = replace(job, status=status, finished_at=self._clock(), deferred=())
        failed.problem = WORKER_DIED
        while True:
            try:
                await self._store.save(failed)
                break
            except JobGone:
                return failed
            except (OSError, BreakerOpen) as error:
                log.warning("a job's record cannot be written", job=job.id, reason=str(error))
                await self._extend_ack(message)
                await asyncio.sleep(_RETRY_S)
        with suppress(StreamFull, *UNAVAILABLE):
            async with self._connection.request(PUBLISH_TIMEOUT_S) as js:
                await js.publish(job_subject(job.id, DEAD), failed.to_record())
        return failed

    async def _follow(self, message: Msg, handle: JobHandle, written: str) -> None:
        """Write each change of a job's status until its end, then take it out of the queue.

        `written` is the state id of the status that is known to be written.
        """

        async def cancel(request: Msg) -> None:
            await self._dispatcher.cancel(handle)
            await request.respond(b"")

        subscription = None
        with suppress(NatsError, OSError):
            subscription = await self._connection.client.subscribe(cancel_subject(handle.job.id), cb=cancel)
        try:
            async for _ in handle.events(ACK_WAIT_S / 3):
                if handle.finished.is_set():
                    break
                state = handle.job.state_id  # read before the status is written: the job goes on meanwhile
                if state == written:
                    await self._extend_ack(message)
                    continue
                with suppress(*UNAVAILABLE, StreamFull):
                    await self._job_status.put(handle.job)
                    written = state
            job = handle.job
            if job.status == JobStatus.CANCELLED and not handle.cancelled:
                # Its source is gone, perhaps because another process has finished it.
                job = await self._load(message, job.id) or job
            await self._write_status(job)
            await self._acknowledge(message)
        finally:
            if subscription is not None:
                with suppress(NatsError, OSError):
                    await subscription.unsubscribe()

    async def _extend_ack(self, message: Msg) -> None:
        """Tell NATS that the job is still in progress, for another `ACK_WAIT_S`."""
        with suppress(NatsError, OSError):
            await message.in_progress()

    async def _write_status(self, job: Job) -> None:
        """Write the status of a job, waiting until NATS takes it: it tells the replicas of the job's end."""
        while True:
            try:
                await self._job_status.put(job)
            except (*UNAVAILABLE, StreamFull):
                await asyncio.sleep(_RETRY_S)
            else:
                return

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
