"""The engine of one machine: an asyncio.Queue and worker processes of this very process."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from app.backpressure.circuit_breaker import CircuitBreakers
from app.backpressure.rate_limiter import Grant, RateLimiter
from app.backpressure.reservations import Requester
from app.backpressure.token_bucket import GCRA, Quota
from app.backpressure.upload_queue import ReceivingSlot, UploadQueue
from app.backpressure.waiting_room import WaitingRoom, Watch
from app.engine.base import BaseEngine
from app.engine.calibration import calibrate
from app.engine.dispatcher import Dispatcher
from app.engine.interface import EngineSnapshot, UploadSlot
from app.engine.job_handle import JobHandle
from app.job import Job
from app.runtime import tasks
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_SETTLED = 2.0


class LocalEngine(BaseEngine[UploadQueue[JobHandle]]):
    """What the gate asks and the pages show; the work itself is the foreman's."""

    def __init__(
        self,
        limiter: RateLimiter,
        upload_queue: UploadQueue[JobHandle],
        waiting_room: WaitingRoom[JobHandle],
        dispatcher: Dispatcher,
        breakers: CircuitBreakers,
        store: Store,
        *,
        drain_timeout: float,
        trial: Sequence[str],
    ) -> None:
        """`drain_timeout` is in seconds; `trial` are the variants by which the length of a job is tried."""
        super().__init__(upload_queue, waiting_room, breakers, drain_timeout)
        self._limiter = limiter
        self._dispatcher = dispatcher
        self._store = store
        self._trial = trial
        self._calibrating: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._dispatcher.start()
        await self._dispatcher.recover()
        note = await self._store.load_state()
        if note is not None:
            try:
                self._waiting_room.restore(note, time.time())
            except ValueError as error:
                log.warning("what was promised before the start is lost", reason=str(error))
        self._calibrating.append(asyncio.create_task(self._calibrate(), name="calibration"))
        self._state = "ready"

    async def _calibrate(self) -> None:
        """Soon after the start, for that has work enough of its own; not once anything was measured."""
        await asyncio.sleep(_SETTLED)
        drain_rate = self.upload_queue.drain_rate
        if drain_rate.is_unmeasured:
            await calibrate(self._trial, drain_rate.calibrate)

    async def drain(self, timeout: float) -> None:
        self._begin_drain(timeout)
        await self._dispatcher.drain(timeout)
        self._receives_until = 0.0  # repeats are read without a place, so nothing has waited for them

    async def stop(self) -> None:
        started = self._state != "starting"
        self._state = "draining"
        self._waiting_room.close()
        await tasks.cancel_and_wait(self._calibrating)
        await self._dispatcher.stop()
        if started:
            try:
                await self._store.save_state(self._waiting_room.export(time.time()))
            except OSError as error:
                log.error("promises could not be kept for the next start", reason=str(error))

    async def acquire_token(self, client: str) -> Grant:
        return self._limiter.acquire(client)

    def local_quota(self, client: str) -> Quota:
        return self._limiter.peek(client)

    async def remaining_quota(self, client: str) -> Quota:
        return self._limiter.peek(client)

    def certainly_refuses(self, requester: Requester) -> bool:
        if self._limiter.is_smooth:
            return False
        return self._reopens_in() > 0 or self._waiting_room.would_refuse(requester)

    def acquire_local_token(self, client: str) -> Quota:
        return self._limiter.acquire(client).quota

    async def reserve(self, requester: Requester, not_before: float, watch: Watch) -> UploadSlot:
        return await self._waiting_room.admit(requester, not_before, watch, self._reopens_in)

    def enqueue(self, place: UploadSlot, job: Job) -> JobHandle:
        assert isinstance(place, ReceivingSlot)  # noqa: S101 - an engine is given its own places only
        handle = self._dispatcher.accept(job, place.client)
        place.enqueue(handle)
        return handle

    def find(self, job_id: str) -> JobHandle | None:
        return self._dispatcher.find(job_id)

    def adopt(self, job: Job) -> JobHandle | None:  # noqa: ARG002 - there is no other process
        return None

    def position(self, handle: JobHandle) -> tuple[int | None, float | None]:
        place = self.upload_queue.position(handle)
        return place, self._dispatcher.work_queue.wait(handle, place)

    async def cancel(self, job_id: str) -> None:
        handle = self._dispatcher.find(job_id)
        if handle is not None:
            await self._dispatcher.cancel(handle)

    def reconfigure(self, meter: GCRA, places: int, workers: int) -> None:
        """Go on with another law of the buckets, so many places in the queue and so many of the workers."""
        self._limiter.reconfigure(meter)
        self._waiting_room.resize(workers, places)
        self._dispatcher.set_active_workers(workers)

    def snapshot(self) -> EngineSnapshot:
        pool = self._dispatcher.pool
        return EngineSnapshot(
            self._dispatcher.counters,
            self._limiter.snapshot(),
            self.upload_queue.snapshot(),
            self._waiting_room.snapshot(),
            pool.snapshot(),
            pool.sandbox,
            self._dispatcher.work_queue.snapshot(),
            self._breakers.snapshot(),
            self._state,
            self.upload_queue.full_for,
        )
