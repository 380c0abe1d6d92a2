"""The engine of one machine: an asyncio.Queue and worker processes started by this very process."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from app.backpressure.rate_limiter import Grant, RateLimiter
from app.backpressure.reservation_table import Requester
from app.backpressure.token_bucket import GCRA, Quota
from app.backpressure.upload_queue import ReceivingSlot, UploadQueue
from app.backpressure.waiting_room import WaitingRoom, Watch
from app.engine.base import BaseEngine, CircuitBreakers
from app.engine.calibration import calibrate
from app.engine.dispatcher import Dispatcher
from app.engine.interface import EngineSnapshot, EngineState, UploadSlot
from app.engine.job_handle import JobHandle
from app.job import Job
from app.runtime import tasks

log = structlog.get_logger(__name__)

_CALIBRATION_DELAY_S = 2.0
"""Seconds after the start, which has work enough of its own, before a trial job is measured."""


class LocalEngine(BaseEngine[UploadQueue[JobHandle]]):
    """Answers for all limits and jobs itself; the dispatcher has the jobs done.

    Reservations and the measured drain rate survive a restart: they are saved in the store when it stops.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        waiting_room: WaitingRoom[JobHandle],
        dispatcher: Dispatcher,
        breakers: CircuitBreakers,
        *,
        drain_timeout: float,
        trial_variants: Sequence[str],
    ) -> None:
        """`drain_timeout` is in seconds.

        `trial_variants` are the specifications of the variants by which the first estimates are calibrated.
        """
        super().__init__(dispatcher.work_queue.upload_queue, waiting_room, breakers, drain_timeout)
        self._limiter = limiter
        self._dispatcher = dispatcher
        self._store = dispatcher.recorder.store
        self.outbox = dispatcher.recorder.outbox
        self._trial_variants = trial_variants
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._dispatcher.start()
        await self._dispatcher.recover()
        state = await self._store.load_state()
        if state is not None:
            try:
                await self._waiting_room.restore(state, time.time())
            except ValueError as error:
                log.warning("the reservations of the previous run are lost", reason=str(error))
        self._tasks.append(tasks.supervise(self._calibrate, name="calibration"))
        await self.outbox.start()
        self._state = EngineState.READY

    async def _calibrate(self) -> None:
        """Measure a trial job, unless a real one was measured before."""
        await asyncio.sleep(_CALIBRATION_DELAY_S)
        drain_rate = self.upload_queue.drain_rate
        if drain_rate.is_unmeasured:
            await calibrate(self._trial_variants, drain_rate.calibrate)

    async def drain(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        self._begin_drain(timeout)
        await self._dispatcher.drain(timeout)
        # Repeats of uploads are read without a slot, so the dispatcher has not waited for them.
        self._receives_until = 0.0
        await self.outbox.drain(max(0.0, end - time.monotonic()))

    async def stop(self) -> None:
        was_started = self._state != EngineState.STARTING
        self._state = EngineState.DRAINING
        self._waiting_room.close()
        await tasks.cancel_and_wait(self._tasks)
        await self._dispatcher.stop()
        await self.outbox.stop()
        if was_started:
            try:
                await self._store.save_state(self._waiting_room.export(time.time()))
            except OSError as error:
                log.error("reservations could not be saved for the next run", reason=str(error))

    async def acquire_token(self, client: str, own: GCRA | None = None) -> Grant:
        return self._limiter.acquire(client, own)

    def local_quota(self, client: str, own: GCRA | None = None) -> Quota:
        return self._limiter.peek(client, own)

    async def remaining_quota(self, client: str, own: GCRA | None = None) -> Quota:
        return self._limiter.peek(client, own)

    def certainly_refuses(self, requester: Requester) -> bool:
        if not self.gives_tokens_at_once:
            return False
        return self._reopens_in() > 0 or self._waiting_room.would_refuse(requester)

    @property
    def gives_tokens_at_once(self) -> bool:
        return not self._limiter.is_smooth

    def acquire_local_token(self, client: str, own: GCRA | None = None) -> Quota:
        return self._limiter.acquire(client, own).quota

    async def reserve(self, requester: Requester, not_before: float, watch: Watch) -> UploadSlot:
        return await self._admit(requester, not_before, watch)

    def enqueue(self, slot: UploadSlot, job: Job) -> JobHandle:
        assert isinstance(slot, ReceivingSlot)  # noqa: S101 - it is one that `reserve` returned
        return self._dispatcher.accept(job, slot)

    def find(self, job_id: str) -> JobHandle | None:
        return self._dispatcher.jobs.find(job_id)

    def adopt(self, job: Job) -> JobHandle | None:
        """There is no other process, so only a job that the start has still to come to is watched."""
        return self._dispatcher.adopt(job) if self._state == EngineState.STARTING else self.find(job.id)

    def position(self, handle: JobHandle) -> tuple[int | None, float | None]:
        position = self.upload_queue.position(handle)
        return position, self._dispatcher.work_queue.wait(handle, position)

    async def cancel(self, job_id: str) -> None:
        handle = self._dispatcher.jobs.find(job_id)
        if handle is not None:
            await self._dispatcher.cancel(handle)

    def reconfigure(self, gcra: GCRA, capacity: int, workers: int) -> None:
        """Change the rate of the limiter, the capacity of the queue and the number of active workers."""
        self._limiter.reconfigure(gcra)
        self._waiting_room.resize(workers, capacity)
        self._dispatcher.set_active_workers(workers)

    def snapshot(self) -> EngineSnapshot:
        pool = self._dispatcher.pool
        return EngineSnapshot(
            jobs=self._dispatcher.jobs.counters,
            limiter=self._limiter.snapshot(),
            upload_queue=self.upload_queue.snapshot(),
            reservations=self._waiting_room.snapshot(),
            workers=pool.snapshot(),
            sandbox=pool.sandbox,
            brownout=self._dispatcher.work_queue.snapshot(),
            breakers=self._breakers.snapshot(),
            state=self._state,
            full_for_s=self.upload_queue.full_for,
            webhook=self.outbox.snapshot(),
        )
