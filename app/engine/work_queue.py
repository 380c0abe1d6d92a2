"""The supply: what the workers take from, which is the queue and, at its turns, the deferred lane."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from app.backpressure.brownout import Brownout, BrownoutSnapshot
from app.backpressure.upload_queue import Backlog
from app.engine.job_handle import Live
from app.engine.job_plan import Part


class Supply:
    """Jobs to be begun, from the backlog, and jobs with a rest to be made, in the lane."""

    def __init__(self, backlog: Backlog[Live], brownout: Brownout) -> None:
        self.backlog = backlog
        self.brownout = brownout
        self._rests: dict[str, Live] = {}
        self._naps: set[asyncio.Timeout] = set()
        self._closed = False
        self._lane_s = 0.0

    async def take(self, wanted: Callable[[], bool] = lambda: True) -> Live | None:
        """The next job, as soon as there is one; None once this is closed, or none is `wanted` any more."""
        while wanted() and not self._closed:
            self._observe()
            if self.brownout.lane_is_next(self.backlog.waiting) and (key := self.brownout.lane.take()):
                return self._rests.pop(key)
            # Cut short when the lane has something: whether it did or not, no job of the queue is lost.
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as nap:
                    self._naps.add(nap)
                    try:
                        return await self.backlog.take()
                    finally:
                        self._naps.discard(nap)
        return None

    def put(self, live: Live) -> None:
        """Let an accepted job wait, ahead of every newcomer; in the lane when only a rest is to be made."""
        if live.job.deferred:
            self._rests[live.job.id] = live
            self.brownout.lane.put(live.job.id)
            self._wake()
        else:
            self.release(live)
            self.backlog.restore(live)

    def remove(self, live: Live) -> bool:
        """Take a job out of queue or lane; whether it waited there."""
        return self.release(live) or self.backlog.remove(live)

    def release(self, live: Live) -> bool:
        """Give up the place in the lane that was kept for a job's rest; whether the rest waited there."""
        self._rests.pop(live.job.id, None)
        return self.brownout.lane.drop(live.job.id)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is given out."""
        return self._closed

    def close(self) -> None:
        """Give out nothing more."""
        self._closed = True
        self.rouse()

    def rouse(self) -> None:
        """Let all who wait ask themselves whether they still want a job."""
        while self._naps:
            self._wake()

    def wait(self, live: Live, place: int | None) -> float | None:
        """Seconds until a job with this place in the queue begins; without one, until its rest is made.

        What would be true if nobody came after, so that in a brownout it is rather too long than too short.
        """
        waiting, pacer = self.backlog.waiting, self.backlog.pacer
        if place is not None:
            return pacer.wait(place, self.brownout.ends_before(place, waiting, self.backlog.capacity))
        return pacer.wait(waiting + len(self.brownout.lane)) if live.job.deferred else None

    def record(self, part: Part, busy_s: float, *, rest: bool) -> None:
        """Measure how the queue drains: a worker was busy for so many seconds with a part, or a rest."""
        if not rest:
            self.backlog.pacer.record(busy_s + self._lane_s, brief=bool(part.later))
            self._lane_s = 0.0
        elif self.backlog.waiting:
            self._lane_s += busy_s  # time that the queue did not get

    def snapshot(self) -> BrownoutSnapshot:
        """Whether variants are put off now, and for how many jobs they were."""
        self._observe()
        return self.brownout.snapshot()

    def _observe(self) -> None:
        self.brownout.observe(self.backlog.waiting, self.backlog.capacity)

    def _wake(self) -> None:
        """Let one of those who wait for the queue look up."""
        if self._naps:
            self._naps.pop().reschedule(0)
