"""The table of buckets: exact below its bound, fair at it."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.rate_limiter import Grant, RateLimiter
from app.backpressure.token_bucket import (
    NANOSECONDS,
    Quota,
    RateLimited,
    TokenBucket,
    leaky_bucket_gcra,
    token_bucket_gcra,
)
from tests.clocks import HandClock
from tests.examples import examples

SECOND = NANOSECONDS


def asks(limiter: RateLimiter, client: str) -> bool:
    """Whether the client gets a token."""
    try:
        limiter.acquire(client)
    except RateLimited:
        return False
    return True


def exhaust(limiter: RateLimiter, client: str) -> int:
    """Take all that the client has; how many there were."""
    taken = 0
    while asks(limiter, client):
        taken += 1
    return taken


def fill(limiter: RateLimiter, clients: Iterable[str]) -> None:
    """Have each client spend a token."""
    for client in clients:
        limiter.acquire(client)


visits = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(-SECOND, 3 * SECOND), st.booleans()), max_size=60
)


@examples
@given(rate=st.sampled_from([0.5, 2.0, 3.0, 7.3]), burst=st.integers(1, 5), visits=visits)
def test_below_its_bound_it_is_a_dict_of_buckets(
    rate: float, burst: int, visits: list[tuple[str, int, bool]]
) -> None:
    """Forgetting full buckets is invisible: every answer is that of one bucket per client kept for ever."""
    clock = HandClock(10 * SECOND)
    limiter = RateLimiter(token_bucket_gcra(rate, burst), 6, clock=clock)
    latest = clock.now
    steady = HandClock(clock.now)
    buckets = {client: TokenBucket(rate, burst, steady) for client in "abcdef"}
    for client, pause, looks in visits:
        clock.advance(pause)
        latest = steady.now = max(latest, clock.now)
        bucket = buckets[client]
        if looks:
            assert limiter.peek(client) == bucket.snapshot()
            continue
        if bucket.allow():
            assert limiter.acquire(client) == Grant(bucket.snapshot(), delay_ns=0)
        else:
            with pytest.raises(RateLimited) as refusal:
                limiter.acquire(client)
            assert refusal.value.quota == bucket.snapshot()


@examples
@given(burst=st.integers(1, 4), visits=st.lists(st.tuples(st.integers(0, 30), st.integers(0, SECOND))))
def test_a_bucket_that_owes_is_never_forgotten(burst: int, visits: list[tuple[int, int]]) -> None:
    """With far more clients than places, nobody gets more than one bucket would have given it."""
    clock = HandClock(10 * SECOND)
    limiter = RateLimiter(token_bucket_gcra(2, burst), 4, clock=clock)
    rest = {client: TokenBucket(2, burst, clock) for client in range(31)}
    for client, pause in visits:
        clock.advance(pause)
        if asks(limiter, str(client)):
            assert rest[client].allow()
        assert limiter.snapshot().clients <= 4


def test_reading_a_quota_spends_nothing_and_remembers_nobody() -> None:
    """A client that only asks how much it has left takes no place in the table."""
    limiter = RateLimiter(token_bucket_gcra(2, 10), 4, clock=HandClock())
    assert limiter.peek("a") == limiter.peek("a") == Quota(10, 5, 10, 0)
    assert limiter.snapshot().clients == 0


def test_a_refusal_carries_its_remedy() -> None:
    """Waiting as long as the refusal says is enough."""
    clock = HandClock()
    limiter = RateLimiter(token_bucket_gcra(3, 2), 4, clock=clock)
    assert exhaust(limiter, "a") == 2
    with pytest.raises(RateLimited) as refusal:
        limiter.acquire("a")
    assert refusal.value.quota == Quota(2, 1, 0, 334)
    assert refusal.value.retry_after == 0.334
    clock.advance(334_000_000)
    assert asks(limiter, "a")


def test_clients_do_not_touch_one_another() -> None:
    """One client's flood costs another nothing."""
    limiter = RateLimiter(token_bucket_gcra(2, 10), 4, clock=HandClock())
    assert exhaust(limiter, "loud") == 10
    assert limiter.peek("quiet").remaining == 10
    assert exhaust(limiter, "quiet") == 10


# --- at the bound ---------------------------------------------------------------------------------------


def test_at_the_bound_newcomers_share_one_bucket() -> None:
    """When every place is taken by a client that owes, all newcomers together get one bucket's worth."""
    limiter = RateLimiter(token_bucket_gcra(2, 10), 3, clock=HandClock())
    fill(limiter, "abc")
    newcomers = [f"newcomer {number}" for number in range(25)]
    assert sum(asks(limiter, newcomer) for newcomer in newcomers) == 10
    assert limiter.peek("one more").remaining == 0
    snapshot = limiter.snapshot()
    assert (snapshot.clients, snapshot.capacity, snapshot.overflowing) == (3, 3, 25)


def test_at_the_bound_the_known_keep_their_own_buckets() -> None:
    """A flood of new addresses takes nothing from the clients that are in the table."""
    limiter = RateLimiter(token_bucket_gcra(2, 10), 3, clock=HandClock())
    fill(limiter, "abc")
    fill(limiter, [f"newcomer {number}" for number in range(10)])
    assert exhaust(limiter, "a") == 9
    assert limiter.peek("b").remaining == 9


def test_a_place_is_free_again_when_its_client_owes_nothing() -> None:
    """Once the oldest bucket is full again, half a second after its one token, a newcomer gets its place."""
    clock = HandClock()
    limiter = RateLimiter(token_bucket_gcra(2, 10), 3, clock=clock)
    fill(limiter, "abc")
    clock.advance(SECOND // 2 - 1)
    limiter.acquire("early")
    assert limiter.snapshot().overflowing == 1
    clock.advance(1)
    assert limiter.peek("late").remaining == 10
    assert exhaust(limiter, "late") == 10
    assert limiter.snapshot().overflowing == 1
    assert limiter.snapshot().clients <= 3


def test_those_who_owe_long_keep_no_place_from_others() -> None:
    """Behind a few who spent all that they had, the buckets that are whole again are found all the same."""
    clock = HandClock()
    limiter = RateLimiter(token_bucket_gcra(0.1, 100), 1000, clock=clock)
    greedy = [f"greedy {number}" for number in range(3)]
    assert [exhaust(limiter, client) for client in greedy] == [100, 100, 100]
    for number in range(997):
        clock.advance(SECOND // 50)
        limiter.acquire(f"once {number}")
    assert limiter.snapshot().clients == 1000
    assert limiter.peek("late").remaining == 100
    assert exhaust(limiter, "late") == 100
    assert limiter.snapshot().overflowing == 0
    assert [exhaust(limiter, client) for client in greedy] == [1, 1, 1]


def test_a_hundred_thousand_addresses_stay_within_the_table() -> None:
    """A flood of distinct clients, each once, never makes the table larger than its bound."""
    clock = HandClock()
    limiter = RateLimiter(token_bucket_gcra(2, 10), 1000, clock=clock)
    largest = 0
    for hundred in range(1000):
        clock.advance(SECOND // 1000)  # a second in all: the first bucket is full again after half of it
        for number in range(100):
            asks(limiter, f"{hundred} {number}")
        largest = max(largest, limiter.snapshot().clients)
    assert largest == 1000
    assert limiter.snapshot().overflowing > 90_000


def test_the_table_shrinks_while_it_is_used() -> None:
    """Each newcomer clears two places whose clients are whole again, so a flood leaves nothing behind."""
    clock = HandClock()
    limiter = RateLimiter(token_bucket_gcra(2, 10), 1000, clock=clock)
    fill(limiter, map(str, range(1000)))
    clock.advance(5 * SECOND)
    for number in range(1000):
        clock.advance(SECOND)
        limiter.acquire(f"later {number}")
    assert limiter.snapshot().clients < 5


# --- as a leaky bucket ----------------------------------------------------------------------------------


def test_smooth_grants_tell_how_long_to_hold() -> None:
    """A leaky limiter takes a crowd of floor(rate * max_delay) + 1, each held 1/rate longer, then refuses."""
    clock = HandClock()
    limiter = RateLimiter(leaky_bucket_gcra(2, 2), 4, smooth=True, clock=clock)
    delays = [limiter.acquire("a").delay_ns for _ in range(5)]
    assert delays == [0, SECOND // 2, SECOND, 3 * SECOND // 2, 2 * SECOND]
    with pytest.raises(RateLimited) as refusal:
        limiter.acquire("a")
    assert refusal.value.quota == Quota(5, 3, 0, 500)
