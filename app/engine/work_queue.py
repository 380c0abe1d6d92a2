"""The supply: what the workers take from, which is the queue and, at its turns, the deferred lane."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from app.backpressure.brownout import Brownout, BrownoutSnapshot
from app.backpressure.upload_queue import UploadQueue
from app.engine.job_handle import JobHandle
from app.engine.job_plan import Batch


class WorkQueue:
    """Jobs to be begun, from the backlog, and jobs with a rest to be made, in the lane."""

    def __init__(self, upload_queue: UploadQueue[JobHandle], brownout: Brownout) -> None:
        self.upload_queue = upload_queue
        self.brownout = brownout
        self._deferred: dict[str, JobHandle] = {}
        self._naps: set[asyncio.Timeout] = set()
        self._closed = False
        self._deferred_s = 0.0

    async def take(self, wanted: Callable[[], bool] = lambda: True) -> JobHandle | None:
        """The next job, as soon as there is one; None once this is closed, or none is `wanted` any more."""
        while wanted() and not self._closed:
            self._observe()
            if self.brownout.deferred_is_next(self.upload_queue.waiting) and (
                key := self.brownout.deferred_queue.pop()
            ):
                return self._deferred.pop(key)
            # Cut short when the lane has something: whether it did or not, no job of the queue is lost.
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as nap:
                    self._naps.add(nap)
                    try:
                        return await self.upload_queue.take()
                    finally:
                        self._naps.discard(nap)
        return None

    def put(self, handle: JobHandle) -> None:
        """Let an accepted job wait, ahead of every newcomer; in the lane when only a rest is to be made."""
        if handle.job.deferred:
            self._deferred[handle.job.id] = handle
            self.brownout.deferred_queue.push(handle.job.id)
            self._wake()
        else:
            self.release(handle)
            self.upload_queue.restore(handle)

    def remove(self, handle: JobHandle) -> bool:
        """Take a job out of queue or lane; whether it waited there."""
        return self.release(handle) or self.upload_queue.remove(handle)

    def release(self, handle: JobHandle) -> bool:
        """Give up the place in the lane that was kept for a job's rest; whether the rest waited there."""
        self._deferred.pop(handle.job.id, None)
        return self.brownout.deferred_queue.remove(handle.job.id)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is given out."""
        return self._closed

    def close(self) -> None:
        """Give out nothing more."""
        self._closed = True
        self.wake_all()

    def wake_all(self) -> None:
        """Let all who wait ask themselves whether they still want a job."""
        while self._naps:
            self._wake()

    def wait(self, handle: JobHandle, place: int | None) -> float | None:
        """Seconds until a job with this place in the queue begins; without one, until its rest is made.

        What would be true if nobody came after, so that in a brownout it is rather too long than too short.
        """
        waiting, drain_rate = self.upload_queue.waiting, self.upload_queue.drain_rate
        if place is not None:
            return drain_rate.wait(
                place, self.brownout.ends_before(place, waiting, self.upload_queue.capacity)
            )
        return drain_rate.wait(waiting + len(self.brownout.deferred_queue)) if handle.job.deferred else None

    def record(self, batch: Batch, busy_s: float, *, rest: bool) -> None:
        """Measure how the queue drains: a worker was busy for so many seconds with a part, or a rest."""
        if not rest:
            self.upload_queue.drain_rate.record(busy_s + self._deferred_s, brief=bool(batch.later))
            self._deferred_s = 0.0
        elif self.upload_queue.waiting:
            self._deferred_s += busy_s  # time that the queue did not get

    def snapshot(self) -> BrownoutSnapshot:
        """Whether variants are put off now, and for how many jobs they were."""
        self._observe()
        return self.brownout.snapshot()

    def _observe(self) -> None:
        self.brownout.observe(self.upload_queue.waiting, self.upload_queue.capacity)

    def _wake(self) -> None:
        """Let one of those who wait for the queue look up."""
        if self._naps:
            self._naps.pop().reschedule(0)
