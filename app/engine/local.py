"""The engine of one machine: an asyncio.Queue and worker processes of this very process."""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from app.backpressure.circuit_breaker import Breakers
from app.backpressure.rate_limiter import Grant, Limiter
from app.backpressure.reservations import Visitor
from app.backpressure.token_bucket import Meter, Quota
from app.backpressure.upload_queue import Backlog, Slot
from app.backpressure.waiting_room import Door, QueueFull, Watch
from app.engine.base import Front
from app.engine.calibration import calibrate
from app.engine.dispatcher import Foreman
from app.engine.interface import EngineSnapshot, Place
from app.engine.job_handle import Live
from app.job import Job
from app.runtime import tasks
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_SETTLED = 2.0


class LocalEngine(Front[Backlog[Live]]):
    """What the gate asks and the pages show; the work itself is the foreman's."""

    def __init__(
        self,
        limiter: Limiter,
        backlog: Backlog[Live],
        door: Door[Live],
        foreman: Foreman,
        breakers: Breakers,
        store: Store,
        *,
        drain_timeout: float,
        trial: Sequence[str],
    ) -> None:
        """`drain_timeout` is in seconds; `trial` are the variants by which the length of a job is tried."""
        super().__init__(backlog, door, breakers, drain_timeout)
        self._limiter = limiter
        self._foreman = foreman
        self._store = store
        self._trial = trial
        self._calibrating: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._foreman.start()
        await self._foreman.recover()
        note = await self._store.take_note()
        if note is not None:
            try:
                self._door.restore(note, time.time())
            except ValueError as error:
                log.warning("what was promised before the start is lost", reason=str(error))
        self._calibrating.append(asyncio.create_task(self._calibrate(), name="calibration"))
        self._state = "ready"

    async def _calibrate(self) -> None:
        """Soon after the start, for that has work enough of its own; not once anything was measured."""
        await asyncio.sleep(_SETTLED)
        pacer = self.backlog.pacer
        if pacer.is_blank:
            await calibrate(self._trial, pacer.calibrate)

    async def drain(self, timeout: float) -> None:
        self._close(timeout)
        await self._foreman.drain(timeout)
        self._receives_until = 0.0  # repeats are read without a place, so nothing has waited for them

    async def stop(self) -> None:
        started = self._state != "starting"
        self._state = "draining"
        self._door.dismiss()
        await tasks.end(self._calibrating)
        await self._foreman.stop()
        if started:
            try:
                await self._store.leave_note(self._door.export(time.time()))
            except OSError as error:
                log.error("promises could not be kept for the next start", reason=str(error))

    async def spend(self, client: str) -> Grant:
        return self._limiter.spend(client)

    def quota(self, client: str) -> Quota:
        return self._limiter.quota(client)

    async def left(self, client: str) -> Quota:
        return self._limiter.quota(client)

    def turn_away(self, visitor: Visitor, check: Callable[[Quota], None]) -> None:
        if self._limiter.is_smooth or not (self._reopens_in() or self._door.is_shut(visitor)):
            return
        left = self._limiter.spend(visitor.client).quota
        check(left)
        raise QueueFull(self._door.refuse(visitor, 0, left.not_before), self.backlog.capacity)

    async def reserve(self, visitor: Visitor, not_before: float, watch: Watch) -> Place:
        return await self._door.admit(visitor, not_before, watch, self._reopens_in)

    def offer(self, place: Place, job: Job) -> Live:
        assert isinstance(place, Slot)  # noqa: S101 - an engine is given its own places only
        live = self._foreman.accept(job, place.client)
        place.offer(live)
        return live

    def live(self, job_id: str) -> Live | None:
        return self._foreman.live(job_id)

    def meet(self, job: Job) -> Live | None:  # noqa: ARG002 - there is no other process
        return None

    def position(self, live: Live) -> tuple[int | None, float | None]:
        place = self.backlog.position(live)
        return place, self._foreman.supply.wait(live, place)

    async def cancel(self, job_id: str) -> None:
        live = self._foreman.live(job_id)
        if live is not None:
            await self._foreman.cancel(live)

    def tune(self, meter: Meter, places: int, workers: int) -> None:
        """Go on with another law of the buckets, so many places in the queue and so many of the workers."""
        self._limiter.retune(meter)
        self._door.resize(workers, places)
        self._foreman.assign(workers)

    def snapshot(self) -> EngineSnapshot:
        pool = self._foreman.pool
        return EngineSnapshot(
            self._foreman.counters,
            self._limiter.snapshot(),
            self.backlog.snapshot(),
            self._door.snapshot(),
            pool.snapshot(),
            pool.sandbox,
            self._foreman.supply.snapshot(),
            self._breakers.snapshot(),
            self._state,
            self.backlog.full_for,
        )
