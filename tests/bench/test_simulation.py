"""The simulator as a regression test: clients are admitted when told, and impatience gains nothing."""

import pytest

from bench.simulator.__main__ import MIN_FIRST, MIN_USED, QUEUES, quick, simulate
from bench.simulator.crowds import CROWDS

CROWD = {crowd.name: crowd for crowd in CROWDS}


def test_reservations_are_honoured_while_the_workers_stay_busy() -> None:
    """At least .99 are admitted at their first return, workers are busy .96 of the time, nobody jumps in."""
    rows = list(quick())
    assert {row.queue for row in rows} == set(QUEUES)
    for row in rows:
        assert row.first >= MIN_FIRST, row
        assert row.used >= MIN_USED, row
    gains = [row.gain_s for row in rows if row.gain_s is not None]
    assert gains
    assert all(gain <= 0 for gain in gains)


@pytest.mark.parametrize("queue", QUEUES)
def test_slow_uplinks_take_no_capacity_from_others(queue: int) -> None:
    """While very slow uploads come in, 1.5 times the queue, workers stay busy, .97 are admitted when told."""
    row = simulate(CROWD["2 x, uploads trickle"], queue, "reservations", (0,))
    assert row.used >= MIN_USED
    assert row.first >= 0.97


def test_a_client_that_asks_gets_in_while_nobody_else_is_there() -> None:
    """Of those who were told minutes because of 3840 heads that never return, those who ask get in."""
    row = simulate(CROWD["ghosts, calm, half impatient"], 20, "reservations", (0,))
    assert row.gain_s is not None
    assert row.gain_s > 30


@pytest.mark.parametrize("queue", QUEUES)
def test_a_cold_start_needs_a_calibrated_job_duration(queue: int) -> None:
    """With 500 clients before the first job, jobs that are taken for too short cost first returns."""
    calibrated, short, long = (
        simulate(CROWD[f"500 at once, cold{guess}"], queue, "reservations", (0,))
        for guess in ("", ", guess x .5", ", guess x 2")
    )
    assert calibrated.first >= 0.98
    assert calibrated.used >= MIN_USED
    assert short.first < 0.95
    assert long.first >= 0.98
    assert long.used >= 0.94


def test_the_simulator_tells_good_policies_from_bad() -> None:
    """With a constant Retry-After of a second hardly anybody is admitted at the first return."""
    assert simulate(CROWD["500 at once"], 20, "constant 1 s", (0,)).first < 0.2


def test_the_same_seed_gives_the_same_figures() -> None:
    """Two simulations with one seed agree in every figure."""
    one, other = (simulate(CROWD["500 at once"], 20, "reservations", (3,)) for _ in range(2))
    assert one == other
