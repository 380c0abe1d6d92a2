"""The bounds of the turns, and what becomes of promises when the service closes or restarts."""

import json
from typing import Any

import pytest

from app.backpressure.reservations import Admit, Refuse, Reservations
from tests.backpressure.hall import PLACES, RATE, START, WORKERS, Hall, is_empty, knock
from tests.clocks import HandClock

# --- bounds ------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_clients_leave_no_trace() -> None:
    """The table never outgrows its bound, and once all turns have passed nothing is left of anybody."""
    hall = Hall(capacity=20_000)
    hall.rate = 1000
    for n in range(100_000):
        hall.refuse(f"c{n}", net=f"n{n // 64}")
    table = hall.reservations._table
    assert hall.reservations.snapshot().outstanding == 20_000
    assert len(table._by_client) <= 20_000
    assert len(table._expiry) <= 2 * 20_000 + 65
    hall.clock.advance(5000)
    hall.reservations.snapshot()
    assert is_empty(hall.reservations)


def test_turns_that_were_used_do_not_pile_up() -> None:
    """Clients that come and come again leave no more behind than those who hold a turn."""
    hall = Hall()
    for n in range(5000):
        told = hall.refuse(f"c{n}")
        hall.clock.advance(told)
        hall.drain(1)
        assert hall.ask(f"c{n}") == Admit()
    assert len(hall.reservations._table._expiry) <= 65


def test_a_full_table_still_spreads_refusals_at_the_drain_rate() -> None:
    """Those for whom no place can be kept are told moments one drain interval apart, after the others."""
    hall = Hall(capacity=100)
    told = list(hall.crowd(300).values())
    assert told == sorted(told)
    assert told[-1] == pytest.approx(300 / RATE, abs=2)
    for second in range(2, told[-1]):
        assert told.count(second) <= RATE + 1


def test_nobody_is_sent_away_for_more_than_an_hour() -> None:
    """At a rate that makes the wait endless, the wait told is an hour."""
    hall = Hall()
    hall.rate = 0.01
    assert max(hall.crowd(100).values()) == 3600


def test_one_client_keeps_ten_turns_and_one_net_sixty_four() -> None:
    """Beyond that a refusal carries no place, and takes none from others."""
    hall = Hall()
    kept = [hall.ask(f"p{n}", client="one") for n in range(15)]
    assert [answer.kept for answer in kept if isinstance(answer, Refuse)] == [True] * 10 + [False] * 5
    told = [hall.ask(f"q{n}", net="lan") for n in range(70)]
    assert sum(answer.kept for answer in told if isinstance(answer, Refuse)) == 64
    assert hall.refuse("other") <= (10 + 64 + 1) / RATE * 1.03 + 1


def test_ten_photos_of_one_client_all_get_in_at_their_first_return() -> None:
    """An album sent at once is refused with ten turns; each photo that comes at its own gets in untaxed."""
    hall = Hall()
    told = {f"photo {n}": hall.refuse(f"photo {n}", client="album") for n in range(10)}
    for key, seconds in sorted(told.items(), key=lambda item: item[1]):
        hall.clock.advance(max(0.0, START + seconds - hall.clock.now))
        hall.used = round(max(0, PLACES - RATE * (hall.clock.now - START)))
        assert hall.reservations.is_due(key)
        assert hall.ask(key) == Admit()


# --- closings and restarts ---------------------------------------------------------------------------------


def test_nobody_is_told_to_come_before_the_service_opens_again() -> None:
    """While a breaker is open for ten seconds, newcomers and those who are due are all told later."""
    hall = Hall(used=0)
    hall.used = PLACES
    hall.refuse("due")
    hall.clock.advance(2)
    hall.used = 0
    told = [hall.refuse(key, reopen=10) for key in ("due", *(f"c{n}" for n in range(50)))]
    assert min(told) >= 10
    assert max(told) <= 10 + 51 / RATE * 1.03 + 1
    hall.clock.advance(told[0])
    assert hall.ask("due") == Admit()


def test_a_closing_sends_those_at_the_door_away_until_the_opening() -> None:
    """A wait at the door that a breaker ends is answered with a turn after the opening."""
    hall = Hall()
    (wait,) = knock(hall, "a")
    assert hall.reservations.expire_wait(wait, free=0, reopen=10).retry_after >= 10


def after_restart(hall: Hall, away_s: float) -> Reservations:
    """The turns of the next process, whose clock has another origin, so many seconds later."""
    stored = json.loads(json.dumps(hall.reservations.export(wall=5e8)))
    hall.clock = HandClock(3.0)
    reservations = Reservations(WORKERS, PLACES, lambda: RATE, 100_000, clock=hall.clock)
    reservations.restore(stored, wall=5e8 + away_s)
    return reservations


def test_promises_outlive_a_restart() -> None:
    """A client told 12 s, of which 4 were a restart, is early for 8 s more and then due."""
    hall = Hall()
    told = hall.crowd(120)["c119"]
    hall.reservations = after_restart(hall, away_s=4)
    assert hall.reservations.snapshot().outstanding == 120
    hall.clock.advance(told - 4 - 0.5)
    assert hall.refuse("c119") == 1
    hall.clock.advance(0.5)
    hall.used = 0
    assert hall.ask("c119") == Admit()


def test_turns_that_came_up_during_a_restart_are_due_after_it() -> None:
    """Who could not come because nobody was there is due at once, and newcomers come after."""
    hall = Hall()
    hall.crowd(30)
    hall.reservations = after_restart(hall, away_s=600)
    assert hall.reservations.is_due("c0")
    assert hall.reservations.is_due("c29")
    assert isinstance(hall.ask("newcomer"), Refuse)


def test_a_restart_hands_out_no_moment_twice() -> None:
    """The first refused after it comes after those who were promised before."""
    hall = Hall()
    told = hall.crowd(100)["c99"]
    hall.reservations = after_restart(hall, away_s=2)
    assert hall.refuse("new") >= told - 2


def test_a_clock_set_back_shortens_no_promise() -> None:
    """If the time of day went backwards meanwhile, no time is reckoned to have passed."""
    hall = Hall()
    told = hall.crowd(50)["c49"]
    hall.reservations = after_restart(hall, away_s=-100)
    assert hall.refuse("c49") == told


@pytest.mark.parametrize("state", [{}, {"at": "x"}, {"at": 0, "tail_s": 0, "returning": 1, "turns": [[1]]}])
def test_what_was_not_exported_is_not_restored(state: dict[str, Any]) -> None:
    """Strange data raises, and leaves the turns as they were."""
    reservations = Hall().reservations
    with pytest.raises((KeyError, TypeError, ValueError)):
        reservations.restore(state, wall=10.0)
    assert is_empty(reservations)


def test_no_more_is_restored_than_the_table_holds() -> None:
    """A table that was made smaller takes the first turns only."""
    hall = Hall()
    hall.crowd(50)
    reservations = Reservations(WORKERS, PLACES, lambda: RATE, 10, clock=hall.clock)
    reservations.restore(hall.reservations.export(wall=0), wall=0)
    assert reservations.snapshot().outstanding == 10
