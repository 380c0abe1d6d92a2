"""The token bucket and the leaky bucket, to the nanosecond."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.backpressure.token_bucket import NANOSECONDS, LeakyBucket, Quota, TokenBucket, ceil_div
from tests.clocks import HandClock
from tests.examples import examples

SECOND = NANOSECONDS

rates = st.one_of(
    st.integers(1, 100_000).map(float),
    st.integers(1, 100_000).map(lambda thousandths: thousandths / 1000),
    st.floats(0.001, 100_000, allow_nan=False),
)
bursts = st.integers(1, 50)
moments = st.integers(0, 2**62)
pauses = st.integers(0, 5 * SECOND)


def exhaust(bucket: TokenBucket) -> int:
    """Take all tokens, one by one; how many there were."""
    taken = 0
    while bucket.allow():
        taken += 1
    return taken


def as_written(rate: float) -> Fraction:
    """The rate as a person wrote it: .1 is a tenth."""
    return Fraction(str(rate))


# --- the token bucket -----------------------------------------------------------------------------------


@examples
@given(rate=rates, burst=bursts, start=moments, visits=st.lists(st.tuples(pauses, st.integers(1, 5))))
def test_over_any_span_it_gives_at_most_burst_and_rate_times_time(
    rate: float, burst: int, start: int, visits: list[tuple[int, int]]
) -> None:
    """Between any two moments it gives no more than burst + rate * t tokens, however it is asked."""
    clock = HandClock(start)
    bucket = TokenBucket(rate, burst, clock)
    given_at: list[tuple[int, int]] = []
    for pause, n in visits:
        clock.advance(pause)
        if bucket.allow(n):
            given_at.append((clock.now, n))
    for first, (begin, _) in enumerate(given_at):
        total = 0
        for moment, n in given_at[first:]:
            total += n
            assert total <= burst + as_written(rate) * Fraction(moment - begin, SECOND)


@examples
@given(rate=rates, burst=bursts, start=moments, visits=st.lists(st.tuples(pauses, st.integers(1, 5))))
def test_it_decides_as_a_bucket_that_is_refilled_continuously(
    rate: float, burst: int, start: int, visits: list[tuple[int, int]]
) -> None:
    """One integer decides exactly as a count of tokens in rational numbers does."""
    clock = HandClock(start)
    bucket = TokenBucket(rate, burst, clock)
    tokens, seen = Fraction(burst), start
    for pause, n in visits:
        clock.advance(pause)
        tokens = min(Fraction(burst), tokens + as_written(rate) * Fraction(clock.now - seen, SECOND))
        seen = clock.now
        fits = tokens >= n
        if fits:
            tokens -= n
        assert bucket.snapshot().remaining == int(tokens + (n if fits else 0))
        assert bucket.allow(n) is fits
        assert bucket.snapshot().remaining == int(tokens)


@examples
@given(rate=rates, burst=bursts, start=moments, spent=st.integers(0, 50), data=st.data())
def test_the_wait_is_exact_to_the_nanosecond(
    rate: float, burst: int, start: int, spent: int, data: st.DataObject
) -> None:
    """After that wait there are n tokens, and a nanosecond sooner there are not."""
    n = data.draw(st.integers(1, burst))
    clock = HandClock(start)
    bucket = TokenBucket(rate, burst, clock)
    for _ in range(min(spent, burst)):
        assert bucket.allow()
    wait = bucket.wait_ns(n)
    if wait:
        clock.advance(wait - 1)
        assert not bucket.allow(n)
        clock.advance(1)
    assert bucket.wait_ns(n) == 0
    assert bucket.allow(n)


@examples
@given(rate=rates, burst=bursts, start=moments, back=st.integers(1, 2**62))
def test_a_clock_that_runs_backwards_gives_no_tokens(rate: float, burst: int, start: int, back: int) -> None:
    """Turning the clock back and forth again refills nothing."""
    clock = HandClock(start)
    bucket = TokenBucket(rate, burst, clock)
    assert exhaust(bucket) == burst
    wait = bucket.wait_ns()
    clock.advance(-back)
    assert not bucket.allow()
    assert bucket.wait_ns() == wait
    clock.advance(back)
    assert not bucket.allow()
    assert bucket.wait_ns() == wait


@examples
@given(rate=rates, burst=bursts, visits=st.lists(st.tuples(pauses, st.integers(1, 60))))
def test_a_refusal_takes_nothing(rate: float, burst: int, visits: list[tuple[int, int]]) -> None:
    """Asking an empty bucket many times neither empties it further nor delays the next token."""
    clock, patient_clock = HandClock(), HandClock()
    hammered, patient = TokenBucket(rate, burst, clock), TokenBucket(rate, burst, patient_clock)
    for pause, n in visits:
        clock.advance(pause)
        patient_clock.advance(pause)
        if hammered.allow(n):
            assert patient.allow(n)
        assert hammered.snapshot() == patient.snapshot()


def test_tokens_do_not_pile_up_beyond_the_burst() -> None:
    """After a year without a request there is one burst."""
    clock = HandClock()
    bucket = TokenBucket(2, 10, clock)
    clock.advance(365 * 86_400 * SECOND)
    assert exhaust(bucket) == 10


def test_a_tenth_is_a_tenth() -> None:
    """A rate of .1 gives a token after exactly ten seconds, though no double is exactly .1."""
    clock = HandClock()
    bucket = TokenBucket(0.1, 1, clock)
    assert exhaust(bucket) == 1
    assert bucket.wait_ns() == 10 * SECOND


def test_years_of_use_lose_no_token() -> None:
    """A client at exactly the rate is never refused, though 1/3 s is not a whole number of nanoseconds."""
    clock = HandClock(10**18)
    bucket = TokenBucket(3, 2, clock)
    assert exhaust(bucket) == 2
    for third in range(1, 3001):
        clock.now = 10**18 + ceil_div(third * SECOND, 3)
        assert bucket.allow()
        assert not bucket.allow()


def test_a_snapshot_is_a_quota() -> None:
    """Limit, seconds to fill an empty bucket, whole tokens left, and milliseconds to the next one."""
    clock = HandClock()
    bucket = TokenBucket(2, 10, clock)
    assert bucket.snapshot() == Quota(limit=10, window_s=5, remaining=10, next_token_ms=0)
    assert bucket.allow(3)
    clock.advance(60_000_001)
    assert bucket.snapshot() == Quota(limit=10, window_s=5, remaining=7, next_token_ms=440)


@pytest.mark.parametrize(("rate", "burst", "window"), [(2, 10, 5), (3, 10, 4), (0.3, 1, 4), (100, 1, 1)])
def test_the_window_is_rounded_up(rate: float, burst: int, window: int) -> None:
    """It is ceil(burst / rate), in whole seconds."""
    assert TokenBucket(rate, burst, HandClock()).snapshot().window_s == window


def test_more_tokens_than_fit_are_never_given() -> None:
    """Asking for more than the bucket holds is refused, and asking how long to wait for it is an error."""
    bucket = TokenBucket(2, 10, HandClock())
    assert not bucket.allow(11)
    assert bucket.allow(10)
    with pytest.raises(ValueError, match="11 tokens never fit a bucket of 10"):
        bucket.wait_ns(11)


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_token_cannot_be_taken(n: int) -> None:
    """Taking a negative number of tokens would add some."""
    bucket = TokenBucket(2, 10, HandClock())
    with pytest.raises(ValueError, match="one token or more"):
        bucket.allow(n)
    assert bucket.snapshot().remaining == 10


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_that_would_never_give_a_token_raises_at_once(rate: float, burst: int) -> None:
    """A rate of 0, or no room for one token, is a configuration error."""
    with pytest.raises(ValueError, match="rate above 0 and room for one token"):
        TokenBucket(rate, burst, HandClock())


# --- the leaky bucket -----------------------------------------------------------------------------------


@examples
@given(rate=rates, max_delay=st.integers(0, 5000).map(lambda ms: ms / 1000), visits=st.lists(pauses))
def test_held_requests_pass_evenly(rate: float, max_delay: float, visits: list[int]) -> None:
    """Requests that wait as long as they were told pass 1/rate apart, within a nanosecond."""
    clock = HandClock()
    bucket = LeakyBucket(rate, max_delay, clock)
    passing = []
    for pause in visits:
        clock.advance(pause)
        delay = bucket.delay_ns()
        if delay is not None:
            assert delay <= max_delay * SECOND + 1
            passing.append(clock.now + delay)
    for k, (earlier, later) in enumerate(pairwise(passing)):
        assert later - earlier > SECOND / as_written(rate) - 1
        # Rounding errors do not add up: over many requests the spacing is as exact as over two.
        assert later - passing[0] > (k + 1) * SECOND / as_written(rate) - 1


@examples
@given(rate=st.sampled_from([1.0, 2.0, 4.0, 5.0, 8.0, 1000.0]), visits=st.lists(pauses, min_size=2))
def test_spacing_is_exact_for_whole_nanoseconds(rate: float, visits: list[int]) -> None:
    """When 1/rate is a whole number of nanoseconds, no two requests pass closer than that."""
    clock = HandClock()
    bucket = LeakyBucket(rate, 2, clock)
    passing = []
    for pause in visits:
        clock.advance(pause)
        delay = bucket.delay_ns()
        if delay is not None:
            passing.append(clock.now + delay)
    assert all(b - a >= SECOND / rate for a, b in pairwise(passing))


@examples
@given(rate=rates, max_delay=st.integers(0, 5000).map(lambda ms: ms / 1000))
def test_a_crowd_is_held_up_to_the_longest_delay(rate: float, max_delay: float) -> None:
    """Of a crowd at one moment floor(rate * max_delay) + 1 are taken, and the quota has that limit."""
    assume(rate * max_delay < 1000)
    bucket = LeakyBucket(rate, max_delay, HandClock())
    limit = int(as_written(rate) * as_written(max_delay)) + 1
    assert bucket.snapshot().limit == limit
    assert sum(bucket.delay_ns() is not None for _ in range(limit + 3)) == limit


def test_allow_refuses_what_would_have_to_be_held() -> None:
    """The second request at one moment is refused by `allow()`, though it could be held."""
    clock = HandClock()
    bucket = LeakyBucket(2, 2, clock)
    assert bucket.allow()
    assert not bucket.allow()
    clock.advance(SECOND // 2 - 1)
    assert not bucket.allow()
    clock.advance(1)
    assert bucket.allow()
