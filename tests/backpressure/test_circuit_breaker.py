"""The circuit breaker: when it opens, whom it lets through, and which outcomes count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.circuit_breaker import CLOSED, HALF_OPEN, OPEN, BreakerOpen, CircuitBreaker, Permit
from tests.clocks import HandClock
from tests.examples import examples


class Broken(Exception):
    """What the part behind the breaker raises when it fails."""


@pytest.fixture
def clock() -> HandClock:
    return HandClock(100.0)


def breaker_of(clock: HandClock, failures: int = 3, probes: int = 1, **times: float) -> CircuitBreaker:
    """A breaker that is open for 10 s first and 35 s at the longest."""
    seconds = {"open_s": 10.0, "longest_s": 35.0, "call_s": 30.0, **times}
    return CircuitBreaker("store", failures=failures, probes=probes, clock=clock, **seconds)


def trip(breaker: CircuitBreaker) -> None:
    """Let calls fail until it is open."""
    while breaker.snapshot().state != OPEN:
        breaker.record_failure(breaker.acquire())


def rest(breaker: CircuitBreaker, clock: HandClock) -> None:
    """Let its open time pass."""
    clock.advance(breaker.remaining())
    assert breaker.snapshot().state == HALF_OPEN


def passes(breaker: CircuitBreaker, callers: int) -> list[Permit]:
    """Have so many callers try at once; the passes that were given."""
    given = []
    for _ in range(callers):
        try:
            given.append(breaker.acquire())
        except BreakerOpen:
            continue
    return given


def test_failures_in_a_row_open_it(clock: HandClock) -> None:
    """Two failures leave it closed, the third opens it, and calls are refused with the time that is left."""
    breaker = breaker_of(clock)
    for _ in range(2):
        breaker.record_failure(breaker.acquire())
        assert breaker.snapshot().state == CLOSED
    breaker.record_failure(breaker.acquire())
    clock.advance(2.5)
    with pytest.raises(BreakerOpen) as refusal:
        breaker.acquire()
    assert refusal.value.retry_after == 7.5
    assert refusal.value.name == "store"
    assert breaker.snapshot().remaining_s == 7.5


def test_a_success_breaks_the_row(clock: HandClock) -> None:
    """Failures that are not in a row do not open it, however many."""
    breaker = breaker_of(clock)
    for _ in range(50):
        breaker.record_failure(breaker.acquire())
        breaker.record_failure(breaker.acquire())
        breaker.record_success(breaker.acquire())
    assert breaker.snapshot().state == CLOSED


def test_excluded_outcomes_count_neither_way(clock: HandClock) -> None:
    """A corrupt image is no failure of the part, and no sign that it works."""
    breaker = breaker_of(clock)
    for _ in range(50):
        breaker.ignore(breaker.acquire())
    assert breaker.snapshot().state == CLOSED
    for _ in range(3):
        breaker.record_failure(breaker.acquire())
        breaker.ignore(breaker.acquire()) if breaker.snapshot().state == CLOSED else None
    assert breaker.snapshot().state == OPEN


@pytest.mark.parametrize("probes", [1, 3])
def test_half_open_it_lets_exactly_its_probes_through(clock: HandClock, probes: int) -> None:
    """Of fifty callers that wait for it to open, one or three pass; as long as these are out, nobody else."""
    breaker = breaker_of(clock, probes=probes)
    trip(breaker)
    assert passes(breaker, 50) == []
    rest(breaker, clock)
    leaves = passes(breaker, 50)
    assert len(leaves) == probes
    clock.advance(5)
    assert passes(breaker, 50) == []
    assert breaker.remaining() == 10
    for leave in leaves:
        assert breaker.snapshot().state == HALF_OPEN
        breaker.record_success(leave)
    assert breaker.snapshot().state == CLOSED
    assert len(passes(breaker, 50)) == 50


def test_one_failed_probe_opens_it_again(clock: HandClock) -> None:
    """While two probes are out, the failure of one is enough, and the success of the other comes too late."""
    breaker = breaker_of(clock, probes=2)
    trip(breaker)
    rest(breaker, clock)
    first, second = passes(breaker, 2)
    breaker.record_failure(first)
    assert breaker.snapshot().state == OPEN
    breaker.record_success(second)
    assert breaker.snapshot().state == OPEN


def test_an_excluded_probe_gives_its_place_to_another(clock: HandClock) -> None:
    """A probe that says nothing leaves it half open, with room for one more."""
    breaker = breaker_of(clock)
    trip(breaker)
    rest(breaker, clock)
    (leave,) = passes(breaker, 50)
    breaker.ignore(leave)
    assert breaker.snapshot().state == HALF_OPEN
    assert len(passes(breaker, 50)) == 1


def test_each_opening_lasts_longer_up_to_a_bound(clock: HandClock) -> None:
    """10, 20, then 35 s; once closed, it begins with 10 again."""
    breaker = breaker_of(clock)
    trip(breaker)
    lasted = [breaker.remaining()]
    for _ in range(3):
        rest(breaker, clock)
        breaker.record_failure(breaker.acquire())
        lasted.append(breaker.remaining())
    assert lasted == [10, 20, 35, 35]
    rest(breaker, clock)
    breaker.record_success(breaker.acquire())
    trip(breaker)
    assert breaker.remaining() == 10
    assert breaker.snapshot().opened == 5


def test_a_failure_that_comes_late_cannot_open_what_has_recovered(clock: HandClock) -> None:
    """Calls begun before it opened fail after it has closed again: nothing happens."""
    breaker = breaker_of(clock)
    late = passes(breaker, 10)
    trip(breaker)
    rest(breaker, clock)
    breaker.record_success(breaker.acquire())
    for leave in late:
        breaker.record_failure(leave)
    assert breaker.snapshot().state == CLOSED
    assert breaker.snapshot().failures == 0


def test_a_success_that_comes_late_cannot_close_it(clock: HandClock) -> None:
    """Calls begun before it opened succeed while it is open or half open: their time is over."""
    breaker = breaker_of(clock)
    early, late = passes(breaker, 2)
    trip(breaker)
    breaker.record_success(early)
    assert breaker.snapshot().state == OPEN
    rest(breaker, clock)
    breaker.record_success(late)
    breaker.ignore(late)
    assert breaker.snapshot().state == HALF_OPEN
    assert len(passes(breaker, 50)) == 1


def test_a_probe_that_never_ends_is_a_failure(clock: HandClock) -> None:
    """After the longest that a call may take it is open again, and what the probe says is ignored."""
    breaker = breaker_of(clock)
    trip(breaker)
    rest(breaker, clock)
    leave = breaker.acquire()
    clock.advance(29.5)
    assert breaker.remaining() == 0.5
    clock.advance(0.5)
    assert breaker.snapshot().state == OPEN
    assert breaker.remaining() == 20
    breaker.record_success(leave)
    assert breaker.snapshot().state == OPEN


def test_half_open_it_waits_for_a_caller_as_long_as_it_takes(clock: HandClock) -> None:
    """If nobody asks for an hour, the next caller is the probe."""
    breaker = breaker_of(clock)
    trip(breaker)
    clock.advance(3600)
    assert breaker.remaining() == 0
    clock.advance(3600)
    breaker.record_success(breaker.acquire())
    assert breaker.snapshot().state == CLOSED


def test_around_a_call_only_the_named_exceptions_are_failures(clock: HandClock) -> None:
    """What is raised passes through; named ones count, others do not; a return is a success."""
    breaker = breaker_of(clock, failures=1)
    with pytest.raises(ValueError, match="corrupt"), breaker.guard(Broken):
        raise ValueError("corrupt")
    with breaker.guard(Broken):
        pass
    assert breaker.snapshot().state == CLOSED
    with pytest.raises(Broken), breaker.guard(Broken):
        raise Broken
    called = False
    with pytest.raises(BreakerOpen), breaker.guard(Broken):
        called = True
    assert not called


def test_a_look_takes_no_probe(clock: HandClock) -> None:
    """Checking and snapshots leave the probe's place free."""
    breaker = breaker_of(clock)
    trip(breaker)
    with pytest.raises(BreakerOpen):
        breaker.check()
    rest(breaker, clock)
    for _ in range(10):
        breaker.check()
    assert len(passes(breaker, 50)) == 1


@pytest.mark.parametrize(
    "wrong", [{"failures": 0}, {"probes": 0}, {"open_s": 0.0}, {"open_s": 99.0}, {"call_s": 0.0}]
)
def test_senseless_numbers_are_refused(clock: HandClock, wrong: dict[str, float]) -> None:
    """A breaker that could never open, or never close, cannot be made."""
    with pytest.raises(ValueError, match="a breaker needs"):
        breaker_of(clock, **wrong)  # type: ignore[arg-type]


@examples
@given(
    probes=st.integers(1, 4),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["enter", "succeed", "fail", "exclude"]), st.integers(0, 9), st.floats(0, 15)
        ),
        max_size=80,
    ),
)
def test_no_generation_lets_more_than_its_probes_be_out(
    probes: int, steps: list[tuple[str, int, float]]
) -> None:
    """Half open, there are never more calls out than probes, in whatever order outcomes arrive."""
    clock = HandClock(0.0)
    breaker = breaker_of(clock, probes=probes)
    out: list[Permit] = []
    for action, index, pause in steps:
        clock.advance(pause)
        if action == "enter":
            out += passes(breaker, 3)
        elif out:
            leave = out.pop(index % len(out))
            {"succeed": breaker.record_success, "fail": breaker.record_failure, "exclude": breaker.ignore}[
                action
            ](leave)
        snapshot = breaker.snapshot()
        current = [leave for leave in out if leave.generation == breaker._generation]
        if snapshot.state == HALF_OPEN:
            assert len(current) <= probes
        elif snapshot.state == OPEN:
            assert current == []
            assert 0 < snapshot.remaining_s <= 35
        else:
            assert snapshot.failures < 3
