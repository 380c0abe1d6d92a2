"""How fast the queue drains, and how fast uploads can come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.drain_rate import DrainRate
from tests.examples import examples


def measured(workers: int, job_s: float, dock: int = 100) -> DrainRate:
    """A pacer that has seen many jobs of one length."""
    drain_rate = DrainRate(workers, dock)
    for _ in range(20):
        drain_rate.record(job_s)
    return drain_rate


@examples
@given(st.lists(st.floats(0.001, 30), min_size=1, max_size=100), st.integers(1, 64))
def test_the_rate_is_made_of_busy_seconds(busy: list[float], workers: int) -> None:
    """At first it is the plain mean: so many workers, each so many seconds with a job."""
    drain_rate = DrainRate(workers, 100)
    for seconds in busy:
        drain_rate.record(seconds)
    assert drain_rate.jobs_per_s == pytest.approx(workers * len(busy) / sum(busy))


def test_before_the_first_job_a_guess_is_believed() -> None:
    """It knows nothing yet but must answer; the first measurement replaces the guess."""
    drain_rate = DrainRate(4, 100, job_s=0.5)
    assert drain_rate.jobs_per_s == 8
    drain_rate.record(2.0)
    assert drain_rate.jobs_per_s == 2


def test_a_trial_counts_as_some_jobs_whenever_it_comes() -> None:
    """Before the first real job it is believed; a few dozen of these outweigh it, whichever came first."""
    early, late = DrainRate(2, 100), DrainRate(2, 100)
    assert early.is_unmeasured
    early.calibrate(1.0)
    assert not early.is_unmeasured
    assert early.jobs_per_s == 2
    late.record(0.1)
    early.record(0.1)
    assert early.jobs_per_s == pytest.approx(2 / 0.9)
    late.calibrate(1.0)
    assert late.jobs_per_s == pytest.approx(early.jobs_per_s)
    for _ in range(60):
        early.record(0.1)
    assert early.jobs_per_s == pytest.approx(20, rel=0.6)


def test_a_trial_is_not_handed_on() -> None:
    """The next process tries anew, perhaps with other variants; what real jobs took is told."""
    drain_rate = DrainRate(2, 100)
    drain_rate.calibrate(0.5)
    assert drain_rate.export() == {}
    drain_rate.record(0.5)
    assert drain_rate.export()["job_s"] == pytest.approx(0.5)
    after = DrainRate(2, 100)
    after.restore(drain_rate.export())
    assert not after.is_unmeasured


def test_no_trial_makes_an_impossible_rate() -> None:
    """A job counts a millisecond at least and a day at most, whatever was tried."""
    drain_rate = DrainRate(1, 100)
    drain_rate.calibrate(0)
    assert drain_rate.jobs_per_s == pytest.approx(1000)
    endless = DrainRate(1, 100)
    endless.calibrate(float("inf"))
    assert endless.jobs_per_s > 0


def test_old_measurements_fade() -> None:
    """After a change of the load the rate is the new one's, a few thousand jobs on."""
    drain_rate = measured(1, 10.0)
    for _ in range(5000):
        drain_rate.record(0.1)
    assert drain_rate.jobs_per_s == pytest.approx(10, rel=0.01)


def test_jobs_that_take_no_time_are_no_infinite_rate() -> None:
    """A job counts a millisecond at least, whatever the clock says."""
    drain_rate = DrainRate(2, 100)
    drain_rate.record(0)
    drain_rate.record(-5)
    assert drain_rate.jobs_per_s == pytest.approx(2000)
    assert drain_rate.wait(1000) == pytest.approx(0.5)


def test_fast_uploads_come_in_as_fast_as_jobs_leave() -> None:
    """The dock binds nobody while uplinks are fast."""
    drain_rate = measured(2, 0.2, dock=20)
    for _ in range(500):
        drain_rate.record_upload(0.1)
    assert drain_rate.uploads_per_s == drain_rate.jobs_per_s == pytest.approx(10)


def test_slow_uploads_come_in_as_fast_as_the_dock_lets_them_through() -> None:
    """Twenty places that are held for ten seconds each let two in each second, whatever the workers do."""
    drain_rate = measured(2, 0.2, dock=20)
    for _ in range(5000):
        drain_rate.record_upload(10)
    assert drain_rate.uploads_per_s == pytest.approx(2, rel=0.01)
    assert drain_rate.jobs_per_s == pytest.approx(10)


def test_one_slow_upload_at_the_start_says_little() -> None:
    """A single trickle of two minutes does not slow everybody down."""
    drain_rate = measured(2, 0.2, dock=200)
    drain_rate.record_upload(120)
    assert drain_rate.uploads_per_s == drain_rate.jobs_per_s


def test_what_was_measured_outlives_a_restart() -> None:
    """The next process starts from it, and soon believes its own measurements more."""
    drain_rate = measured(2, 1.0, dock=20)
    for _ in range(5000):
        drain_rate.record_upload(40)
    after = DrainRate(2, 20)
    after.restore(drain_rate.export())
    assert after.jobs_per_s == pytest.approx(drain_rate.jobs_per_s)
    assert after.uploads_per_s == pytest.approx(drain_rate.uploads_per_s)
    for _ in range(200):
        after.record(0.1)
    assert after.jobs_per_s == pytest.approx(20, rel=0.8)


def test_the_rate_follows_a_brownout_at_once() -> None:
    """A few dozen jobs after jobs are made in brief, or whole again, the rate is that of such jobs."""
    drain_rate = measured(2, 1.0)
    for _ in range(100):
        drain_rate.record(0.1, brief=True)
    assert drain_rate.jobs_per_s == pytest.approx(20, rel=0.4)
    for _ in range(100):
        drain_rate.record(1.0)
    assert drain_rate.jobs_per_s == pytest.approx(2, rel=0.1)
    for _ in range(500):
        drain_rate.record(0.1, brief=True)
    assert drain_rate.jobs_per_s == pytest.approx(20, rel=0.01)


def test_a_mixture_has_the_rate_of_a_mixture() -> None:
    """Every second job in brief: what leaves is what two workers make of both kinds."""
    drain_rate = DrainRate(2, 20)
    for _ in range(1000):
        drain_rate.record(0.1, brief=True)
        drain_rate.record(0.9)
    assert drain_rate.jobs_per_s == pytest.approx(2 / 0.5, rel=0.05)


def test_jobs_that_will_be_whole_are_waited_for_longer() -> None:
    """Who waits beyond the end of a brownout waits for whole jobs too."""
    drain_rate = measured(2, 1.0)
    for _ in range(1000):
        drain_rate.record(0.1, brief=True)
    assert drain_rate.wait(100) == pytest.approx(5, rel=0.01)
    assert drain_rate.wait(100, whole=20) == pytest.approx(4 + 10, rel=0.01)


def test_who_measured_nothing_tells_nothing() -> None:
    """The guess is not handed on as if it were known."""
    assert DrainRate(2, 20, job_s=0.7).export() == {}
    drain_rate = DrainRate(2, 20)
    drain_rate.restore({})
    assert drain_rate.jobs_per_s == DrainRate(2, 20).jobs_per_s


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
    drain_rate = DrainRate(2, 20)
    with pytest.raises((KeyError, TypeError, ValueError)):
        drain_rate.restore(state)
    assert drain_rate.jobs_per_s == DrainRate(2, 20).jobs_per_s
