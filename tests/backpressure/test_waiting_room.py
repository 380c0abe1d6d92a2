"""The door, where those wait who are due at a full queue; and those who were promised and stay away."""

from app.backpressure.reservations import Admit, Refuse, Wait
from tests.backpressure.hall import PLACES, RATE, Hall, is_empty, knock

# --- the door ----------------------------------------------------------------------------------------------


def test_who_is_due_at_a_full_queue_waits_at_the_door() -> None:
    """The first freed place goes to whoever has waited longest, the next to the next."""
    hall = Hall()
    first, second = knock(hall, "a", "b")
    assert hall.reservations.next_waiter(0) is None
    assert hall.reservations.snapshot().parked == 2
    assert hall.reservations.next_waiter(1) is first
    assert hall.reservations.next_waiter(1) is second
    assert hall.reservations.next_waiter(1) is None


def test_nobody_passes_those_at_the_door() -> None:
    """A place that came free is theirs, though they were not called yet: others wait or are refused."""
    hall = Hall()
    knock(hall, "a")
    hall.drain(1)
    assert isinstance(hall.ask("newcomer"), Refuse)
    hall.clock.advance(2)
    assert isinstance(hall.ask("newcomer"), Wait)


def test_a_wait_at_the_door_ends_after_eight_seconds_with_a_new_turn() -> None:
    """Who waited in vain is told to come again, and is remembered for then."""
    hall = Hall()
    (wait,) = knock(hall, "a")
    assert wait.until == hall.clock.now + 8
    hall.clock.advance(8)
    refusal = hall.reservations.expire_wait(wait, free=0)
    assert hall.reservations.next_waiter(1) is None
    hall.clock.advance(refusal.retry_after)
    assert hall.reservations.is_due("a")


def test_who_leaves_the_door_is_not_called() -> None:
    """A place is given to the next, not to a client that is gone; leaving twice does no harm."""
    hall = Hall()
    first, second = knock(hall, "a", "b")
    hall.reservations.cancel_wait(first)
    hall.reservations.cancel_wait(first)
    assert hall.reservations.next_waiter(1) is second


def test_the_door_has_a_bound() -> None:
    """Beyond 512 at once, those who are due are refused, with a turn again."""
    hall = Hall()
    hall.rate = 1000
    hall.crowd(600)
    hall.clock.advance(1)
    answers = [hall.ask(f"c{n}") for n in range(600)]
    assert [isinstance(answer, Wait) for answer in answers] == [True] * 512 + [False] * 88
    assert hall.reservations.snapshot().parked == 512
    assert hall.outstanding == 88


# --- those who stay away -----------------------------------------------------------------------------------


def test_who_does_not_come_is_reckoned_with_for_a_second_and_honoured_for_thirty() -> None:
    """A second after its turn a client no longer counts; it is still due at 29 s, forgotten after 30."""
    hall = Hall()
    told = hall.refuse("late") + 0.0
    hall.clock.advance(told + 0.9)
    assert hall.outstanding == 1
    hall.clock.advance(0.1)
    assert hall.outstanding == 0
    hall.clock.advance(28)
    assert hall.reservations.is_due("late")
    hall.clock.advance(1)
    assert not hall.reservations.is_due("late")
    assert is_empty(hall.reservations)


def test_a_late_client_is_admitted_before_newcomers() -> None:
    """At +29 s it still gets the one free place that a newcomer is refused."""
    hall = Hall()
    told = hall.refuse("late")
    hall.clock.advance(told + 29)
    hall.crowd(2)
    hall.drain(1)
    assert isinstance(hall.ask("newcomer"), Refuse)
    assert hall.ask("late") == Admit()


def test_turns_lie_closer_when_many_stay_away() -> None:
    """When half the promised do not come back, about twice as many are promised for the same time."""
    hall = Hall()
    for n in range(300):
        told = hall.refuse(f"c{n}")
        hall.clock.advance(told)
        hall.used = PLACES - 1
        if n % 2:
            hall.ask(f"c{n}")
        hall.clock.advance(1)
        hall.used = PLACES
    assert 0.4 < hall.reservations.snapshot().returning < 0.6
    last = max(hall.crowd(500, "d").values())
    assert last < 0.65 * 500 / RATE
