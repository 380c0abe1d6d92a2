"""The crew: takes jobs from the engine's queue, has them done here, and tells of it.

A job is taken when a worker is free for it. While it is in hand the engine is told so every few seconds; a
crew that falls silent loses it to another. It leaves the queue only when its record, in the store, is final.
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

from app.backpressure.circuit_breaker import CLOSED, BreakerOpen
from app.cluster.connection import UNAVAILABLE, EngineDown, NatsConnection, StreamFull
from app.cluster.jetstream import ACK_WAIT, DEAD, JOBS, WORKERS, job_subject
from app.cluster.job_status import Heartbeat, JobStatusStore
from app.engine.dispatcher import Dispatcher
from app.engine.job_handle import JobHandle
from app.job import MAX_DEATHS, WORKER_DIED, Job, JobStatus
from app.runtime import tasks
from app.storage.interface import JobGone, Store

log = structlog.get_logger(__name__)

_ASK_S = 2.0
"""Seconds for which the queue is asked for a job at a time."""
_PAUSE = 0.5
_ACK_TRIES = 5


def cancel_subject(job_id: str) -> str:
    """Where whoever has a job in hand can be asked to let go of it."""
    return f"spillway.cancel.{job_id}"


class JobConsumer:
    """One process's workers in the service of the engine's queue."""

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
        self._clock = clock
        self._hands = len(dispatcher.pool.workers)
        self._busy: set[str] = set()
        self._free = asyncio.Event()
        self._free.set()
        self._jobs: dict[asyncio.Task[None], str] = {}
        self._puller: asyncio.Task[None] | None = None
        self._subscription: JetStreamContext.PullSubscription | None = None
        dispatcher.on_worker_free = self._release

    def beat(self, *, serves: bool) -> Heartbeat:
        """What there is to tell of this process."""
        pool = self._dispatcher.pool
        return Heartbeat(serves, self._hands, tuple(pool.snapshot()), pool.sandbox)

    # --- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the workers, and take jobs for them."""
        await self._dispatcher.start()
        self._puller = asyncio.create_task(self._pull(), name="crew")

    async def drain(self, timeout: float) -> None:
        """Take no job more; return when those in hand are done, or after `timeout` seconds."""
        await self._let_go()
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=timeout)

    async def stop(self) -> None:
        """End the workers at once. What is unfinished goes to another crew when this one is silent."""
        await self._let_go()
        await tasks.cancel_and_wait(self._jobs)
        await self._dispatcher.stop()

    async def _let_go(self) -> None:
        if self._puller is not None:
            await tasks.cancel_and_wait([self._puller])

    # --- taking ----------------------------------------------------------------------------------------

    async def _pull(self) -> None:
        while True:
            await self._free.wait()
            message = await self._next()
            if message is None:
                continue
            job_id = message.subject.rpartition(".")[2]
            self._busy.add(job_id)
            self._look()
            task = asyncio.create_task(self._handle(message, job_id), name=f"job {job_id}")
            self._jobs[task] = job_id
            task.add_done_callback(self._ended)

    async def _next(self) -> Msg | None:
        try:
            if self._connection.breaker.snapshot().state != CLOSED:  # or it may get more questions than one
                async with self._connection.request() as js:
                    await js.account_info()
            if self._subscription is None:
                async with self._connection.request() as js:
                    self._subscription = await js.pull_subscribe_bind(durable=WORKERS, stream=JOBS)
            messages = await self._subscription.fetch(1, timeout=_ASK_S)
            return messages[0] if messages else None
        except TimeoutError:  # there was none
            return None
        except (NatsError, OSError, *UNAVAILABLE) as error:
            log.debug("no job from the queue", reason=str(error))
            await asyncio.sleep(_PAUSE)
            return None

    def _release(self, handle: JobHandle) -> None:
        """A worker is free again: its job is settled beside the next one."""
        self._busy.discard(handle.job.id)
        self._look()

    def _look(self) -> None:
        if len(self._busy) < self._hands:
            self._free.set()
        else:
            self._free.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(self._jobs.pop(task))
        self._look()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a job's messenger failed", exc_info=error)

    # --- one job ---------------------------------------------------------------------------------------

    async def _handle(self, message: Msg, job_id: str) -> None:
        job = await self._load(message, job_id)
        if job is None:
            await self._acknowledge(message, None)
            return
        if not job.is_final and message.metadata.num_delivered > 1:
            job = await self._suspect(message, job)
        if job.is_final or self._dispatcher.find(job_id) is not None:
            await self._acknowledge(message, job)
            return
        told = job.state_id if message.metadata.num_delivered == 1 else ""
        await self._see_through(message, self._dispatcher.resume(job), told)

    async def _load(self, message: Msg, job_id: str) -> Job | None:
        """The job as the store knows it, however long the store is away."""
        while True:
            try:
                return await self._store.load(job_id)
            except (OSError, BreakerOpen) as error:
                log.warning("store does not tell of a job", job=job_id, reason=str(error))
                await self._keep_hold(message)
                await asyncio.sleep(_PAUSE)

    async def _suspect(self, message: Msg, job: Job) -> Job:
        """A job that was begun elsewhere may have ended its worker; what ended two is failed untried.

        Counted in what was posted of it, not by the engine: that counts what it sent, begun or not. Nor in
        the store, where whoever may be at work on it still must not be written over.
        """
        with suppress(*UNAVAILABLE, StreamFull):
            posted = await self._job_status.read(job.id)
            if posted is not None and posted.created_at == job.created_at:
                job = replace(job, deaths=posted.deaths + (posted.status == JobStatus.PROCESSING))
        return await self._give_up(message, job) if job.deaths >= MAX_DEATHS else job

    async def _give_up(self, message: Msg, job: Job) -> Job:
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
                log.warning("store takes no record", job=job.id, reason=str(error))
                await self._keep_hold(message)
                await asyncio.sleep(_PAUSE)
        with suppress(StreamFull, *UNAVAILABLE):
            async with self._connection.request(2.0) as js:
                await js.publish(job_subject(job.id, DEAD), failed.to_record())
        return failed

    async def _see_through(self, message: Msg, handle: JobHandle, told: str) -> None:
        """Tell of every change from what was `told`, keep hold of the job, and let go when it has ended."""

        async def cancelled(request: Msg) -> None:
            await self._dispatcher.cancel(handle)
            await request.respond(b"")

        subscription = None
        with suppress(NatsError, OSError):
            subscription = await self._connection.client.subscribe(
                cancel_subject(handle.job.id), cb=cancelled
            )
        try:
            async for _ in handle.events(ACK_WAIT / 3):
                if handle.finished.is_set():
                    break
                state = handle.job.state_id  # before it is told: the job goes on meanwhile
                if state == told:
                    await self._keep_hold(message)
                    continue
                with suppress(*UNAVAILABLE, StreamFull):
                    await self._job_status.put(handle.job)
                    told = state
            job = handle.job
            if (
                job.status == JobStatus.CANCELLED and not handle.cancelled
            ):  # its source is gone: others may have made it
                job = await self._load(message, job.id) or job
            await self._acknowledge(message, job)
        finally:
            if subscription is not None:
                with suppress(NatsError, OSError):
                    await subscription.unsubscribe()

    async def _keep_hold(self, message: Msg) -> None:
        with suppress(NatsError, OSError):
            await message.in_progress()

    async def _acknowledge(self, message: Msg, job: Job | None) -> None:
        """Tell the end of a job, then take it out of the queue, for which the engine is waited for.

        One that is removed already may get no answer: then it is left to be found ended by who gets it next.
        """
        told = job is None
        tries = 0
        while tries < _ACK_TRIES:
            try:
                if job is not None and not told:
                    await self._job_status.put(job)
                    told = True
                async with self._connection.request(2.0):
                    await message.ack_sync()
            except BreakerOpen:
                await asyncio.sleep(_PAUSE)
            except (EngineDown, StreamFull):
                tries += told
                await asyncio.sleep(_PAUSE)
            else:
                return
