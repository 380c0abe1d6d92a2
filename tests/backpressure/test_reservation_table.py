"""The reservation table: its bounds, and what happens to reservations that nobody uses."""

from itertools import pairwise

import pytest

from app.backpressure.reservations import Admit, Refuse
from tests.backpressure.simulated_queue import CAPACITY, RATE, SimulatedQueue, is_empty

# --- bounds ------------------------------------------------------------------------------------------------


def test_clients_many_times_as_many_as_fit_leave_no_trace() -> None:
    """The table never outgrows its bound, and when all reservations have expired nothing is left."""
    queue = SimulatedQueue(max_reservations=5_000)
    queue.rate = 1000
    for n in range(25_000):
        queue.refused(f"c{n}", net=f"n{n // 64}")
    table = queue.reservations._table
    assert queue.reservations.snapshot().outstanding == 5_000
    assert len(table._per_client) <= 5_000
    assert len(table._changes) <= 2 * 5_000 + 65
    queue.clock.advance(5000)
    left = [queue.reservations.snapshot().outstanding for _ in range(200)]
    assert max(before - after for before, after in pairwise(left)) <= 500  # so that no request waits for long
    assert is_empty(queue.reservations)


def test_used_reservations_do_not_pile_up() -> None:
    """However many clients come and come back, the heap stays small."""
    queue = SimulatedQueue()
    for n in range(5000):
        told = queue.refused(f"c{n}")
        queue.clock.advance(told)
        queue.drain(1)
        assert queue.ask(f"c{n}") == Admit()
    assert len(queue.reservations._table._changes) <= 65


def test_a_full_table_still_spreads_refusals_at_the_drain_rate() -> None:
    """Clients without a reservation are told moments one drain interval apart, after all the others."""
    queue = SimulatedQueue(max_reservations=100)
    told = list(queue.refused_crowd(300).values())
    assert told == sorted(told)
    assert told[-1] == pytest.approx(300 / RATE, abs=2)
    for second in range(2, told[-1]):
        assert told.count(second) <= RATE + 1


def test_one_client_has_ten_reservations_and_one_network_sixty_four() -> None:
    """Beyond that a refusal reserves no slot, and takes none from others."""
    queue = SimulatedQueue()
    of_client = [queue.ask(f"p{n}", client="one") for n in range(15)]
    assert [each.reserved for each in of_client if isinstance(each, Refuse)] == [True] * 10 + [False] * 5
    of_net = [queue.ask(f"q{n}", net="lan") for n in range(70)]
    assert sum(each.reserved for each in of_net if isinstance(each, Refuse)) == 64
    assert queue.refused("other") <= (10 + 64 + 1) / RATE * 1.03 + 1


# --- clients that stay away --------------------------------------------------------------------------------


def test_a_client_that_stays_away_is_counted_on_for_a_second_and_honoured_for_thirty() -> None:
    """A second after its time a reservation is missed; it is still due at 29 s and forgotten after 30 s."""
    queue = SimulatedQueue()
    told = queue.refused("late") + 0.0
    queue.clock.advance(told + 0.9)
    assert queue.not_missed == 1
    queue.clock.advance(0.1)
    assert queue.not_missed == 0
    queue.clock.advance(28)
    assert queue.reservations.is_due("late")
    queue.clock.advance(1)
    assert not queue.reservations.is_due("late")
    assert is_empty(queue.reservations)


def test_a_late_client_is_admitted_before_those_without_reservation() -> None:
    """29 s after its time it still gets the one free slot, which others were refused."""
    queue = SimulatedQueue()
    told = queue.refused("late")
    queue.clock.advance(told + 29)
    queue.refused_crowd(2)
    queue.drain(1)
    assert isinstance(queue.ask("new"), Refuse)
    assert queue.ask("late") == Admit()


def test_reservations_lie_closer_when_many_clients_stay_away() -> None:
    """When half of the clients do not come back, about twice as many are told to come in the same time."""
    queue = SimulatedQueue()
    for n in range(300):
        told = queue.refused(f"c{n}")
        queue.clock.advance(told)
        queue.load = CAPACITY - 1
        if n % 2:
            queue.ask(f"c{n}")
        queue.clock.advance(1)
        queue.load = CAPACITY
    assert 0.4 < queue.reservations.snapshot().return_rate < 0.6
    last = max(queue.refused_crowd(500, "d").values())
    assert last < 0.65 * 500 / RATE


# --- networks of which nobody comes ------------------------------------------------------------------------


def leave_ghosts(queue: SimulatedQueue, networks: int) -> None:
    """Have 64 uploads of each of some networks refused, from eight addresses each."""
    for n in range(64 * networks):
        net = n % networks
        queue.ask(f"g{n}", client=f"g{net}.{n // networks % 8}", net=f"g{net}")


def test_a_network_of_which_nobody_comes_keeps_no_moments() -> None:
    """Of 60 networks with 64 reservations each, the first few are missed and the others then not counted."""
    queue = SimulatedQueue()
    queue.rate = 20
    leave_ghosts(queue, 60)
    assert queue.refused("early") > 180
    for _ in range(12):
        queue.clock.advance(1)
        queue.refused("busy")  # the queue stays full, and somebody asks each second
    assert queue.refused("honest") <= 2
    assert queue.reservations.snapshot().missed == 60 * 64


def test_a_client_of_such_a_network_is_honoured_when_it_comes_after_all() -> None:
    """It gets a free slot before others and owes no token, and its network is counted on again."""
    queue = SimulatedQueue()
    told = {f"p{n}": queue.refused(f"p{n}", client=f"p{n}", net="lan") for n in range(40)}
    queue.clock.advance(told["p9"] + 1)
    assert queue.not_missed == 0
    queue.clock.advance(told["p39"] - told["p9"] - 1)
    assert queue.reservations.is_due("p39")
    queue.load = CAPACITY - 1
    assert queue.ask("p39") == Admit()
    queue.refused("new", net="lan")
    assert queue.not_missed == 1


def test_a_network_counts_once_as_gone() -> None:
    """However many reservations of one network are missed, the share of clients that return falls once."""
    queue = SimulatedQueue()
    for n in range(60):
        queue.refused(f"p{n}", client=f"p{n}", net="lan")
    queue.clock.advance(60)
    assert queue.reservations.snapshot().return_rate == pytest.approx(10 / 11, abs=0.001)


def test_missed_before_their_time_they_are_forgotten_half_a_minute_after_it() -> None:
    """A reservation that is not counted on any more keeps its time, and leaves nothing behind."""
    queue = SimulatedQueue()
    told = {f"p{n}": queue.refused(f"p{n}", client=f"p{n}", net="lan") for n in range(60)}
    queue.clock.advance(told["p59"] + 29)
    assert queue.reservations.is_due("p59")
    queue.clock.advance(1)
    queue.reservations.snapshot()
    assert is_empty(queue.reservations)


def test_an_idle_service_spreads_no_refusals_any_more() -> None:
    """Clients that got no reservation are told soon again once the workers were idle, as nobody came."""
    queue = SimulatedQueue(max_reservations=10)
    assert max(queue.refused_crowd(1000).values()) > 90
    queue.load = 0
    assert queue.ask("c5") == Admit()
    queue.load = CAPACITY
    assert queue.refused("late") <= 2
