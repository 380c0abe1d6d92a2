"""The engine of one machine: an asyncio.Queue and worker processes of this very process."""

from app.backlog import Backlog, Slot
from app.breaker import Breakers
from app.bucket import Quota
from app.engine import Draining, EngineSnapshot, Place
from app.foreman import Foreman
from app.job import Job
from app.limiter import Grant, Limiter
from app.live import Live


class LocalEngine:
    """What the gate asks and the pages show; the work itself is the foreman's."""

    def __init__(
        self,
        limiter: Limiter,
        backlog: Backlog[Live],
        foreman: Foreman,
        breakers: Breakers,
        *,
        drain_timeout: float,
    ) -> None:
        """`drain_timeout`, in seconds, is what those who come during a drain are told to wait."""
        self.backlog = backlog
        self._limiter = limiter
        self._foreman = foreman
        self._breakers = breakers
        self._drain_timeout = drain_timeout
        self._state = "starting"

    async def start(self) -> None:
        await self._foreman.start()
        self._state = "ready"

    async def drain(self, timeout: float) -> None:
        self._state = "draining"
        await self._foreman.drain(timeout)

    async def stop(self) -> None:
        self._state = "draining"
        await self._foreman.stop()

    async def spend(self, client: str) -> Grant:
        return self._limiter.spend(client)

    def quota(self, client: str) -> Quota:
        return self._limiter.quota(client)

    def check_share(self, client: str) -> None:
        self.backlog.check_share(client)

    def check_open(self) -> None:
        if self._state == "draining":
            raise Draining(max(1.0, self._drain_timeout))
        self._breakers.workers.check()
        self._breakers.store.check()

    async def reserve(self, client: str, not_before: float) -> Place:
        self.backlog.check_room(not_before)
        return self.backlog.reserve(client)

    @property
    def dock_full(self) -> bool:
        return self.backlog.dock_full

    def offer(self, place: Place, job: Job) -> Live:
        assert isinstance(place, Slot)  # noqa: S101 - an engine is given its own places only
        live = self._foreman.accept(job, place.client)
        place.offer(live)
        return live

    def live(self, job_id: str) -> Live | None:
        return self._foreman.live(job_id)

    def position(self, live: Live) -> tuple[int | None, float | None]:
        place = self.backlog.position(live)
        return place, self._foreman.wait(live, place)

    async def cancel(self, job_id: str) -> None:
        live = self._foreman.live(job_id)
        if live is not None:
            await self._foreman.cancel(live)

    def snapshot(self) -> EngineSnapshot:
        pool = self._foreman.pool
        return EngineSnapshot(
            self._foreman.counters,
            self._limiter.snapshot(),
            self.backlog.snapshot(),
            pool.snapshot(),
            pool.sandbox,
            self._foreman.brownout(),
            self._breakers.snapshot(),
            self._state,
            self.backlog.full_for,
        )
