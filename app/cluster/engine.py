"""The engine of many machines: NATS JetStream holds the queue and the buckets, the store the truth.

What differs from one machine: the queue is first in, first out for all clients; a client's share, the turns
and the door are each replica's own, whose promises are for its part of what drains; nothing is put off in a
brownout.
"""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import structlog
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from app.backpressure.brownout import BrownoutSnapshot
from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreakers
from app.backpressure.rate_limiter import Grant
from app.backpressure.reservations import Requester
from app.backpressure.token_bucket import Quota
from app.backpressure.waiting_room import QueueFull, WaitingRoom, Watch
from app.cluster import jetstream
from app.cluster.connection import UNAVAILABLE, NatsConnection, StreamFull
from app.cluster.job_consumer import JobConsumer, cancel_subject
from app.cluster.job_registry import JobRegistry
from app.cluster.job_status import Heartbeat, JobStatusStore
from app.cluster.leases import LeasedSlot, Leases
from app.cluster.outbox import Outbox, Reconciler
from app.cluster.rate_limiter import SharedRateLimiter
from app.cluster.upload_queue import SharedUploadQueue
from app.engine.base import BaseEngine
from app.engine.interface import EngineSnapshot, UploadSlot
from app.engine.job_handle import JobHandle
from app.job import Job
from app.runtime import tasks
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_LOOK = 0.15
"""Seconds between looks at the engine."""
_SOON = 0.02
_BEAT = 1.0


class ClusterEngine(BaseEngine[SharedUploadQueue]):
    """One replica's part of it."""

    def __init__(
        self,
        connection: NatsConnection,
        limiter: SharedRateLimiter,
        upload_queue: SharedUploadQueue,
        waiting_room: WaitingRoom[JobHandle],
        registry: JobRegistry,
        job_status: JobStatusStore,
        consumer: JobConsumer | None,
        breakers: CircuitBreakers,
        store: Store,
        *,
        lease_s: float,
        drain_timeout: float,
    ) -> None:
        """`lease_s`: the longest that an upload takes. Times are in seconds."""
        super().__init__(upload_queue, waiting_room, breakers, drain_timeout)
        self._connection = connection
        self._limiter = limiter
        self._registry = registry
        self._job_status = job_status
        self._consumer = consumer
        self._lease_s = lease_s
        self._leases = Leases(connection)
        upload_queue.receiving_elsewhere = lambda: self._leases.elsewhere
        self._outbox = Outbox(connection, job_status)
        self._reconciler = Reconciler(registry, store, self._outbox)
        self._tasks: list[asyncio.Task[None]] = []
        self._beats: list[Heartbeat] = []
        self._hands = 0

    # --- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        await self._connection.open()
        with self._connection.startup():
            await self._prepare()
        await self._job_status.listen()
        if self._consumer is not None:
            await self._consumer.start()
        await self._greet()
        loops: list[Coroutine[Any, Any, None]] = [
            self._outbox.run(),
            self._reconciler.run(),
            self._look(),
            self._greet_all(),
        ]
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        self._state = "ready"

    async def drain(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        self._begin_drain(timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.upload_queue.snapshot().receiving or len(self._outbox):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        if self._consumer is not None:
            await self._consumer.drain(max(0.0, end - time.monotonic()))
        self._receives_until = 0.0

    async def stop(self) -> None:
        self._state = "draining"
        self._waiting_room.close()
        await tasks.cancel_and_wait(self._tasks)
        if self._consumer is not None:
            await self._consumer.stop()
        await self._job_status.close()
        await self._connection.close()

    async def _prepare(self) -> None:
        """Have everything there that is kept in the engine, and hear of every job. Raises as `asking`."""
        self._connection.needs_setup = False
        await jetstream.prepare(self._connection, self._bound, self.upload_queue.max_receiving, self._lease_s)
        await self._limiter.prepare()
        await self._job_status.prepare()
        await self._job_status.watch(self._registry.update)

    @property
    def _bound(self) -> int:
        """Messages in the queue: jobs that wait, and one in each hand."""
        return self.upload_queue.capacity + self._hands

    async def _look(self) -> None:
        """Find out within a second that the engine is away, and that it is back."""
        while True:
            try:
                if self._connection.needs_setup:
                    await self._connection.ping()
                    await self._prepare()
                    log.info("engine is there again")
                await self._leases.count()
                self.upload_queue.observe()
            except (*UNAVAILABLE, StreamFull):
                await asyncio.sleep(min(_LOOK, max(_SOON, self._connection.breaker.remaining())))
            except Exception:  # without this loop nobody would find out that the engine is away
                log.exception("the look at the engine went wrong")
                await asyncio.sleep(_BEAT)
            else:
                await asyncio.sleep(_LOOK)

    async def _greet_all(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            await self._greet()

    async def _greet(self) -> None:
        """Tell of this process, and reckon with those that were heard of."""
        own = Heartbeat(True, 0, (), {}) if self._consumer is None else self._consumer.beat(serves=True)
        await self._job_status.beat(own)
        self._beats = self._job_status.beats() or [own]
        self.upload_queue.replicas = max(1, sum(beat.serves for beat in self._beats))
        hands = sum(beat.hands for beat in self._beats)
        if hands != self._hands:
            self._hands = hands
            self._waiting_room.resize(max(1, hands), self.upload_queue.capacity)
            with suppress(*UNAVAILABLE, StreamFull):
                await jetstream.grow(self._connection, self._bound)

    # --- what the gate asks ----------------------------------------------------------------------------

    async def acquire_token(self, client: str) -> Grant:
        return await self._limiter.acquire(client)

    def local_quota(self, client: str) -> Quota:
        return self._limiter.local.peek(client)

    async def remaining_quota(self, client: str) -> Quota:
        return await self._limiter.peek(client)

    def certainly_refuses(self, requester: Requester) -> bool:  # noqa: ARG002 - one answer for all
        """Only while NATS is away: else the tokens are there, and to take one is to wait."""
        return not self._limiter.local.is_smooth and self._connection.breaker.remaining() > 0

    def acquire_local_token(self, client: str) -> Quota:
        return self._limiter.local.acquire(client).quota

    async def reserve(self, requester: Requester, not_before: float, watch: Watch) -> UploadSlot:
        slot = await self._waiting_room.admit(requester, not_before, watch, self._reopens_in)
        try:
            lease = await self._lease()
        except UNAVAILABLE:
            slot.release()
            remaining = max(1.0, self._connection.breaker.remaining())
            raise BreakerOpen(
                self._connection.breaker.name, self._waiting_room.refuse(requester, remaining, not_before)
            ) from None
        except BaseException:
            slot.release()
            raise
        if lease is None:
            slot.release()
            raise QueueFull(
                self._waiting_room.refuse(requester, 1 / self.upload_queue.uploads_per_s, not_before),
                self.upload_queue.capacity,
            )
        return LeasedSlot(slot, self._leases, lease)

    async def _lease(self) -> int | None:
        """A lease that the queue has room for, or None. Raises EngineDown, BreakerOpen.

        What others do is heard a moment later, so all might fill the same places. Where this one's part is
        used up, the engine is asked what came before: the order of the leases decides.
        """
        lease = await self._leases.take()
        if lease is None or self.upload_queue.load * self.upload_queue.replicas <= self.upload_queue.capacity:
            return lease
        try:
            fits = await self._leases.fits(lease, self._bound)
        except BaseException:
            self._leases.give_back(lease)
            raise
        if not fits:
            self._leases.give_back(lease)
        return lease if fits else None

    # --- jobs ------------------------------------------------------------------------------------------

    def enqueue(self, place: UploadSlot, job: Job) -> JobHandle:
        assert isinstance(place, LeasedSlot)  # noqa: S101 - an engine is given its own places only
        handle = self._registry.accept(job, place.client)
        place.enqueue(handle)
        self._outbox.put(handle, place)
        return handle

    def find(self, job_id: str) -> JobHandle | None:
        return self._registry.find(job_id)

    def adopt(self, job: Job) -> JobHandle | None:
        """Accepted by a replica that could not tell of it yet, or has died."""
        self._registry.update(job)
        return self._registry.find(job.id)

    def position(self, handle: JobHandle) -> tuple[int | None, float | None]:
        place = self._registry.position(handle)
        return place, None if place is None else self.upload_queue.drain_rate.wait(place)

    async def cancel(self, job_id: str) -> None:
        handle = self._registry.find(job_id)
        if handle is None:
            return
        handle.cancelled = True
        try:
            await self._outbox.withdraw(job_id)
            with suppress(NoRespondersError):
                await self._connection.client.request(cancel_subject(job_id), timeout=5)
            await self._job_status.put(self._registry.end_cancelled(handle))
        except (*UNAVAILABLE, StreamFull, NatsError, OSError) as error:
            # Its record goes all the same, and a worker that has it finds that out.
            log.warning("the queue could not be told of a removal", job=job_id, reason=str(error))
            self._registry.end_cancelled(handle)

    def snapshot(self) -> EngineSnapshot:
        """The replica's own counters; the limiter's table is what it knows; the workers are everybody's."""
        return EngineSnapshot(
            self._registry.counters,
            self._limiter.local.snapshot(),
            self.upload_queue.snapshot(),
            self._waiting_room.snapshot(),
            [worker for beat in self._beats for worker in beat.workers],
            next((beat.sandbox for beat in self._beats if beat.sandbox), {}),
            BrownoutSnapshot(active=False, begun=0, deferred=0, capacity=0),
            self._breakers.snapshot(),
            self._state,
            self.upload_queue.full_for,
        )
