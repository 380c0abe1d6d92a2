"""What the workers take jobs from: the upload queue and, now and then, the deferred queue."""

import asyncio
from collections.abc import Callable

from app.backpressure.brownout import Brownout, BrownoutSnapshot
from app.backpressure.upload_queue import ReceivingSlot, UploadQueue
from app.engine.job_handle import JobHandle
from app.engine.job_plan import Batch


class WorkQueue:
    """New jobs in the upload queue, and done jobs with deferred variants in the deferred queue.

    Every job comes in by `enqueue` or `put`, which wake the workers that wait in `take`. A worker that was
    woken looks for a job and takes it without another await, so cancelling one loses neither a job nor a
    wake-up. Those that find nothing wait again in the order in which they waited before.
    """

    def __init__(self, upload_queue: UploadQueue[JobHandle], brownout: Brownout) -> None:
        self.upload_queue = upload_queue
        self.brownout = brownout
        self._deferred: dict[str, JobHandle] = {}
        self._changed = asyncio.Event()
        """Set, and replaced by a new one, whenever those who wait in `take` are to look again."""
        self._is_closed = False
        self._deferred_busy_s = 0.0
        """Seconds that workers spent on deferred variants, while jobs waited, since they last ended a job."""

    async def take(self, is_wanted: Callable[[], bool] = lambda: True) -> JobHandle | None:
        """The next job, as soon as there is one.

        Returns None when the work queue is closed, or when `is_wanted` says no; it is asked at the start and
        at each wake-up.
        """
        # Not at each wake-up: a job that an idle worker is about to take is no pressure, even if it fills a
        # small queue for that moment.
        self._observe()
        while is_wanted() and not self._is_closed:
            handle = self._next()
            if handle is not None:
                return handle
            await self._changed.wait()
        return None

    def _next(self) -> JobHandle | None:
        if self.brownout.deferred_is_next(self.upload_queue.waiting):
            key = self.brownout.deferred_queue.pop()
            if key is not None:
                return self._deferred.pop(key)
        return self.upload_queue.take_nowait()

    def enqueue(self, slot: ReceivingSlot[JobHandle], handle: JobHandle) -> None:
        """Let a new job wait in place of the upload that held `slot`."""
        slot.enqueue(handle)
        self.wake_all()

    def put(self, handle: JobHandle) -> None:
        """Let a job wait that was accepted before: in the deferred queue, or ahead of every newcomer.

        A job that is tried again gives up the place that it had reserved in the deferred queue: whether
        variants of it are deferred is decided anew when it is begun.
        """
        if handle.job.deferred:
            self._deferred[handle.job.id] = handle
            self.brownout.deferred_queue.push(handle.job.id)
        else:
            self.release(handle)
            self.upload_queue.restore(handle)
        self.wake_all()

    def remove(self, handle: JobHandle) -> bool:
        """Take a job out of either queue; False when it waits in neither."""
        return self.release(handle) or self.upload_queue.remove(handle)

    def release(self, handle: JobHandle) -> bool:
        """Give up a job's place in the deferred queue; whether the job waited there for a worker."""
        self._deferred.pop(handle.job.id, None)
        return self.brownout.deferred_queue.remove(handle.job.id)

    @property
    def is_closed(self) -> bool:
        """Whether no more jobs are given out."""
        return self._is_closed

    def close(self) -> None:
        """Give out no more jobs. Those that wait stay where they are."""
        self._is_closed = True
        self.wake_all()

    def wake_all(self) -> None:
        """Let all who wait in `take` look for a job again, and ask whether they still want one."""
        self._changed.set()
        self._changed = asyncio.Event()

    def wait(self, handle: JobHandle, position: int | None) -> float | None:
        """Seconds until the job at this position of the queue begins.

        Without a position, seconds until the deferred variants of the job are made, None if it has none. The
        estimate holds if no more jobs come, so in a brownout it is rather too long than too short.
        """
        waiting, drain_rate = self.upload_queue.waiting, self.upload_queue.drain_rate
        if position is not None:
            full_jobs = self.brownout.full_jobs_within(position, waiting, self.upload_queue.capacity)
            return drain_rate.wait_s(position, full_jobs)
        if handle.job.deferred:
            return drain_rate.wait_s(waiting + len(self.brownout.deferred_queue))
        return None

    def record(self, batch: Batch, busy_s: float, *, deferred: bool) -> None:
        """Measure how fast the queue drains: a worker was busy for `busy_s` seconds with a batch.

        `deferred` says that it made deferred variants. While jobs wait, that time counts towards the next
        job that leaves the queue, because the worker was not there for the queue.
        """
        if not deferred:
            self.upload_queue.drain_rate.record(busy_s + self._deferred_busy_s, reduced=bool(batch.later))
            self._deferred_busy_s = 0.0
        elif self.upload_queue.waiting:
            self._deferred_busy_s += busy_s

    def snapshot(self) -> BrownoutSnapshot:
        """Whether variants are deferred now, and for how many jobs they are."""
        self._observe()
        return self.brownout.snapshot()

    def _observe(self) -> None:
        self.brownout.observe(self.upload_queue.waiting, self.upload_queue.capacity)
