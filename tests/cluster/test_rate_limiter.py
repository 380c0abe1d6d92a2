"""The token buckets that replicas share, in a real NATS server."""

import asyncio

import pytest

from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.token_bucket import GCRA, Quota, RateLimited
from app.cluster.rate_limiter import SharedRateLimiter
from tests.clocks import HandClock
from tests.cluster.conftest import Connect
from tests.cluster.servers import NatsServer

pytestmark = pytest.mark.anyio

CLIENT = "2001:db8::/64"
SECOND = 1_000_000_000


async def limiters(connect: Connect, count: int, clock: HandClock) -> list[SharedRateLimiter]:
    """The limiters of `count` replicas, each with a burst of ten and two tokens a second."""
    made = []
    for _ in range(count):
        local = RateLimiter(GCRA.token_bucket(2, 10), 100, clock=clock)
        limiter = SharedRateLimiter(await connect(), local, clock)
        await limiter.prepare()
        made.append(limiter)
    return made


async def granted(limiters: list[SharedRateLimiter], requests: int) -> int:
    """How many of `requests` requests at once, spread over the replicas, get a token."""
    calls = [limiters[number % len(limiters)].acquire(CLIENT) for number in range(requests)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, RateLimited) for answer in answers if isinstance(answer, Exception))
    return sum(not isinstance(answer, Exception) for answer in answers)


async def test_a_bucket_is_exact_over_all_replicas(connect: Connect) -> None:
    """Replicas that take tokens at the same time get exactly the burst, then what the rate adds."""
    clock = HandClock(1_000 * SECOND)
    replicas = await limiters(connect, 4, clock)
    assert await granted(replicas, 60) == 10
    clock.advance(SECOND * 3 // 2)
    assert await granted(replicas, 20) == 3
    assert (await replicas[1].peek(CLIENT)).remaining == 0


async def test_a_bucket_continues_from_its_state_while_nats_is_away(
    connect: Connect, nats: NatsServer
) -> None:
    """The local bucket knows the tokens taken before an outage, and those taken in it count afterwards."""
    clock = HandClock(1_000 * SECOND)
    (limiter,) = await limiters(connect, 1, clock)
    assert await granted([limiter], 6) == 6
    nats.suspend()
    assert await granted([limiter], 8) == 4
    nats.resume()
    clock.advance(SECOND)
    await recovered(limiter)
    assert await granted([limiter], 8) == 2


async def test_a_bucket_written_by_a_clock_that_is_ahead_is_an_empty_one(connect: Connect) -> None:
    """A client whose tokens another replica spent ten minutes in the future waits for one token's time."""
    clock, ahead = HandClock(1_000 * SECOND), HandClock(1_600 * SECOND)
    (there,) = await limiters(connect, 1, ahead)
    assert await granted([there], 12) == 10
    (here,) = await limiters(connect, 1, clock)
    for quota in (await here.peek(CLIENT), await refused(here)):
        assert quota.remaining == 0
        assert quota.next_token_ms <= 500
    clock.advance(SECOND)
    assert (await here.peek(CLIENT)).remaining == 2
    assert await granted([here], 5) == 2


async def test_a_client_with_limits_of_its_own_has_them_on_every_replica(connect: Connect) -> None:
    """Beside its other buckets, and while NATS is away too."""
    clock = HandClock(1_000 * SECOND)
    replicas = await limiters(connect, 2, clock)
    own = GCRA.token_bucket(0.5, 3, "ticket")
    assert await granted(replicas, 12) == 10
    grants = [(await limiter.acquire("ticket:a 0.5/3", own)).quota for limiter in (*replicas, replicas[0])]
    assert [(quota.policy, quota.limit, quota.remaining) for quota in grants] == [
        ("ticket", 3, 2),
        ("ticket", 3, 1),
        ("ticket", 3, 0),
    ]
    with pytest.raises(RateLimited) as refusal:
        await replicas[1].acquire("ticket:a 0.5/3", own)
    assert refusal.value.quota.next_token_ms == 2000
    clock.advance(2 * SECOND)
    assert (await replicas[0].peek("ticket:a 0.5/3", own)).remaining == 1
    # The limits of the settings under another name are no limits of its own.
    usual = GCRA.token_bucket(2, 10, "ticket")
    assert (await replicas[0].acquire("ticket:b", usual)).quota.policy == "ticket"
    assert (await replicas[1].peek("ticket:b", usual)).remaining == 9


async def refused(limiter: SharedRateLimiter) -> Quota:
    """The quota with which a request is refused."""
    with pytest.raises(RateLimited) as refusal:
        await limiter.acquire(CLIENT)
    return refusal.value.quota


async def recovered(limiter: SharedRateLimiter) -> None:
    """Wait until the limiter's connection gets answers again."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with limiter._connection.request() as js:
                    await js.account_info()
            except Exception:
                await asyncio.sleep(0.05)
            else:
                return
