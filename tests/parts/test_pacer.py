"""How fast the queue drains, and turns handed out at that pace."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pacer import Pacer
from tests.parts.clocks import HandClock
from tests.parts.examples import examples


def measured(workers: int, job_s: float, clock: HandClock) -> Pacer:
    """A pacer that has seen many jobs of one length."""
    pacer = Pacer(workers, clock=clock)
    for _ in range(20):
        pacer.record(job_s)
    return pacer


@examples
@given(st.lists(st.floats(0.001, 30), min_size=1, max_size=100), st.integers(1, 64))
def test_the_rate_is_made_of_busy_seconds(busy: list[float], workers: int) -> None:
    """At first it is the plain mean: so many workers, each so many seconds with a job."""
    pacer = Pacer(workers, clock=HandClock())
    for seconds in busy:
        pacer.record(seconds)
    assert pacer.rate == pytest.approx(workers * len(busy) / sum(busy))


def test_before_the_first_job_a_guess_is_believed() -> None:
    """It knows nothing yet but must answer; the first measurement replaces the guess."""
    pacer = Pacer(4, job_s=0.5, clock=HandClock())
    assert pacer.rate == 8
    pacer.record(2.0)
    assert pacer.rate == 2


def test_old_measurements_fade() -> None:
    """After a change of the load the rate is the new one's, a few thousand jobs on."""
    pacer = measured(1, 10.0, HandClock())
    for _ in range(5000):
        pacer.record(0.1)
    assert pacer.rate == pytest.approx(10, rel=0.01)


def test_an_idle_hour_teaches_it_nothing() -> None:
    """Time in which nothing leaves is no slowness."""
    clock = HandClock(0.0)
    pacer = measured(4, 0.5, clock)
    before = pacer.rate
    clock.advance(3600)
    assert pacer.rate == before == 8
    assert pacer.turn(1) == pytest.approx(1 / 8)


def test_jobs_that_take_no_time_are_no_infinite_rate() -> None:
    """A job counts a millisecond at least, whatever the clock says."""
    pacer = Pacer(2, clock=HandClock())
    pacer.record(0)
    pacer.record(-5)
    assert pacer.rate == pytest.approx(2000)


@examples
@given(st.integers(1, 200), st.integers(1, 16), st.floats(0.01, 1))
def test_each_of_the_refused_gets_the_next_moment(refused: int, workers: int, job_s: float) -> None:
    """At one moment no two are told the same time; they come one drain interval apart."""
    pacer = measured(workers, job_s, HandClock(100.0))
    interval = 1 / pacer.rate
    turns = [pacer.turn(1) for _ in range(min(refused, int(250 / interval)))]
    assert turns[0] == pytest.approx(interval)
    for earlier, later in pairwise(turns):
        assert later - earlier == pytest.approx(interval)


def test_turns_follow_those_handed_out_before() -> None:
    """Moments already promised stay promised while time goes on, and lapsed ones are not waited for."""
    clock = HandClock(0.0)
    pacer = measured(1, 1.0, clock)
    assert [pacer.turn(1) for _ in range(3)] == [1, 2, 3]
    clock.advance(2.5)
    assert pacer.turn(1) == pytest.approx(1.5)
    clock.advance(60)
    assert pacer.turn(1) == pytest.approx(1)


def test_a_turn_is_never_before_the_places_ahead_are_free() -> None:
    """With ten to leave first the first moment is ten intervals away."""
    pacer = measured(2, 1.0, HandClock(0.0))
    assert pacer.turn(10) == 5
    assert pacer.turn(1) == 5.5


@examples
@given(st.lists(st.floats(0, 400), min_size=1, max_size=30))
def test_a_turn_is_never_before_the_caller_s_own_token(own: list[float]) -> None:
    """Whoever has no token until then is not told to come earlier, however far away that is."""
    pacer = measured(4, 1.0, HandClock(50.0))
    for not_before in own:
        assert pacer.turn(1, not_before) >= not_before


def test_no_promise_is_further_ahead_than_a_guess_would_be() -> None:
    """A long line of the refused ends at five minutes."""
    pacer = measured(1, 100.0, HandClock(0.0))
    assert [pacer.turn(1) for _ in range(5)] == [100, 200, 300, 300, 300]
