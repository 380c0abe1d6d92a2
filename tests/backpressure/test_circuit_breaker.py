"""The circuit breaker: when it opens, which calls pass, and which outcomes count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.circuit_breaker import BreakerOpen, BreakerState, CircuitBreaker, Permit
from tests.clocks import HandClock
from tests.examples import examples


class Broken(Exception):
    """What the dependency raises when it fails."""


@pytest.fixture
def clock() -> HandClock:
    return HandClock(100.0)


def breaker_of(
    clock: HandClock, failure_threshold: int = 3, probes: int = 1, **times: float
) -> CircuitBreaker:
    """A breaker that is open for 10 s at first and for 35 s at most."""
    seconds = {"open_s": 10.0, "max_open_s": 35.0, "call_timeout_s": 30.0, **times}
    return CircuitBreaker("store", failure_threshold=failure_threshold, probes=probes, clock=clock, **seconds)


def trip(breaker: CircuitBreaker) -> None:
    """Let calls fail until it is open."""
    while breaker.snapshot().state != BreakerState.OPEN:
        breaker.record_failure(breaker.acquire())


def wait_until_half_open(breaker: CircuitBreaker, clock: HandClock) -> None:
    """Let the time pass for which it is open."""
    clock.advance(breaker.remaining())
    assert breaker.snapshot().state == BreakerState.HALF_OPEN


def try_calls(breaker: CircuitBreaker, callers: int) -> list[Permit]:
    """Have so many callers try at once; the permits that were given."""
    permits = []
    for _ in range(callers):
        try:
            permits.append(breaker.acquire())
        except BreakerOpen:
            continue
    return permits


def test_failures_in_a_row_open_it(clock: HandClock) -> None:
    """Two failures leave it closed, the third opens it, and calls are refused with the time that is left."""
    breaker = breaker_of(clock)
    for _ in range(2):
        breaker.record_failure(breaker.acquire())
        assert breaker.snapshot().state == BreakerState.CLOSED
    breaker.record_failure(breaker.acquire())
    clock.advance(2.5)
    with pytest.raises(BreakerOpen) as refusal:
        breaker.acquire()
    assert refusal.value.retry_after == 7.5
    assert refusal.value.name == "store"
    assert breaker.snapshot().remaining_s == 7.5


def test_a_success_ends_a_run_of_failures(clock: HandClock) -> None:
    """Failures that are not in a row do not open it, however many."""
    breaker = breaker_of(clock)
    for _ in range(50):
        breaker.record_failure(breaker.acquire())
        breaker.record_failure(breaker.acquire())
        breaker.record_success(breaker.acquire())
    assert breaker.snapshot().state == BreakerState.CLOSED


def test_ignored_outcomes_count_neither_way(clock: HandClock) -> None:
    """They neither open it nor end a run of failures."""
    breaker = breaker_of(clock)
    for _ in range(50):
        breaker.ignore(breaker.acquire())
    assert breaker.snapshot().state == BreakerState.CLOSED
    for _ in range(3):
        breaker.record_failure(breaker.acquire())
        if breaker.snapshot().state == BreakerState.CLOSED:
            breaker.ignore(breaker.acquire())
    assert breaker.snapshot().state == BreakerState.OPEN


@pytest.mark.parametrize("probes", [1, 3])
def test_half_open_it_lets_exactly_its_probes_through(clock: HandClock, probes: int) -> None:
    """Of fifty callers one or three pass, and no other while their calls are under way."""
    breaker = breaker_of(clock, probes=probes)
    trip(breaker)
    assert try_calls(breaker, 50) == []
    wait_until_half_open(breaker, clock)
    permits = try_calls(breaker, 50)
    assert len(permits) == probes
    clock.advance(5)
    assert try_calls(breaker, 50) == []
    assert breaker.remaining() == 10
    for permit in permits:
        assert breaker.snapshot().state == BreakerState.HALF_OPEN
        breaker.record_success(permit)
    assert breaker.snapshot().state == BreakerState.CLOSED
    assert len(try_calls(breaker, 50)) == 50


def test_one_failed_probe_opens_it_again(clock: HandClock) -> None:
    """The failure of one of two probes is enough, and the success of the other comes too late."""
    breaker = breaker_of(clock, probes=2)
    trip(breaker)
    wait_until_half_open(breaker, clock)
    first, second = try_calls(breaker, 2)
    breaker.record_failure(first)
    assert breaker.snapshot().state == BreakerState.OPEN
    breaker.record_success(second)
    assert breaker.snapshot().state == BreakerState.OPEN


def test_another_call_takes_the_place_of_an_ignored_probe(clock: HandClock) -> None:
    """A probe with an ignored outcome leaves the breaker half-open, with room for one more."""
    breaker = breaker_of(clock)
    trip(breaker)
    wait_until_half_open(breaker, clock)
    (permit,) = try_calls(breaker, 50)
    breaker.ignore(permit)
    assert breaker.snapshot().state == BreakerState.HALF_OPEN
    assert len(try_calls(breaker, 50)) == 1


def test_each_opening_lasts_twice_as_long_up_to_a_bound(clock: HandClock) -> None:
    """10, 20, then 35 s; after it has closed, it begins with 10 s again."""
    breaker = breaker_of(clock)
    trip(breaker)
    lasted = [breaker.remaining()]
    for _ in range(3):
        wait_until_half_open(breaker, clock)
        breaker.record_failure(breaker.acquire())
        lasted.append(breaker.remaining())
    assert lasted == [10, 20, 35, 35]
    wait_until_half_open(breaker, clock)
    breaker.record_success(breaker.acquire())
    trip(breaker)
    assert breaker.remaining() == 10
    assert breaker.snapshot().opened == 5


def test_a_late_failure_cannot_open_a_breaker_that_has_closed_since(clock: HandClock) -> None:
    """Calls that began before it opened fail after it has closed again: nothing happens."""
    breaker = breaker_of(clock)
    late = try_calls(breaker, 10)
    trip(breaker)
    wait_until_half_open(breaker, clock)
    breaker.record_success(breaker.acquire())
    for permit in late:
        breaker.record_failure(permit)
    assert breaker.snapshot().state == BreakerState.CLOSED
    assert breaker.snapshot().failures == 0


def test_a_late_success_cannot_close_it(clock: HandClock) -> None:
    """Calls that began before it opened succeed while it is open or half-open: they no longer count."""
    breaker = breaker_of(clock)
    early, late = try_calls(breaker, 2)
    trip(breaker)
    breaker.record_success(early)
    assert breaker.snapshot().state == BreakerState.OPEN
    wait_until_half_open(breaker, clock)
    breaker.record_success(late)
    breaker.ignore(late)
    assert breaker.snapshot().state == BreakerState.HALF_OPEN
    assert len(try_calls(breaker, 50)) == 1


def test_a_probe_that_never_ends_is_a_failure(clock: HandClock) -> None:
    """After the timeout of a call it is open again, and the outcome of the probe no longer counts."""
    breaker = breaker_of(clock)
    trip(breaker)
    wait_until_half_open(breaker, clock)
    permit = breaker.acquire()
    clock.advance(29.5)
    assert breaker.remaining() == 0.5
    clock.advance(0.5)
    assert breaker.snapshot().state == BreakerState.OPEN
    assert breaker.remaining() == 20
    breaker.record_success(permit)
    assert breaker.snapshot().state == BreakerState.OPEN


def test_a_probe_that_succeeded_is_not_timed_out(clock: HandClock) -> None:
    """When one of two probes has succeeded and nobody calls for an hour, the next caller is the second."""
    breaker = breaker_of(clock, probes=2)
    trip(breaker)
    wait_until_half_open(breaker, clock)
    breaker.record_success(breaker.acquire())
    clock.advance(3600)
    assert breaker.snapshot().state == BreakerState.HALF_OPEN
    breaker.record_success(breaker.acquire())
    assert breaker.snapshot().state == BreakerState.CLOSED


def test_half_open_it_waits_for_a_caller_without_limit(clock: HandClock) -> None:
    """If nobody calls for an hour, the next caller is the probe."""
    breaker = breaker_of(clock)
    trip(breaker)
    clock.advance(3600)
    assert breaker.remaining() == 0
    clock.advance(3600)
    breaker.record_success(breaker.acquire())
    assert breaker.snapshot().state == BreakerState.CLOSED


def test_a_guard_counts_only_the_named_exceptions_as_failures(clock: HandClock) -> None:
    """All exceptions pass through; named ones are failures, others are ignored, a return is a success."""
    breaker = breaker_of(clock, failure_threshold=1)
    with pytest.raises(ValueError, match="corrupt"), breaker.guard(Broken):
        raise ValueError("corrupt")
    with breaker.guard(Broken):
        pass
    assert breaker.snapshot().state == BreakerState.CLOSED
    with pytest.raises(Broken), breaker.guard(Broken):
        raise Broken
    called = False
    with pytest.raises(BreakerOpen), breaker.guard(Broken):
        called = True
    assert not called


def test_a_check_is_not_a_probe(clock: HandClock) -> None:
    """Checks and snapshots do not count as calls."""
    breaker = breaker_of(clock)
    trip(breaker)
    with pytest.raises(BreakerOpen):
        breaker.check()
    wait_until_half_open(breaker, clock)
    for _ in range(10):
        breaker.check()
    assert len(try_calls(breaker, 50)) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"failure_threshold": 0}, {"probes": 0}, {"open_s": 0.0}, {"open_s": 99.0}, {"call_timeout_s": 0.0}],
)
def test_senseless_numbers_are_refused(clock: HandClock, wrong: dict[str, float]) -> None:
    """A breaker that could never open or never close raises at once."""
    with pytest.raises(ValueError, match="a breaker needs"):
        breaker_of(clock, **wrong)  # type: ignore[arg-type]


@examples
@given(
    probes=st.integers(1, 4),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["acquire", "succeed", "fail", "ignore"]), st.integers(0, 9), st.floats(0, 15)
        ),
        max_size=80,
    ),
)
def test_never_more_probes_are_under_way_than_allowed(
    probes: int, steps: list[tuple[str, int, float]]
) -> None:
    """However calls and their outcomes interleave, the half-open state keeps its bound."""
    clock = HandClock(0.0)
    breaker = breaker_of(clock, probes=probes)
    out: list[Permit] = []
    for action, index, pause in steps:
        clock.advance(pause)
        if action == "acquire":
            out += try_calls(breaker, 3)
        elif out:
            permit = out.pop(index % len(out))
            {"succeed": breaker.record_success, "fail": breaker.record_failure, "ignore": breaker.ignore}[
                action
            ](permit)
        snapshot = breaker.snapshot()
        current = [permit for permit in out if permit.generation == breaker._generation]
        if snapshot.state == BreakerState.HALF_OPEN:
            assert len(current) <= probes
        elif snapshot.state == BreakerState.OPEN:
            assert current == []
            assert 0 < snapshot.remaining_s <= 35
        else:
            assert snapshot.failures < 3


def test_each_change_of_state_is_told_with_what_opened_it(clock: HandClock) -> None:
    """A listener hears of every one, in order, and why it opened."""
    breaker, heard = breaker_of(clock, failure_threshold=1), []
    breaker.on_state_change = lambda change: heard.append((change.before, change.after, change.reason))
    for _ in range(2):
        with pytest.raises(Broken), breaker.guard(Broken):
            raise Broken("disk on fire")
        wait_until_half_open(breaker, clock)
    breaker.record_success(breaker.acquire())
    closed, opened, half_open = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
    assert heard == [
        (closed, opened, "disk on fire"),
        (opened, half_open, ""),
        (half_open, opened, "disk on fire"),
        (opened, half_open, ""),
        (half_open, closed, ""),
    ]
