"""How fast the queue drains, and how fast uploads can come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.drain_rate import Pacer
from tests.examples import examples


def measured(workers: int, job_s: float, dock: int = 100) -> Pacer:
    """A pacer that has seen many jobs of one length."""
    pacer = Pacer(workers, dock)
    for _ in range(20):
        pacer.record(job_s)
    return pacer


@examples
@given(st.lists(st.floats(0.001, 30), min_size=1, max_size=100), st.integers(1, 64))
def test_the_rate_is_made_of_busy_seconds(busy: list[float], workers: int) -> None:
    """At first it is the plain mean: so many workers, each so many seconds with a job."""
    pacer = Pacer(workers, 100)
    for seconds in busy:
        pacer.record(seconds)
    assert pacer.rate == pytest.approx(workers * len(busy) / sum(busy))


def test_before_the_first_job_a_guess_is_believed() -> None:
    """It knows nothing yet but must answer; the first measurement replaces the guess."""
    pacer = Pacer(4, 100, job_s=0.5)
    assert pacer.rate == 8
    pacer.record(2.0)
    assert pacer.rate == 2


def test_a_trial_counts_as_some_jobs_whenever_it_comes() -> None:
    """Before the first real job it is believed; a few dozen of these outweigh it, whichever came first."""
    early, late = Pacer(2, 100), Pacer(2, 100)
    assert early.is_blank
    early.calibrate(1.0)
    assert not early.is_blank
    assert early.rate == 2
    late.record(0.1)
    early.record(0.1)
    assert early.rate == pytest.approx(2 / 0.9)
    late.calibrate(1.0)
    assert late.rate == pytest.approx(early.rate)
    for _ in range(60):
        early.record(0.1)
    assert early.rate == pytest.approx(20, rel=0.6)


def test_a_trial_is_not_handed_on() -> None:
    """The next process tries anew, perhaps with other variants; what real jobs took is told."""
    pacer = Pacer(2, 100)
    pacer.calibrate(0.5)
    assert pacer.export() == {}
    pacer.record(0.5)
    assert pacer.export()["job_s"] == pytest.approx(0.5)
    after = Pacer(2, 100)
    after.restore(pacer.export())
    assert not after.is_blank


def test_no_trial_makes_an_impossible_rate() -> None:
    """A job counts a millisecond at least and a day at most, whatever was tried."""
    pacer = Pacer(1, 100)
    pacer.calibrate(0)
    assert pacer.rate == pytest.approx(1000)
    endless = Pacer(1, 100)
    endless.calibrate(float("inf"))
    assert endless.rate > 0


def test_old_measurements_fade() -> None:
    """After a change of the load the rate is the new one's, a few thousand jobs on."""
    pacer = measured(1, 10.0)
    for _ in range(5000):
        pacer.record(0.1)
    assert pacer.rate == pytest.approx(10, rel=0.01)


def test_jobs_that_take_no_time_are_no_infinite_rate() -> None:
    """A job counts a millisecond at least, whatever the clock says."""
    pacer = Pacer(2, 100)
    pacer.record(0)
    pacer.record(-5)
    assert pacer.rate == pytest.approx(2000)
    assert pacer.wait(1000) == pytest.approx(0.5)


def test_fast_uploads_come_in_as_fast_as_jobs_leave() -> None:
    """The dock binds nobody while uplinks are fast."""
    pacer = measured(2, 0.2, dock=20)
    for _ in range(500):
        pacer.record_upload(0.1)
    assert pacer.pace == pacer.rate == pytest.approx(10)


def test_slow_uploads_come_in_as_fast_as_the_dock_lets_them_through() -> None:
    """Twenty places that are held for ten seconds each let two in each second, whatever the workers do."""
    pacer = measured(2, 0.2, dock=20)
    for _ in range(5000):
        pacer.record_upload(10)
    assert pacer.pace == pytest.approx(2, rel=0.01)
    assert pacer.rate == pytest.approx(10)


def test_one_slow_upload_at_the_start_says_little() -> None:
    """A single trickle of two minutes does not slow everybody down."""
    pacer = measured(2, 0.2, dock=200)
    pacer.record_upload(120)
    assert pacer.pace == pacer.rate


def test_what_was_measured_outlives_a_restart() -> None:
    """The next process starts from it, and soon believes its own measurements more."""
    pacer = measured(2, 1.0, dock=20)
    for _ in range(5000):
        pacer.record_upload(40)
    after = Pacer(2, 20)
    after.restore(pacer.export())
    assert after.rate == pytest.approx(pacer.rate)
    assert after.pace == pytest.approx(pacer.pace)
    for _ in range(200):
        after.record(0.1)
    assert after.rate == pytest.approx(20, rel=0.8)


def test_the_rate_follows_a_brownout_at_once() -> None:
    """A few dozen jobs after jobs are made in brief, or whole again, the rate is that of such jobs."""
    pacer = measured(2, 1.0)
    for _ in range(100):
        pacer.record(0.1, brief=True)
    assert pacer.rate == pytest.approx(20, rel=0.4)
    for _ in range(100):
        pacer.record(1.0)
    assert pacer.rate == pytest.approx(2, rel=0.1)
    for _ in range(500):
        pacer.record(0.1, brief=True)
    assert pacer.rate == pytest.approx(20, rel=0.01)


def test_a_mixture_has_the_rate_of_a_mixture() -> None:
    """Every second job in brief: what leaves is what two workers make of both kinds."""
    pacer = Pacer(2, 20)
    for _ in range(1000):
        pacer.record(0.1, brief=True)
        pacer.record(0.9)
    assert pacer.rate == pytest.approx(2 / 0.5, rel=0.05)


def test_jobs_that_will_be_whole_are_waited_for_longer() -> None:
    """Who waits beyond the end of a brownout waits for whole jobs too."""
    pacer = measured(2, 1.0)
    for _ in range(1000):
        pacer.record(0.1, brief=True)
    assert pacer.wait(100) == pytest.approx(5, rel=0.01)
    assert pacer.wait(100, whole=20) == pytest.approx(4 + 10, rel=0.01)


def test_who_measured_nothing_tells_nothing() -> None:
    """The guess is not handed on as if it were known."""
    assert Pacer(2, 20, job_s=0.7).export() == {}
    pacer = Pacer(2, 20)
    pacer.restore({})
    assert pacer.rate == Pacer(2, 20).rate


@pytest.mark.parametrize(
    "state",
    [
        {"job_s": 0, "upload_s": 0},
        {"job_s": float("nan"), "upload_s": 0},
        {"job_s": 1e9, "upload_s": 0},
        {"job_s": 1, "upload_s": -1},
        {"job_s": 1, "upload_s": float("inf")},
        {"job_s": 1},
        {"job_s": "x", "upload_s": 0},
        {"job_s": None, "upload_s": 0},
    ],
)
def test_strange_measurements_are_not_believed(state: dict[str, float]) -> None:
    """What is no plausible time raises, and changes nothing."""
    pacer = Pacer(2, 20)
    with pytest.raises((KeyError, TypeError, ValueError)):
        pacer.restore(state)
    assert pacer.rate == Pacer(2, 20).rate
