"""The drain rate: how fast the queue drains, and how fast uploads can come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.drain_rate import DrainRate
from tests.examples import examples


def measured(workers: int, job_s: float, max_receiving: int = 100) -> DrainRate:
    """A drain rate after many jobs of the same duration."""
    drain_rate = DrainRate(workers, max_receiving)
    for _ in range(20):
        drain_rate.record(job_s)
    return drain_rate


@examples
@given(st.lists(st.floats(0.001, 30), min_size=1, max_size=100), st.integers(1, 64))
def test_the_rate_follows_from_busy_seconds(busy: list[float], workers: int) -> None:
    """At first it is the number of workers divided by the plain mean of the durations."""
    drain_rate = DrainRate(workers, 100)
    for seconds in busy:
        drain_rate.record(seconds)
    assert drain_rate.jobs_per_s == pytest.approx(workers * len(busy) / sum(busy))


def test_before_the_first_job_the_rate_is_a_guess() -> None:
    """The first measurement replaces it."""
    drain_rate = DrainRate(4, 100, job_s=0.5)
    assert drain_rate.jobs_per_s == 8
    drain_rate.record(2.0)
    assert drain_rate.jobs_per_s == 2


def test_a_calibration_counts_as_some_jobs_whenever_it_comes() -> None:
    """Before the first real job it is the rate; a few dozen jobs outweigh it, whichever came first."""
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


def test_a_calibration_is_not_exported() -> None:
    """The next process makes its own, perhaps with other variants; real measurements are exported."""
    drain_rate = DrainRate(2, 100)
    drain_rate.calibrate(0.5)
    assert drain_rate.export() == {}
    drain_rate.record(0.5)
    assert drain_rate.export()["job_s"] == pytest.approx(0.5)
    after = DrainRate(2, 100)
    after.restore(drain_rate.export())
    assert not after.is_unmeasured


def test_no_calibration_makes_an_impossible_rate() -> None:
    """A calibrated job counts as a millisecond at least and a day at most."""
    drain_rate = DrainRate(1, 100)
    drain_rate.calibrate(0)
    assert drain_rate.jobs_per_s == pytest.approx(1000)
    endless = DrainRate(1, 100)
    endless.calibrate(float("inf"))
    assert endless.jobs_per_s > 0


def test_old_measurements_fade() -> None:
    """A few thousand jobs after the durations have changed, the rate is that of the new ones."""
    drain_rate = measured(1, 10.0)
    for _ in range(5000):
        drain_rate.record(0.1)
    assert drain_rate.jobs_per_s == pytest.approx(10, rel=0.01)


def test_jobs_that_take_no_time_are_no_infinite_rate() -> None:
    """A job counts as a millisecond at least, whatever the clock says."""
    drain_rate = DrainRate(2, 100)
    drain_rate.record(0)
    drain_rate.record(-5)
    assert drain_rate.jobs_per_s == pytest.approx(2000)
    assert drain_rate.wait_s(1000) == pytest.approx(0.5)


def test_fast_uploads_come_in_as_fast_as_jobs_leave() -> None:
    """While uplinks are fast, the number of receiving slots is no limit."""
    drain_rate = measured(2, 0.2, max_receiving=20)
    for _ in range(500):
        drain_rate.record_upload(0.1)
    assert drain_rate.uploads_per_s == drain_rate.jobs_per_s == pytest.approx(10)


def test_slow_uploads_come_in_as_fast_as_their_slots_come_free() -> None:
    """Twenty slots, each held for ten seconds, let two uploads in per second, however fast jobs run."""
    drain_rate = measured(2, 0.2, max_receiving=20)
    for _ in range(5000):
        drain_rate.record_upload(10)
    assert drain_rate.uploads_per_s == pytest.approx(2, rel=0.01)
    assert drain_rate.jobs_per_s == pytest.approx(10)


def test_one_slow_upload_at_the_start_says_little() -> None:
    """A single upload of two minutes does not slow everybody down."""
    drain_rate = measured(2, 0.2, max_receiving=200)
    drain_rate.record_upload(120)
    assert drain_rate.uploads_per_s == drain_rate.jobs_per_s


def test_measurements_outlive_a_restart() -> None:
    """The next process starts from them, and soon its own measurements outweigh them."""
    drain_rate = measured(2, 1.0, max_receiving=20)
    for _ in range(5000):
        drain_rate.record_upload(40)
    after = DrainRate(2, 20)
    after.restore(drain_rate.export())
    assert after.jobs_per_s == pytest.approx(drain_rate.jobs_per_s)
    assert after.uploads_per_s == pytest.approx(drain_rate.uploads_per_s)
    for _ in range(200):
        after.record(0.1)
    assert after.jobs_per_s == pytest.approx(20, rel=0.8)


def test_the_rate_soon_follows_a_brownout() -> None:
    """A few dozen jobs after a brownout began or ended, the rate is that of reduced or of full jobs."""
    drain_rate = measured(2, 1.0)
    for _ in range(100):
        drain_rate.record(0.1, reduced=True)
    assert drain_rate.jobs_per_s == pytest.approx(20, rel=0.4)
    for _ in range(100):
        drain_rate.record(1.0)
    assert drain_rate.jobs_per_s == pytest.approx(2, rel=0.1)
    for _ in range(500):
        drain_rate.record(0.1, reduced=True)
    assert drain_rate.jobs_per_s == pytest.approx(20, rel=0.01)


def test_a_mixture_has_the_rate_of_a_mixture() -> None:
    """When every second job is reduced, the mean duration is the mean of both kinds."""
    drain_rate = DrainRate(2, 20)
    for _ in range(1000):
        drain_rate.record(0.1, reduced=True)
        drain_rate.record(0.9)
    assert drain_rate.jobs_per_s == pytest.approx(2 / 0.5, rel=0.05)


def test_full_jobs_are_waited_for_longer() -> None:
    """A wait that goes beyond the end of a brownout includes full jobs."""
    drain_rate = measured(2, 1.0)
    for _ in range(1000):
        drain_rate.record(0.1, reduced=True)
    assert drain_rate.wait_s(100) == pytest.approx(5, rel=0.01)
    assert drain_rate.wait_s(100, full_jobs=20) == pytest.approx(4 + 10, rel=0.01)


def test_without_measurements_nothing_is_exported() -> None:
    """The guess is not handed on as if it had been measured."""
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
def test_implausible_measurements_are_not_restored(state: dict[str, float]) -> None:
    """They raise and change nothing."""
    drain_rate = DrainRate(2, 20)
    with pytest.raises((KeyError, TypeError, ValueError)):
        drain_rate.restore(state)
    assert drain_rate.jobs_per_s == DrainRate(2, 20).jobs_per_s
