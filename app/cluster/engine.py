"""The engine of many machines: queue and token buckets in NATS JetStream, jobs and records in the store.

It differs from the engine of one machine in this: the queue is first in, first out over all clients; the
share of a client, the reservations and the waiting room are those of each replica, which promises only its
part of the rate at which the queue drains; no variant is deferred in a brownout.
"""

import asyncio
import time
from contextlib import suppress

import structlog
from nats.errors import Error as NatsError

from app.backpressure.brownout import BrownoutSnapshot
from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.rate_limiter import Grant
from app.backpressure.reservation_table import Requester
from app.backpressure.token_bucket import GCRA, Quota
from app.backpressure.waiting_room import QueueFull, Watch
from app.cluster import jetstream
from app.cluster.connection import UNAVAILABLE, NatsConnection, StreamFull
from app.cluster.engine_parts import Guards, JobTracking
from app.cluster.heartbeats import HEARTBEAT_INTERVAL_S, Heartbeat, Heartbeats
from app.cluster.jetstream import Bounds
from app.cluster.job_consumer import JobConsumer
from app.cluster.job_delivery import ask_to_cancel
from app.cluster.job_publisher import JobPublisher
from app.cluster.leases import LeasedSlot
from app.cluster.reconciler import Reconciler
from app.cluster.upload_queue import SharedUploadQueue
from app.engine.base import BaseEngine, Closed
from app.engine.interface import EngineFull, EngineSnapshot, EngineState, UploadSlot
from app.engine.job_handle import JobHandle
from app.job import Job
from app.runtime import tasks

log = structlog.get_logger(__name__)

_WATCH_INTERVAL_S = 0.15
_MIN_WATCH_INTERVAL_S = 0.02
"""Seconds between two checks of NATS; the shorter one when its breaker is about to let a request pass."""
_FULL_RETRY_S = 10.0
"""Seconds after which an upload may come again that was refused because NATS has no room."""
_DRAIN_POLL_S = 0.05


class ClusterEngine(BaseEngine[SharedUploadQueue]):
    """One replica: admits uploads, queues their jobs for the cluster and follows all jobs to their end."""

    def __init__(
        self,
        connection: NatsConnection,
        guards: Guards,
        jobs: JobTracking,
        heartbeats: Heartbeats,
        consumer: JobConsumer | None,
        *,
        lease_s: float,
        drain_timeout: float,
    ) -> None:
        """Durations are in seconds. `consumer` is None in a replica without workers. `lease_s` is the time
        after which a lease of a dead replica ends, longer than any upload takes.
        """
        super().__init__(guards.upload_queue, guards.waiting_room, guards.breakers, drain_timeout)
        self._connection = connection
        self._limiter = guards.limiter
        self._leases = guards.leases
        self._registry = jobs.registry
        self._jobs = jobs
        self.outbox = jobs.outbox
        self._unqueued = JobPublisher(jobs.stream, jobs.status)
        self._reconciler = Reconciler(jobs.registry, jobs.store, jobs.stream)
        self._heartbeats = heartbeats
        self._consumer = consumer
        self._lease_s = lease_s
        self._tasks: list[asyncio.Task[None]] = []
        self._members: list[Heartbeat] = []
        """The latest heartbeat of each process of the cluster."""
        self._cluster_workers = 0

    async def start(self) -> None:
        await self._connection.open()
        with self._connection.startup():
            await self._prepare()
        await self._heartbeats.listen()
        if self._consumer is not None:
            await self._consumer.start()
        await self._exchange_heartbeats()
        self._tasks = [
            tasks.supervise(self._unqueued.run, "job publisher"),
            tasks.supervise(self._reconciler.run, "reconciler"),
            tasks.supervise(self._watch_connection, "connection watch"),
            tasks.supervise(self._run_heartbeats, "heartbeats"),
        ]
        await self.outbox.start()
        self._state = EngineState.READY

    async def drain(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        self._begin_drain(timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.upload_queue.snapshot().receiving or len(self._unqueued):  # noqa: ASYNC110 - two ends
                    await asyncio.sleep(_DRAIN_POLL_S)
        if self._consumer is not None:
            await self._consumer.drain(max(0.0, end - time.monotonic()))
        self._receives_until = 0.0
        await self.outbox.drain(max(0.0, end - time.monotonic()))
        log.info("drained", uploads_left=self.upload_queue.snapshot().receiving, unqueued=len(self._unqueued))

    async def stop(self) -> None:
        self._state = EngineState.DRAINING
        self._waiting_room.close()
        await tasks.cancel_and_wait(self._tasks)
        if self._consumer is not None:
            await self._consumer.stop()
        await self.outbox.stop()
        await self._jobs.status.close()
        await self._connection.close()

    async def _prepare(self) -> None:
        """Create what is missing in NATS and watch all jobs. Raises as `NatsConnection.request` does."""
        self._connection.needs_setup = False
        bounds = Bounds(self._max_jobs, self.upload_queue.max_receiving, self._lease_s)
        await jetstream.prepare(self._connection, bounds, may_change=True)
        await self._limiter.prepare()
        await self._jobs.status.prepare()
        await self._jobs.status.watch(self._registry.update)

    @property
    def _max_jobs(self) -> int:
        """Messages that the queue may hold: waiting jobs, and one job for each worker of the cluster."""
        return self.upload_queue.capacity + self._cluster_workers

    async def _watch_connection(self) -> None:
        """Find out within a second that NATS is away or back, and what other replicas are receiving."""
        while True:
            try:
                if self._connection.needs_setup:
                    await self._connection.ping()
                    await self._prepare()
                    log.info("streams and subscriptions are set up again")
                await self._leases.settle()
                await self._leases.count()
                await self._jobs.status.settle()
                self.upload_queue.observe()
            except (*UNAVAILABLE, StreamFull):
                retry_s = max(_MIN_WATCH_INTERVAL_S, self._connection.breaker.remaining())
                await asyncio.sleep(min(_WATCH_INTERVAL_S, retry_s))
            else:
                await asyncio.sleep(_WATCH_INTERVAL_S)

    async def _run_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)
            await self._exchange_heartbeats()

    async def _exchange_heartbeats(self) -> None:
        """Send a heartbeat, and adapt to the number of replicas and workers in the cluster."""
        own = Heartbeat(True, 0, (), {}) if self._consumer is None else self._consumer.heartbeat(serves=True)
        await self._heartbeats.send(own)
        self._members = self._heartbeats.recent() or [own]
        self.upload_queue.replicas = max(1, sum(member.serves for member in self._members))
        workers = sum(member.max_jobs for member in self._members)
        if workers != self._cluster_workers:
            self._cluster_workers = workers
            self._waiting_room.resize(max(1, workers), self.upload_queue.capacity)
            with suppress(*UNAVAILABLE, StreamFull):
                await jetstream.grow(self._connection, self._max_jobs)

    def _closed(self) -> Closed | None:
        closed = super()._closed()
        return Closed(_FULL_RETRY_S, EngineFull) if closed is None and self._unqueued.storage_full else closed

    async def acquire_token(self, client: str, own: GCRA | None = None) -> Grant:
        return await self._limiter.acquire(client, own)

    def local_quota(self, client: str, own: GCRA | None = None) -> Quota:
        return self._limiter.local.peek(client, own)

    async def remaining_quota(self, client: str, own: GCRA | None = None) -> Quota:
        return await self._limiter.peek(client, own)

    def certainly_refuses(self, requester: Requester) -> bool:  # noqa: ARG002 - the same for all
        return self.gives_tokens_at_once  # otherwise a refusal needs a token, and a token a request to NATS

    @property
    def gives_tokens_at_once(self) -> bool:
        return not self._limiter.local.is_smooth and self._connection.breaker.remaining() > 0

    def acquire_local_token(self, client: str, own: GCRA | None = None) -> Quota:
        return self._limiter.local.acquire(client, own).quota

    async def reserve(self, requester: Requester, not_before: float, watch: Watch) -> UploadSlot:
        slot = await self._admit(requester, not_before, watch)
        try:
            lease = await self._take_lease()
        except UNAVAILABLE:
            slot.release()
            breaker = self._connection.breaker
            retry_after = self._waiting_room.refuse(requester, max(1.0, breaker.remaining()), not_before)
            raise BreakerOpen(breaker.name, retry_after) from None
        except BaseException:
            slot.release()
            raise
        if lease is None:
            slot.release()
            queue = self.upload_queue
            retry_after = self._waiting_room.refuse(requester, 1 / queue.uploads_per_s, not_before)
            raise QueueFull(retry_after, queue.capacity, slots_taken=queue.waiting < queue.capacity)
        return LeasedSlot(slot, self._leases, lease)

    async def _take_lease(self) -> int | None:
        """A lease for whose job the queue has room, or None. Raises EngineDown, BreakerOpen.

        What other replicas admit is known here a moment later, so all might fill the same places. Once this
        replica's part of the queue is used up, NATS is asked how many leases and jobs came before this one.
        """
        lease = await self._leases.take()
        if lease is None or self.upload_queue.load * self.upload_queue.replicas <= self.upload_queue.capacity:
            return lease
        try:
            fits = await self._leases.fits(lease, self._max_jobs)
        except BaseException:
            self._leases.give_back(lease)
            raise
        if not fits:
            self._leases.give_back(lease)
        return lease if fits else None

    def enqueue(self, slot: UploadSlot, job: Job) -> JobHandle:
        assert isinstance(slot, LeasedSlot)  # noqa: S101 - an engine is given its own slots only
        handle = self._registry.accept(job, slot.client)
        slot.enqueue(handle)
        self._unqueued.put(handle, slot)
        return handle

    def find(self, job_id: str) -> JobHandle | None:
        return self._registry.find(job_id)

    def adopt(self, job: Job) -> JobHandle | None:
        """Register a job of another replica that has not written its status yet, or has died."""
        if self._registry.find(job.id) is None:  # else what is known is newer than what was read
            self._registry.update(job)
        return self._registry.find(job.id)

    def position(self, handle: JobHandle) -> tuple[int | None, float | None]:
        position = self._registry.position(handle)
        return position, None if position is None else self.upload_queue.drain_rate.wait_s(position)

    async def cancel(self, job_id: str) -> None:
        handle = self._registry.find(job_id)
        if handle is None:
            return
        handle.cancelled = True
        unavailable = (*UNAVAILABLE, StreamFull, NatsError, OSError)
        try:
            await self._jobs.stream.withdraw(job_id)
            await ask_to_cancel(self._connection, job_id)
        except unavailable as error:  # the record is deleted all the same
            log.warning("a worker did not confirm a cancellation", job=job_id, reason=repr(error))
        try:
            await self._jobs.status.tell(self._registry.end_cancelled(handle))
        except unavailable as error:
            log.warning("other replicas do not know of a cancellation yet", job=job_id, reason=repr(error))

    def snapshot(self) -> EngineSnapshot:
        """Counters, queue and limiter table of this replica; workers of the whole cluster."""
        return EngineSnapshot(
            self._registry.counters,
            self._limiter.local.snapshot(),
            self.upload_queue.snapshot(),
            self._waiting_room.snapshot(),
            [worker for member in self._members for worker in member.workers],
            next((member.sandbox for member in self._members if member.sandbox), {}),
            BrownoutSnapshot(active=False, begun=0, deferred=0, capacity=0),
            self._breakers.snapshot(),
            self._state,
            self.upload_queue.full_for,
            self.outbox.snapshot(),
        )
