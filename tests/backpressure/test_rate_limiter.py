"""The rate limiter: exact while its table has room, fair when it is full."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.rate_limiter import Grant, RateLimiter
from app.backpressure.token_bucket import (
    GCRA,
    NANOSECONDS,
    Quota,
    RateLimited,
    TokenBucket,
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
def test_while_there_is_room_each_client_has_its_own_bucket(
    rate: float, burst: int, visits: list[tuple[str, int, bool]]
) -> None:
    """Forgetting full buckets is invisible: each answer is that of a bucket that is kept for ever."""
    clock = HandClock(10 * SECOND)
    limiter = RateLimiter(GCRA.token_bucket(rate, burst), 6, clock=clock)
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
def test_a_bucket_that_is_not_full_is_never_forgotten(burst: int, visits: list[tuple[int, int]]) -> None:
    """With far more clients than the table has room for, none gets more than its own bucket would give."""
    clock = HandClock(10 * SECOND)
    limiter = RateLimiter(GCRA.token_bucket(2, burst), 4, clock=clock)
    rest = {client: TokenBucket(2, burst, clock) for client in range(31)}
    for client, pause in visits:
        clock.advance(pause)
        if asks(limiter, str(client)):
            assert rest[client].allow()
        assert limiter.snapshot().clients <= 4


def test_peeking_spends_nothing_and_remembers_nobody() -> None:
    """A client that only asks how much it has left is not added to the table."""
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 4, clock=HandClock())
    assert limiter.peek("a") == limiter.peek("a") == Quota(10, 5, 10, 0)
    assert limiter.snapshot().clients == 0


def test_a_refusal_tells_how_long_to_wait() -> None:
    """After exactly that time there is a token."""
    clock = HandClock()
    limiter = RateLimiter(GCRA.token_bucket(3, 2), 4, clock=clock)
    assert exhaust(limiter, "a") == 2
    with pytest.raises(RateLimited) as refusal:
        limiter.acquire("a")
    assert refusal.value.quota == Quota(2, 1, 0, 334)
    assert refusal.value.retry_after == 0.334
    clock.advance(334_000_000)
    assert asks(limiter, "a")


def test_clients_do_not_touch_one_another() -> None:
    """One client's flood costs another nothing."""
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 4, clock=HandClock())
    assert exhaust(limiter, "loud") == 10
    assert limiter.peek("quiet").remaining == 10
    assert exhaust(limiter, "quiet") == 10


# --- with a full table ----------------------------------------------------------------------------------


def test_in_a_full_table_new_clients_share_one_bucket() -> None:
    """When no bucket in the table is full, all new clients together get the tokens of one."""
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 3, clock=HandClock())
    fill(limiter, "abc")
    new_clients = [f"new {number}" for number in range(25)]
    assert sum(asks(limiter, client) for client in new_clients) == 10
    assert limiter.peek("one more").remaining == 0
    snapshot = limiter.snapshot()
    assert (snapshot.clients, snapshot.capacity, snapshot.overflowing) == (3, 3, 25)


def test_in_a_full_table_known_clients_keep_their_own_buckets() -> None:
    """A flood of new addresses takes nothing from the clients that are in the table."""
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 3, clock=HandClock())
    fill(limiter, "abc")
    fill(limiter, [f"new {number}" for number in range(10)])
    assert exhaust(limiter, "a") == 9
    assert limiter.peek("b").remaining == 9


def test_a_full_bucket_makes_room_for_a_new_client() -> None:
    """When the oldest bucket is full again, half a second after its one token, a new client replaces it."""
    clock = HandClock()
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 3, clock=clock)
    fill(limiter, "abc")
    clock.advance(SECOND // 2 - 1)
    limiter.acquire("early")
    assert limiter.snapshot().overflowing == 1
    clock.advance(1)
    assert limiter.peek("late").remaining == 10
    assert exhaust(limiter, "late") == 10
    assert limiter.snapshot().overflowing == 1
    assert limiter.snapshot().clients <= 3


def test_clients_that_spent_much_do_not_block_the_table() -> None:
    """Full buckets are found even behind a few that take long to fill."""
    clock = HandClock()
    limiter = RateLimiter(GCRA.token_bucket(0.1, 100), 1000, clock=clock)
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
    """A flood of different clients, each once, never makes the table larger than its bound."""
    clock = HandClock()
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 1000, clock=clock)
    largest = 0
    for hundred in range(1000):
        clock.advance(SECOND // 1000)  # a second in all: the first bucket is full again after half of it
        for number in range(100):
            asks(limiter, f"{hundred} {number}")
        largest = max(largest, limiter.snapshot().clients)
    assert largest == 1000
    assert limiter.snapshot().overflowing > 90_000


def test_the_table_shrinks_while_it_is_used() -> None:
    """Each new client removes up to two full buckets, so a flood leaves nothing behind."""
    clock = HandClock()
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 1000, clock=clock)
    fill(limiter, map(str, range(1000)))
    clock.advance(5 * SECOND)
    for number in range(1000):
        clock.advance(SECOND)
        limiter.acquire(f"later {number}")
    assert limiter.snapshot().clients < 5


# --- limits of their own --------------------------------------------------------------------------------

LIMITS = {"a": (2.0, 3), "b": (2.0, 3), "c": (0.5, 2), "d": (7.3, 1), "e": (3.0, 5), "f": (0.001, 4)}
"""Rate and burst of each client; those of a and b are the limiter's."""


@examples
@given(visits=visits)
def test_buckets_with_limits_of_their_own_are_as_exact_as_the_others(
    visits: list[tuple[str, int, bool]],
) -> None:
    """Each is filled and forgotten by its own rate, in one table with the others."""
    clock = HandClock(10 * SECOND)
    limiter = RateLimiter(GCRA.token_bucket(2, 3), 6, clock=clock)
    own = {name: GCRA.token_bucket(*LIMITS[name], "ticket") for name in "cdef"}
    model = {name: TokenBucket(rate, burst, clock) for name, (rate, burst) in LIMITS.items()}
    for name, passes, takes in visits:
        clock.advance(abs(passes))
        if takes:
            try:
                quota = limiter.acquire(name, own.get(name)).quota
            except RateLimited as refusal:
                assert not model[name].allow()
                quota = refusal.quota
            else:
                assert model[name].allow()
            assert quota.policy == ("ticket" if name in own else "ip")
        left, right = limiter.peek(name, own.get(name)), model[name].snapshot()
        assert (left.limit, left.remaining, left.next_token_ms) == (
            right.limit,
            right.remaining,
            right.next_token_ms,
        )


def test_who_finds_no_room_shares_the_bucket_of_all_whatever_its_limits() -> None:
    """So limits of their own are no way past the bound of the table."""
    clock = HandClock(SECOND)
    limiter = RateLimiter(GCRA.token_bucket(1, 2), 3, clock=clock)
    own = GCRA.token_bucket(0.001, 100, "ticket")
    for name in "abc":
        limiter.acquire(name, own)
    assert [limiter.acquire(name, own).quota.limit for name in "de"] == [2, 2]
    with pytest.raises(RateLimited):
        limiter.acquire("f", own)
    assert limiter.peek("g", own).remaining == 0
    limiter.reconfigure(GCRA.token_bucket(5, 5))
    assert limiter.peek("a", own).remaining == 99
    assert limiter.snapshot().clients == 3


# --- as a leaky bucket ----------------------------------------------------------------------------------


def test_smooth_grants_tell_how_long_to_hold_the_request() -> None:
    """Of a crowd, floor(rate * max_delay) + 1 are taken, each held 1/rate longer, then others are refused."""
    clock = HandClock()
    limiter = RateLimiter(GCRA.leaky_bucket(2, 2), 4, smooth=True, clock=clock)
    delays = [limiter.acquire("a").delay_ns for _ in range(5)]
    assert delays == [0, SECOND // 2, SECOND, 3 * SECOND // 2, 2 * SECOND]
    with pytest.raises(RateLimited) as refusal:
        limiter.acquire("a")
    assert refusal.value.quota == Quota(5, 3, 0, 500)
