"""The dispatcher: gives jobs to free workers and has the outcomes recorded in the store."""

import asyncio
import functools
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.upload_queue import ReceivingSlot
from app.engine.base import CircuitBreakers
from app.engine.job_handle import JobHandle
from app.engine.job_plan import Batch
from app.engine.job_registry import JobRegistry
from app.engine.outcomes import Attempt, Cancelled, Outcome, OutcomeRecorder, Postponed, outcome_of
from app.engine.work_queue import WorkQueue
from app.engine.worker_pool import Worker, WorkerPool
from app.engine.worker_process import WorkerProcessFailed
from app.job import WORKER_DIED, Job, JobStatus
from app.runtime import tasks, tracing
from app.runtime.metrics import Histograms
from app.storage.interface import EventNotKept, JobGone, StoreFull
from workers.messages import Failed

log = structlog.get_logger(__name__)

_RECORDINGS_PER_WORKER = 2
"""Outcomes that may wait for the store, for each worker, before no further job is begun."""
_RETRY_PAUSE_S = 1.0
"""Seconds before a job is queued again that the store or the machine could not serve."""
_DRAIN_POLL_S = 0.05


class Dispatcher:
    """Has the pool's workers do the jobs of the work queue, and keeps records and watchers up to date.

    One task for each worker takes a job, fetches its source from the store and has the worker make a batch
    of variants. The outcome is recorded by a task of its own while the worker is on its next job. In a
    brownout the first batch of a job is its most needed variant; the job then waits in the deferred queue
    for the others.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        pool: WorkerPool,
        recorder: OutcomeRecorder,
        histograms: Histograms,
        breakers: CircuitBreakers,
        on_worker_free: Callable[[JobHandle], None] = lambda _: None,
    ) -> None:
        """`on_worker_free` is called with a job whose worker is free for another one; its outcome may not be
        recorded yet."""
        self.work_queue = work_queue
        self.pool = pool
        self.jobs = JobRegistry()
        self.recorder = recorder
        self._store = recorder.store
        self._histograms = histograms
        self._breakers = breakers
        self._job_defaults = recorder.job_defaults
        self._on_worker_free = on_worker_free
        self._serving: list[asyncio.Task[None]] = []
        self._recording: set[asyncio.Task[None]] = set()
        self._recording_slots = asyncio.Semaphore(_RECORDINGS_PER_WORKER * len(pool.workers))
        self._adopted: dict[str, JobHandle] = {}
        self._closing = asyncio.Event()
        self._active = [asyncio.Event() for _ in pool.workers]
        self.set_active_workers(len(pool.workers))

    async def start(self) -> None:
        """Start the workers and give them jobs.

        Raises:
            PoolNotStarted: the worker processes do not start.
        """
        await self.pool.start()
        self._serving = [
            tasks.supervise(functools.partial(self._serve, worker, active), name=f"worker {worker.number}")
            for worker, active in zip(self.pool.workers, self._active, strict=True)
        ]

    async def recover(self) -> None:
        """Queue the jobs that an earlier run accepted and did not finish, ahead of every newcomer."""
        count = 0
        async for job in self._store.pending():
            self._requeue(self._adopted.pop(job.id) if job.id in self._adopted else self.jobs.resume(job))
            count += 1
        for lost in self._adopted.values():  # removed meanwhile, or without its upload
            self._end_cancelled(lost)
        self._adopted.clear()
        if count:
            log.info("unfinished jobs of an earlier run are queued", jobs=count)

    def set_active_workers(self, count: int) -> None:
        """Have the first `count` workers take jobs; the others finish what they have and then pause."""
        for number, active in enumerate(self._active):
            if number < count:
                active.set()
            else:
                active.clear()
        self.work_queue.wake_all()

    async def drain(self, timeout: float) -> None:
        """Begin no more jobs; return when those under way are recorded, or after `timeout` seconds."""
        self._close()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._is_busy():  # noqa: ASYNC110 - three kinds of work, none of which has an event
                    await asyncio.sleep(_DRAIN_POLL_S)
        log.info("drained", jobs_left=len(self.jobs))

    def _is_busy(self) -> bool:
        return bool(self.work_queue.upload_queue.snapshot().receiving or self.pool.busy or self._recording)

    async def stop(self) -> None:
        """End the workers at once; unfinished jobs stay in the store."""
        self._close()
        await tasks.cancel_and_wait(self._serving)
        await asyncio.gather(*self._recording, return_exceptions=True)
        await self.pool.stop()

    def _close(self) -> None:
        self._closing.set()
        self.work_queue.close()

    def accept(self, job: Job, slot: ReceivingSlot[JobHandle]) -> JobHandle:
        """Queue a new job, which the store has accepted and whose upload held `slot`."""
        handle = self.jobs.accept(job, slot.client)
        self.work_queue.enqueue(slot, handle)
        return handle

    def resume(self, job: Job) -> JobHandle:
        """Queue a job that an earlier run or another process accepted, ahead of every newcomer."""
        handle = self.jobs.resume(job)
        self._requeue(handle)
        return handle

    def adopt(self, job: Job) -> JobHandle:
        """Register a job that `recover` has still to come to, for those who wait for it."""
        handle = self.jobs.find(job.id)
        if handle is None:
            self._adopted[job.id] = handle = self.jobs.resume(job)
        return handle

    async def cancel(self, handle: JobHandle) -> None:
        """Take a waiting job out of its queue, or stop it; returns when nothing works on it any more."""
        handle.cancelled = True
        if self._adopted.pop(handle.job.id, None) is not None or self.work_queue.remove(handle):
            self._end_cancelled(handle)
        elif handle.worker is not None:
            handle.worker.cancel(handle.job.id)
        await handle.finished.wait()

    def _requeue(self, handle: JobHandle) -> None:
        """Let a job wait for a worker, in the deferred queue if it is done but for deferred variants."""
        if handle.cancelled:
            self._end_cancelled(handle)
            return
        if not handle.job.deferred:
            handle.set_status(JobStatus.QUEUED)
        self.work_queue.put(handle)

    def _end_cancelled(self, handle: JobHandle) -> None:
        self.work_queue.release(handle)
        self.jobs.end_cancelled(handle)

    async def _serve(self, worker: Worker, active: asyncio.Event) -> None:
        """Give one worker job after job until the work queue is closed, pausing while `active` is not set."""
        while not self.work_queue.is_closed:
            if not worker.is_alive:
                await worker.restart()
            await active.wait()
            handle = await self.work_queue.take(active.is_set)
            if handle is None:
                continue
            if handle.client_left and not handle.job.deferred:
                await self._drop(handle)
            elif not worker.is_alive:  # it died while it was idle, so the job is not to blame
                self._requeue(handle)
            else:
                await self._recording_slots.acquire()
                await self._run(worker, handle)

    async def _drop(self, handle: JobHandle) -> None:
        """Remove a job whose client disconnected before it got the answer that the job was accepted."""
        try:
            await self._store.delete(handle.job.id)
        except OSError as error:
            log.error("an abandoned upload could not be removed", job=handle.job.id, reason=str(error))
        except Exception:
            log.exception("an abandoned upload could not be removed", job=handle.job.id)
        self._end_cancelled(handle)

    async def _run(self, worker: Worker, handle: JobHandle) -> None:
        """Have a batch of the job made; its outcome is recorded while the worker is on its next job."""
        started = time.monotonic()
        handle.worker = worker
        try:
            with tracing.span("work", handle.job.trace, job=handle.job.id, worker=worker.number):
                attempt = await self._make(worker, handle)
        finally:
            handle.worker = None
        if worker.is_alive and not isinstance(attempt.outcome, Postponed):
            busy_s = time.monotonic() - started
            self._histograms.service.observe(busy_s)
            self.work_queue.record(attempt.batch, busy_s, deferred=bool(handle.job.deferred))
        recording = asyncio.create_task(self._record(handle, attempt), name=f"record {handle.job.id}")
        self._recording.add(recording)
        recording.add_done_callback(self._recording.discard)
        self._on_worker_free(handle)

    async def _make(self, worker: Worker, handle: JobHandle) -> Attempt:
        """Fetch the job's source and have a batch of it made. Every failure is an outcome."""
        job = handle.job
        batch = Batch(())
        folder: Path | None = None
        outcome: Outcome
        try:
            self._tell_processing(handle)
            batch = self._job_defaults.batch(job, self.work_queue.brownout)
            with self._breakers.store.guard(OSError, ignored=(StoreFull,)), tracing.span("fetch"):
                folder = await self._store.workspace(job.id)
                source = await self._store.fetch(job, folder)
            if handle.cancelled:
                outcome = Cancelled()
            else:
                outcome = outcome_of(await worker.run(self._job_defaults.task(job, batch, source, folder)))
        except JobGone:
            log.warning("the files of a job have been removed", job=job.id)
            outcome = Cancelled()
        except (OSError, BreakerOpen) as error:
            outcome = Postponed(str(error))
        except WorkerProcessFailed as failure:
            log.warning("worker died", worker=worker.number, job=job.id, reason=str(failure))
            outcome = Failed(job.id, *WORKER_DIED)
        except Exception:  # a fault of this program, which the job may cause each time: it counts as a death
            log.exception("a job could not be given to a worker", worker=worker.number, job=job.id)
            outcome = Failed(job.id, *WORKER_DIED)
        return Attempt(batch, outcome, folder)

    def _tell_processing(self, handle: JobHandle) -> None:
        if handle.job.deferred:
            return
        handle.set_status(JobStatus.PROCESSING)
        if handle.accepted_at:
            self._histograms.wait.observe(handle.waited_s)
        tracing.record("queue", handle.waited_s, handle.job.trace)

    async def _record(self, handle: JobHandle, attempt: Attempt) -> None:
        """Bring an outcome to the store, then tell watchers: nobody is told before the record is durable."""
        outcome = attempt.outcome
        try:
            if handle.cancelled or isinstance(outcome, Cancelled):
                self._end_cancelled(handle)
            elif isinstance(outcome, Postponed):
                await self._retry_later(handle, outcome)
            else:
                with self._breakers.store.guard(OSError, ignored=(StoreFull, EventNotKept)):
                    job = await self.recorder.settle(handle.job, attempt.batch, outcome, attempt.folder)
                self._publish(handle, job)
        except JobGone:
            log.warning("the files of a job have been removed", job=handle.job.id)
            self._end_cancelled(handle)
        except EventNotKept as error:
            await self._retry_later(handle, Postponed(str(error), "its webhook could not be kept"))
        except (OSError, BreakerOpen) as error:
            await self._retry_later(handle, Postponed(str(error)))
        except Exception:
            log.exception("the outcome of a job could not be recorded", job=handle.job.id)
            await self._retry_later(handle, Postponed("internal error"))
        finally:
            self._recording_slots.release()
            if attempt.folder is not None:
                await self._store.drop_workspace(attempt.folder)

    async def _retry_later(self, handle: JobHandle, outcome: Postponed) -> None:
        """Queue a job again after a pause: its outcome was not written, so its record is what it was.

        A drain ends the pause, because the job will be begun by the next run only.
        """
        log.error(f"{outcome.cause}, the job is tried again", job=handle.job.id, reason=outcome.reason)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(_RETRY_PAUSE_S, self._breakers.store.remaining())):
                await self._closing.wait()
        self._requeue(handle)

    def _publish(self, handle: JobHandle, job: Job) -> None:
        """The record of a job has become `job`: tell watchers how it ended, or let it wait for a worker."""
        before, handle.job = handle.job, job
        is_tried_again = job.status == JobStatus.QUEUED or (before.deferred and job.deferred)
        if not is_tried_again:
            if job.is_final:
                self.work_queue.release(handle)
            self.jobs.publish_result(handle, before)
        if not job.is_final:
            self._requeue(handle)
