"""The parts that replicas share, against a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from app.backpressure.circuit_breaker import CLOSED, OPEN
from app.backpressure.drain_rate import DrainRate
from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.token_bucket import RateLimited, token_bucket_gcra
from app.cluster.connection import EngineDown, NatsConnection, StreamFull
from app.cluster.factory import engine_breaker
from app.cluster.jetstream import grow, job_subject, prepare
from app.cluster.job_registry import JobRegistry
from app.cluster.job_status import JobStatusStore
from app.cluster.leases import Leases
from app.cluster.outbox import Outbox, Reconciler
from app.cluster.rate_limiter import SharedRateLimiter
from app.cluster.upload_queue import SharedUploadQueue
from app.job import new_id
from app.runtime.metrics import Histograms
from app.storage.local.store import LocalStore
from tests.clocks import HandClock
from tests.cluster.servers import NatsServer
from tests.storage.jobs import DAY, accepted, finished

pytestmark = pytest.mark.anyio

Join = Callable[[], Awaitable[NatsConnection]]
SECOND = 1_000_000_000


@pytest.fixture
async def join(nats: NatsServer) -> AsyncIterator[Join]:
    """Connects replicas, whose queue has 20 places and whose dock has 5."""
    links = []

    async def one() -> NatsConnection:
        connection = NatsConnection([nats.url], engine_breaker())
        await connection.open()
        links.append(connection)
        await prepare(connection, 20, 5, 60)
        return connection

    yield one
    for connection in links:
        await connection.close()


async def limiters(join: Join, count: int, clock: HandClock) -> list[SharedRateLimiter]:
    """So many replicas' limiters: ten at once, two a second."""
    found = []
    for _ in range(count):
        limiter = SharedRateLimiter(
            await join(), RateLimiter(token_bucket_gcra(2, 10), 100, clock=clock), clock
        )
        await limiter.prepare()
        found.append(limiter)
    return found


async def granted(limiters: list[SharedRateLimiter], asked: int) -> int:
    """How many of so many requests at once, spread over the replicas, get a token."""
    spendings = [limiters[number % len(limiters)].acquire("2001:db8::/64") for number in range(asked)]
    answers = await asyncio.gather(*spendings, return_exceptions=True)
    assert all(isinstance(answer, RateLimited) for answer in answers if isinstance(answer, Exception))
    return sum(not isinstance(answer, Exception) for answer in answers)


async def test_a_bucket_is_exact_however_many_replicas_spend_from_it(join: Join) -> None:
    """The law is that of one machine: what comes back comes back evenly, not all at once."""
    clock = HandClock(1_000 * SECOND)
    replicas = await limiters(join, 4, clock)
    assert await granted(replicas, 60) == 10
    clock.advance(SECOND * 3 // 2)
    assert await granted(replicas, 20) == 3
    assert (await replicas[1].peek("2001:db8::/64")).remaining == 0


async def test_a_bucket_goes_on_from_where_it_was_when_the_engine_is_away(
    join: Join, nats: NatsServer
) -> None:
    """Falling back to the local table is no gift; what is spent there counts when the engine is back."""
    clock = HandClock(1_000 * SECOND)
    (limiter,) = await limiters(join, 1, clock)
    assert await granted([limiter], 6) == 6
    nats.hang()
    assert await granted([limiter], 8) == 4
    nats.resume()
    clock.advance(SECOND)
    await recovered(limiter)
    assert await granted([limiter], 8) == 2


async def recovered(limiter: SharedRateLimiter) -> None:
    """Wait until the engine is asked again."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with limiter._connection.request() as js:
                    await js.account_info()
            except Exception:
                await asyncio.sleep(0.05)
            else:
                return


async def test_places_are_bounded_exactly_for_all_replicas(join: Join) -> None:
    """Five leases are out, whoever asks, until one comes back."""
    replicas = [Leases(await join()) for _ in range(3)]
    taken = await asyncio.gather(*(replicas[number % 3].take() for number in range(30)))
    assert sum(lease is not None for lease in taken) == 5
    await replicas[0].count()
    own = [lease for lease in taken[::3] if lease is not None]
    assert replicas[0].elsewhere == 5 - len(own)
    holder, lease = next((number % 3, lease) for number, lease in enumerate(taken) if lease is not None)
    replicas[holder].give_back(lease)
    await asyncio.gather(*replicas[holder]._returning)
    assert await replicas[1].take() is not None
    assert await replicas[2].take() is None


async def test_the_order_of_leases_decides_who_fits_into_the_queue(join: Join) -> None:
    """Three uploads, at three replicas, for the last two places."""
    links = [await join() for _ in range(3)]
    for _ in range(18):
        assert await publish(links[0], new_id())
    replicas = [Leases(connection) for connection in links]
    taken = [await replica.take() for replica in replicas]
    fits = [await replica.fits(lease or 0, 20) for replica, lease in zip(replicas, taken, strict=True)]
    assert fits == [True, True, False]
    replicas[0].give_back(taken[0] or 0)
    await asyncio.gather(*replicas[0]._returning)
    assert await replicas[2].fits(taken[2] or 0, 20)


async def publish(connection: NatsConnection, job_id: str) -> bool | None:
    """Put a job into the queue; False when there is no room, None when it is there already."""
    try:
        async with connection.request(5) as js:
            await js.publish(job_subject(job_id))
    except StreamFull as full:
        return None if full.subject else False
    return True


async def test_the_queue_is_bounded_exactly_and_has_no_job_twice(join: Join) -> None:
    """The server itself refuses, and tells a full queue from a job that it has."""
    links = [await join() for _ in range(4)]
    jobs = [new_id() for _ in range(50)]
    first = await asyncio.gather(*(publish(links[i % 4], job) for i, job in enumerate(jobs)))
    assert (first.count(True), first.count(False)) == (20, 30)
    again = await asyncio.gather(*(publish(links[i % 4], job) for i, job in enumerate(jobs)))
    assert [answer is None for answer in again] == [answer is True for answer in first]


async def test_an_engine_that_hangs_is_found_out_within_a_second(join: Join, nats: NatsServer) -> None:
    """Two questions in vain open the breaker, but not two that waited side by side."""
    connection = await join()
    loop = asyncio.get_running_loop()

    async def ask() -> None:
        with pytest.raises(EngineDown):
            async with connection.request() as js:
                await js.account_info()

    nats.hang()
    started = loop.time()
    await asyncio.gather(*(ask() for _ in range(20)))
    assert connection.breaker.snapshot().state == CLOSED
    await ask()
    assert connection.breaker.snapshot().state == OPEN
    assert loop.time() - started < 1
    nats.resume()


async def test_a_smaller_queue_drops_no_job(join: Join) -> None:
    """A server would forget what is beyond a new bound, so a bound only grows."""
    connection = await join()
    jobs = [new_id() for _ in range(20)]
    assert all([await publish(connection, job) for job in jobs])
    await grow(connection, 5)
    assert [await publish(connection, job) for job in jobs] == [None] * 20
    await grow(connection, 21)
    assert await publish(connection, new_id())


async def test_a_job_that_has_ended_does_not_stay_in_the_queue(join: Join, tmp_path: Path) -> None:
    """A server that was killed may bring back what was acknowledged: it would hold a place for ever."""
    connection = await join()
    store = LocalStore(tmp_path / "data", 10**9, DAY)
    await store.open()
    try:
        jobs = [await finished(store), await accepted(store)]
        for job in jobs:
            assert await publish(connection, job.id)
        upload_queue = SharedUploadQueue(20, 5, 5, DrainRate(1, 5), max_wait=60)
        outbox = Outbox(connection, JobStatusStore(connection))
        await Reconciler(JobRegistry(upload_queue, Histograms()), store, outbox).tidy()
        assert await outbox.queued() == [jobs[1].id]
    finally:
        await store.close()
