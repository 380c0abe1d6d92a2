"""The foreman: gives jobs from the backlog to the workers and brings what they make to the store."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreakers
from app.engine.interface import JobCounters
from app.engine.job_handle import JobHandle
from app.engine.job_plan import Batch, JobDefaults
from app.engine.outcomes import OutcomeRecorder
from app.engine.work_queue import WorkQueue
from app.engine.worker_pool import Worker, WorkerPool
from app.engine.worker_process import WorkerProcessFailed
from app.job import WORKER_DIED, Job, JobStatus
from app.runtime import tasks
from app.runtime.metrics import Histograms
from app.storage.interface import JobGone, Store, StoreFull
from workers.messages import Done, Failed

log = structlog.get_logger(__name__)

_SETTLING_PER_WORKER = 2
_STORE_PAUSE = 1.0
"""Seconds before a job is tried again whose outcome the store could not take."""


class Dispatcher:
    """Has the pool do the jobs of the backlog, keeps their records in step, and tells those who wait.

    In a brownout a job is made in two parts. With the first it is done; for the second it goes to the lane.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        pool: WorkerPool,
        store: Store,
        histograms: Histograms,
        breakers: CircuitBreakers,
        job_defaults: JobDefaults,
        on_worker_free: Callable[[JobHandle], None] = lambda _: None,
    ) -> None:
        """`on_worker_free` is called when a worker has done its part of a job, not recorded yet."""
        self.work_queue = work_queue
        self.pool = pool
        self.counters = JobCounters()
        self._on_worker_free = on_worker_free
        self._store = store
        self._histograms = histograms
        self._breakers = breakers
        self._job_defaults = job_defaults
        self._recorder = OutcomeRecorder(store, job_defaults)
        self._handles: dict[str, JobHandle] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._settling: set[asyncio.Task[None]] = set()
        self._active = [asyncio.Event() for _ in pool.workers]
        self.set_active_workers(len(pool.workers))
        self._settlers = asyncio.Semaphore(_SETTLING_PER_WORKER * len(pool.workers))

    # --- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the workers."""
        await self.pool.start()
        self._tasks = [
            asyncio.create_task(self._serve(worker, duty), name=f"worker {worker.number}")
            for worker, duty in zip(self.pool.workers, self._active, strict=True)
        ]

    async def recover(self) -> None:
        """Take up what an earlier run left undone, ahead of every newcomer."""
        count = 0
        async for job in self._store.pending():
            self.resume(job)
            count += 1
        if count:
            log.info("took up unfinished jobs", jobs=count)

    def resume(self, job: Job) -> JobHandle:
        """Answer for a job that was accepted before, or elsewhere."""
        handle = JobHandle(job, client=job.id)  # whose it was is not on record, so none waits for another
        self._handles[job.id] = handle
        self._requeue(handle)
        return handle

    def set_active_workers(self, count: int) -> None:
        """Have the first `count` workers take jobs; the others finish what they have, and rest."""
        for place, duty in enumerate(self._active):
            duty.set() if place < count else duty.clear()
        self.work_queue.wake_all()

    async def drain(self, timeout: float) -> None:
        """Begin no job more; return when those under way are settled, or after `timeout` seconds."""
        self.work_queue.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._unfinished():  # noqa: ASYNC110 - three kinds of end to wait for
                    await asyncio.sleep(0.05)

    def _unfinished(self) -> bool:
        return bool(self.work_queue.upload_queue.snapshot().receiving or self.pool.busy or self._settling)

    async def stop(self) -> None:
        """End the workers at once; what is unfinished stays in the store."""
        self.work_queue.close()
        await tasks.cancel_and_wait(self._tasks)
        await asyncio.gather(*self._settling, return_exceptions=True)
        await self.pool.stop()

    # --- jobs under way --------------------------------------------------------------------------------

    def accept(self, job: Job, client: str) -> JobHandle:
        """Answer for a job from now on; it is yet to be put into the backlog."""
        handle = JobHandle(job, client, accepted_at=time.monotonic())
        self._handles[job.id] = handle
        self.counters.accepted += 1
        return handle

    def find(self, job_id: str) -> JobHandle | None:
        """The job if it is under way."""
        return self._handles.get(job_id)

    async def cancel(self, handle: JobHandle) -> None:
        """Take a job out of queue or lane, or stop it; returns when nothing works on it any more."""
        handle.cancelled = True
        if self.work_queue.remove(handle):
            self._end_cancelled(handle)
        elif handle.worker is not None:
            handle.worker.cancel(handle.job.id)
        await handle.finished.wait()

    # --- the work --------------------------------------------------------------------------------------

    async def _serve(self, worker: Worker, duty: asyncio.Event) -> None:
        """Give one worker job after job while it is on duty, until the drain."""
        while not self.work_queue.is_closed:
            await duty.wait()
            handle = await self.work_queue.take(duty.is_set)
            if handle is None:
                continue
            if handle.client_left and not handle.job.deferred:
                await self._drop(handle)
            elif not worker.is_alive:  # it died with nothing to do, so no job is to blame
                self._requeue(handle)
                await worker.restart()
            else:
                await self._settlers.acquire()
                if not await self._run(worker, handle):
                    await worker.restart()

    async def _drop(self, handle: JobHandle) -> None:
        """Remove a job that nobody waits for and nobody was promised."""
        try:
            await self._store.delete(handle.job.id)
        except OSError as error:
            log.error("abandoned upload could not be removed", job=handle.job.id, reason=str(error))
        self._end_cancelled(handle)

    async def _run(self, worker: Worker, handle: JobHandle) -> bool:
        """Have a part of the job made; its outcome is settled beside the worker's next job.

        False when the worker is gone, and the outcome with it.
        """
        job = handle.job
        batch = Batch(())
        handle.worker = worker
        started = time.monotonic()
        if not job.deferred:
            handle.set_status(JobStatus.PROCESSING)
            if handle.accepted_at:
                self._histograms.wait.observe(started - handle.accepted_at)
        folder: Path | None = None
        survived = True
        try:
            batch = self._job_defaults.batch(job, self.work_queue.brownout)
            with self._breakers.store.guard(OSError, excluded=(StoreFull,)):
                folder = await self._store.workspace(job.id)
                source = await self._store.fetch(job.id, folder)
            if handle.cancelled:
                outcome: Done | Failed = Failed(job.id, "cancelled", "")
            else:
                outcome = await worker.run(self._job_defaults.task(job, batch, source, folder))
        except JobGone:
            log.warning("a job's files were removed by hand", job=job.id)
            outcome = Failed(job.id, "cancelled", "")
        except (OSError, BreakerOpen):
            outcome = Failed(job.id, "no-space", "The store could not be written.")
        except Exception as death:
            if not isinstance(death, WorkerProcessFailed):
                log.exception("job went wrong", job=job.id)
            log.warning("worker died", worker=worker.number, job=job.id, reason=str(death))
            outcome = Failed(job.id, *WORKER_DIED)
            survived = False
        finally:
            handle.worker = None
        if survived:
            busy = time.monotonic() - started
            self._histograms.service.observe(busy)
            self.work_queue.record(batch, busy, rest=bool(job.deferred))
        self._on_worker_free(handle)
        settling = asyncio.create_task(self._record(handle, batch, outcome, folder))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        return survived

    # --- what came of it -------------------------------------------------------------------------------

    async def _record(
        self, handle: JobHandle, batch: Batch, outcome: Done | Failed, folder: Path | None
    ) -> None:
        """Bring the outcome to the store. Nobody is told of it before its record is durable."""
        reason = outcome.reason if isinstance(outcome, Failed) else None
        try:
            if handle.cancelled or reason == "cancelled":
                self._end_cancelled(handle)
                return
            if reason == "no-space":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with self._breakers.store.guard(OSError, excluded=(StoreFull,)):
                job = await self._settle(handle.job, batch, outcome, folder)
            self._publish(handle, job)
        except JobGone:
            log.warning("a job's files were removed by hand", job=handle.job.id)
            self._end_cancelled(handle)
        except (OSError, BreakerOpen) as error:
            log.error("store failed while a job was settled", job=handle.job.id, reason=str(error))
            await self._retry_later(handle)
        except Exception:
            log.exception("nothing could be settled of a job", job=handle.job.id)
            await self._retry_later(handle)
        finally:
            self._settlers.release()
            if folder is not None:
                await self._store.drop_workspace(folder)

    async def _settle(self, job: Job, batch: Batch, outcome: Done | Failed, folder: Path | None) -> Job:
        """What the outcome makes of a job. Our own fault counts as a death: it may come each time."""
        try:
            return await self._recorder.settle(job, batch, outcome, folder)
        except (OSError, JobGone):
            raise
        except Exception:
            log.exception("what came of a job could not be settled", job=job.id)
            died = Failed(job.id, "worker-died", "What was made of it could not be kept.")
            return await self._recorder.settle(job, batch, died, None)

    async def _retry_later(self, handle: JobHandle) -> None:
        """The outcome could not be written, so the job is still as it was on disk."""
        await asyncio.sleep(max(_STORE_PAUSE, self._breakers.store.remaining()))
        self._requeue(handle)

    def _publish(self, handle: JobHandle, job: Job) -> None:
        """The job is, durably, what it has become: tell whoever waits, and see to what is left of it."""
        before, handle.job = handle.job, job
        if job.status == JobStatus.QUEUED or (before.deferred and job.deferred):
            self._requeue(handle)
            return
        if job.is_final:
            self._forget(handle)
        # In a second part the last variant is the end, and bears its id: who reconnects then is done.
        for count in range(len(before.made) + 1, len(job.made) + 1):
            last = before.deferred and count == len(job.made)
            handle.publish("variant", None if last else f"variant.{count}")
        log.info(
            "job ended",
            job=job.id,
            status=job.status,
            reason=job.problem and job.problem[0],
            deferred=job.deferred,
        )
        if not before.deferred:
            self._count(job)
            handle.set_status(job.status)
        elif job.problem:
            handle.publish(JobStatus.DONE)
        if job.deferred:
            self._requeue(handle)

    def _count(self, job: Job) -> None:
        if job.status == JobStatus.DONE:
            self.counters.done += 1
            self.counters.deferred += bool(job.deferred)
        else:
            self.counters.failed += 1

    def _requeue(self, handle: JobHandle) -> None:
        """Let a job wait for its turn, the rest of one in the lane."""
        if handle.cancelled:
            self._end_cancelled(handle)
            return
        if not handle.job.deferred:
            handle.set_status(JobStatus.QUEUED)
        self.work_queue.put(handle)

    def _end_cancelled(self, handle: JobHandle) -> None:
        """Nothing works on the job any more, and its files are to go."""
        self._forget(handle)
        self.counters.cancelled += handle.job.status != JobStatus.DONE
        handle.job = replace(handle.job, made={}, deferred=())
        handle.set_status(JobStatus.CANCELLED)

    def _forget(self, handle: JobHandle) -> None:
        self._handles.pop(handle.job.id, None)
        self.work_queue.release(handle)
