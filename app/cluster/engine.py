"""The engine of many machines: NATS JetStream holds the queue and the buckets, the store the truth.

What differs from one machine: the queue is first in, first out for all clients; a client's share, the turns
and the door are each replica's own, whose promises are for its part of what drains; nothing is put off in a
brownout.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from app.backpressure.brownout import BrownoutSnapshot
from app.backpressure.circuit_breaker import BreakerOpen, Breakers
from app.backpressure.rate_limiter import Grant
from app.backpressure.reservations import Visitor
from app.backpressure.token_bucket import Quota
from app.backpressure.waiting_room import Door, QueueFull, Watch
from app.cluster import jetstream
from app.cluster.connection import AWAY, Full, Link
from app.cluster.job_consumer import Crew, cancel_subject
from app.cluster.job_registry import Chronicle
from app.cluster.job_status import Beat, Bulletin
from app.cluster.leases import Berth, Leases
from app.cluster.outbox import Mender, Outbox
from app.cluster.rate_limiter import SharedLimiter
from app.cluster.upload_queue import SharedBacklog
from app.engine.base import Front
from app.engine.interface import EngineSnapshot, Place
from app.engine.job_handle import Live
from app.job import Job
from app.runtime import tasks
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_LOOK = 0.15
"""Seconds between looks at the engine."""
_SOON = 0.02
_BEAT = 1.0


class ClusterEngine(Front[SharedBacklog]):
    """One replica's part of it."""

    def __init__(
        self,
        link: Link,
        limiter: SharedLimiter,
        backlog: SharedBacklog,
        door: Door[Live],
        chronicle: Chronicle,
        bulletin: Bulletin,
        crew: Crew | None,
        breakers: Breakers,
        store: Store,
        *,
        lease_s: float,
        drain_timeout: float,
    ) -> None:
        """`lease_s`: the longest that an upload takes. Times are in seconds."""
        super().__init__(backlog, door, breakers, drain_timeout)
        self._link = link
        self._limiter = limiter
        self._chronicle = chronicle
        self._bulletin = bulletin
        self._crew = crew
        self._lease_s = lease_s
        self._leases = Leases(link)
        backlog.receiving_elsewhere = lambda: self._leases.elsewhere
        self._outbox = Outbox(link, bulletin)
        self._mender = Mender(chronicle, store, self._outbox)
        self._tasks: list[asyncio.Task[None]] = []
        self._beats: list[Beat] = []
        self._hands = 0

    # --- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        await self._link.open()
        with self._link.starting():
            await self._prepare()
        await self._bulletin.listen()
        if self._crew is not None:
            await self._crew.start()
        await self._greet()
        loops: list[Coroutine[Any, Any, None]] = [
            self._outbox.run(),
            self._mender.run(),
            self._look(),
            self._greet_all(),
        ]
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        self._state = "ready"

    async def drain(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        self._close(timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.backlog.snapshot().receiving or len(self._outbox):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        if self._crew is not None:
            await self._crew.drain(max(0.0, end - time.monotonic()))
        self._receives_until = 0.0

    async def stop(self) -> None:
        self._state = "draining"
        self._door.dismiss()
        await tasks.end(self._tasks)
        if self._crew is not None:
            await self._crew.stop()
        await self._bulletin.close()
        await self._link.close()

    async def _prepare(self) -> None:
        """Have everything there that is kept in the engine, and hear of every job. Raises as `asking`."""
        self._link.stale = False
        await jetstream.prepare(self._link, self._bound, self.backlog.dock, self._lease_s)
        await self._limiter.prepare()
        await self._bulletin.prepare()
        await self._bulletin.watch(self._chronicle.hear)

    @property
    def _bound(self) -> int:
        """Messages in the queue: jobs that wait, and one in each hand."""
        return self.backlog.capacity + self._hands

    async def _look(self) -> None:
        """Find out within a second that the engine is away, and that it is back."""
        while True:
            try:
                if self._link.stale:
                    await self._link.reach()
                    await self._prepare()
                    log.info("engine is there again")
                await self._leases.count()
                self.backlog.observe()
            except (*AWAY, Full):
                await asyncio.sleep(min(_LOOK, max(_SOON, self._link.breaker.remaining())))
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
        own = Beat(True, 0, (), {}) if self._crew is None else self._crew.beat(serves=True)
        await self._bulletin.beat(own)
        self._beats = self._bulletin.beats() or [own]
        self.backlog.replicas = max(1, sum(beat.serves for beat in self._beats))
        hands = sum(beat.hands for beat in self._beats)
        if hands != self._hands:
            self._hands = hands
            self._door.resize(max(1, hands), self.backlog.capacity)
            with suppress(*AWAY, Full):
                await jetstream.grow(self._link, self._bound)

    # --- what the gate asks ----------------------------------------------------------------------------

    async def spend(self, client: str) -> Grant:
        return await self._limiter.spend(client)

    def quota(self, client: str) -> Quota:
        return self._limiter.local.quota(client)

    async def left(self, client: str) -> Quota:
        return await self._limiter.left(client)

    def turn_away(self, visitor: Visitor, check: Callable[[Quota], None]) -> None:
        """Only while the engine is away is a token spent without waiting."""
        if self._limiter.local.is_smooth or not self._link.breaker.remaining():
            return
        left = self._limiter.local.spend(visitor.client).quota
        check(left)

    async def reserve(self, visitor: Visitor, not_before: float, watch: Watch) -> Place:
        slot = await self._door.admit(visitor, not_before, watch, self._reopens_in)
        try:
            lease = await self._lease()
        except AWAY:
            slot.release()
            remaining = max(1.0, self._link.breaker.remaining())
            raise BreakerOpen(
                self._link.breaker.name, self._door.refuse(visitor, remaining, not_before)
            ) from None
        except BaseException:
            slot.release()
            raise
        if lease is None:
            slot.release()
            raise QueueFull(
                self._door.refuse(visitor, 1 / self.backlog.pace, not_before), self.backlog.capacity
            )
        return Berth(slot, self._leases, lease)

    async def _lease(self) -> int | None:
        """A lease that the queue has room for, or None. Raises EngineDown, BreakerOpen.

        What others do is heard a moment later, so all might fill the same places. Where this one's part is
        used up, the engine is asked what came before: the order of the leases decides.
        """
        lease = await self._leases.take()
        if lease is None or self.backlog.used * self.backlog.replicas <= self.backlog.capacity:
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

    def offer(self, place: Place, job: Job) -> Live:
        assert isinstance(place, Berth)  # noqa: S101 - an engine is given its own places only
        live = self._chronicle.begin(job, place.client)
        place.offer(live)
        self._outbox.put(live, place)
        return live

    def live(self, job_id: str) -> Live | None:
        return self._chronicle.live(job_id)

    def meet(self, job: Job) -> Live | None:
        """Accepted by a replica that could not tell of it yet, or has died."""
        self._chronicle.hear(job)
        return self._chronicle.live(job.id)

    def position(self, live: Live) -> tuple[int | None, float | None]:
        place = self._chronicle.place(live)
        return place, None if place is None else self.backlog.pacer.wait(place)

    async def cancel(self, job_id: str) -> None:
        live = self._chronicle.live(job_id)
        if live is None:
            return
        live.cancelled = True
        try:
            await self._outbox.withdraw(job_id)
            with suppress(NoRespondersError):
                await self._link.client.request(cancel_subject(job_id), timeout=5)
            await self._bulletin.post(self._chronicle.end_cancelled(live))
        except (*AWAY, Full, NatsError, OSError) as error:
            # Its record goes all the same, and a worker that has it finds that out.
            log.warning("the queue could not be told of a removal", job=job_id, reason=str(error))
            self._chronicle.end_cancelled(live)

    def snapshot(self) -> EngineSnapshot:
        """The replica's own counters; the limiter's table is what it knows; the workers are everybody's."""
        return EngineSnapshot(
            self._chronicle.counters,
            self._limiter.local.snapshot(),
            self.backlog.snapshot(),
            self._door.snapshot(),
            [worker for beat in self._beats for worker in beat.workers],
            next((beat.sandbox for beat in self._beats if beat.sandbox), {}),
            BrownoutSnapshot(active=False, begun=0, deferred=0, capacity=0),
            self._breakers.snapshot(),
            self._state,
            self.backlog.full_for,
        )
