"""The simulator as a regression: before whole crowds, turns keep their word and impatience gains nothing."""

import pytest

from bench.simulator.__main__ import LEAST_FIRST, LEAST_USED, QUEUES, quick, simulate
from bench.simulator.crowds import CROWDS

CROWD = {crowd.name: crowd for crowd in CROWDS}


def test_promises_are_kept_while_the_workers_stay_busy() -> None:
    """At the first return .99 are in, workers are busy .96 of the time, asking every second gains nothing."""
    rows = list(quick())
    assert {row.queue for row in rows} == set(QUEUES)
    for row in rows:
        assert row.first >= LEAST_FIRST, row
        assert row.used >= LEAST_USED, row
    gains = [row.gain_s for row in rows if row.gain_s is not None]
    assert gains
    assert all(gain <= 0 for gain in gains)


@pytest.mark.parametrize("queue", QUEUES)
def test_slow_uplinks_take_no_capacity_from_others(queue: int) -> None:
    """With one and a half queues of uploads trickling in, workers are as busy and most promises hold."""
    row = simulate(CROWD["2 x, uploads trickle"], queue, "turns", (0,))
    assert row.used >= LEAST_USED
    assert row.first >= 0.97


@pytest.mark.parametrize("queue", QUEUES)
def test_a_cold_start_keeps_its_word_by_what_was_tried(queue: int) -> None:
    """Five hundred at once before a job was measured: what is taken for short breaks promises, and costs."""
    tried, short, long = (
        simulate(CROWD[f"500 at once, cold{guess}"], queue, "turns", (0,))
        for guess in ("", ", guess x .5", ", guess x 2")
    )
    assert tried.first >= 0.98
    assert tried.used >= LEAST_USED
    assert short.first < 0.95
    assert long.first >= 0.98
    assert long.used >= 0.94


def test_plain_policies_do_not_keep_their_word() -> None:
    """The bench tells good from bad: a constant second lets hardly anybody in at the first return."""
    assert simulate(CROWD["500 at once"], 20, "constant 1 s", (0,)).first < 0.2


def test_the_same_seed_gives_the_same_figures() -> None:
    """A row can be reproduced."""
    one, other = (simulate(CROWD["500 at once"], 20, "turns", (3,)) for _ in range(2))
    assert one == other
