"""Reservations: what a refused client is told, and what happens when it comes back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.reservations import Admit, Refuse, Reservations, Wait
from tests.backpressure.simulated_queue import CAPACITY, RATE, START, WORKERS, SimulatedQueue, is_empty
from tests.clocks import HandClock
from tests.examples import examples

# --- what a refused client is told -------------------------------------------------------------------------


def test_an_empty_service_admits_every_client() -> None:
    """While there is room and no reservation, a new client is admitted."""
    queue = SimulatedQueue(load=0)
    assert all(queue.ask(f"c{n}") == Admit() for n in range(CAPACITY))
    assert isinstance(queue.ask("late"), Refuse)


@pytest.mark.parametrize("count", [500, 2000])
def test_a_crowd_is_told_to_come_as_slots_come_free(count: int) -> None:
    """Of many clients at once, no more are due by any moment than jobs drain until then, and hardly fewer."""
    queue = SimulatedQueue()
    dues = sorted(queue.refused_crowd(count).values())
    for moment in range(1, dues[-1] + 1):
        due = sum(1 for seconds in dues if seconds <= moment)
        assert due <= CAPACITY + RATE * moment
    assert dues[-1] <= count / RATE * 1.03 + 2, "the last is sent away for longer than it takes"


@examples
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["ask", "return", "drain"]),
            st.integers(1, 30),
            st.floats(0, 3, allow_nan=False),
        ),
        max_size=60,
    )
)
def test_reservations_never_exceed_what_drains(steps: list[tuple[str, int, float]]) -> None:
    """Whatever happens, those due by a moment fit what drains until then, and all tables stay bounded."""
    queue = SimulatedQueue()
    count = 0
    due: dict[str, float] = {}
    for action, number, pause in steps:
        queue.clock.advance(pause)
        now = queue.clock.now
        if action == "drain":
            queue.drain(number)
            while wait := queue.reservations.next_waiter(CAPACITY - queue.load):
                assert wait.until > START
                queue.load += 1
        elif action == "ask":
            for _ in range(number):
                count += 1
                decision = queue.ask(f"c{count}")
                if isinstance(decision, Refuse):
                    due[f"c{count}"] = now + decision.retry_after
        else:
            for key in [key for key, at in due.items() if at <= now][:number]:
                del due[key]
                decision = queue.ask(key)
                if isinstance(decision, Refuse):
                    due[key] = now + decision.retry_after
        snapshot = queue.reservations.snapshot()
        assert 0 <= snapshot.missed <= snapshot.outstanding <= count
        assert 0 <= snapshot.waiting <= 512
        assert 0.25 <= snapshot.return_rate <= 1
        assert queue.load <= CAPACITY
        ahead = sorted(at - now for at in due.values() if at > now)
        for index, seconds in enumerate(ahead):
            # As close as the share of clients that return allows; rounding moves them by up to a second.
            assert index + 1 <= CAPACITY + 1 + RATE / 0.25 * (seconds + 1)
    queue.clock.advance(4000)
    queue.reservations.snapshot()
    queue.reservations._waiting.clear()
    assert is_empty(queue.reservations)


@examples
@given(groups=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 5, allow_nan=False)), max_size=20))
def test_when_all_clients_return_no_moment_is_told_twice(groups: list[tuple[int, float]]) -> None:
    """If all return when told and jobs drain at the rate, those due by any moment fit the slots by then."""
    queue = SimulatedQueue()
    due: list[tuple[float, str]] = []
    count = 0

    def live_until(moment: float) -> None:
        for at, key in sorted(due):
            if at > moment:
                break
            queue.drain(int(RATE * (at - queue.clock.now)))
            queue.clock.now = at
            due.remove((at, key))
            decision = queue.ask(key)
            if isinstance(decision, Refuse):
                due.append((at + decision.retry_after, key))
        queue.clock.now = max(queue.clock.now, moment)

    for number, pause in groups:
        live_until(queue.clock.now + pause)
        for _ in range(number):
            count += 1
            decision = queue.ask(f"c{count}")
            if isinstance(decision, Refuse):
                due.append((queue.clock.now + decision.retry_after, f"c{count}"))
        for index, (at, _) in enumerate(sorted(due)):
            assert index + 1 <= CAPACITY + RATE * (at - queue.clock.now) + 1


def test_no_client_is_told_to_come_before_it_has_a_token() -> None:
    """A client whose next token comes later than a free slot is told the later moment."""
    assert SimulatedQueue().refused("c", not_before=7.2) == 8


def test_nobody_is_sent_away_for_more_than_an_hour() -> None:
    """At a rate that would make the wait endless, clients are told an hour."""
    queue = SimulatedQueue()
    queue.rate = 0.01
    assert max(queue.refused_crowd(100).values()) == 3600


# --- coming back -------------------------------------------------------------------------------------------


def test_a_client_that_comes_early_is_told_the_same_moment() -> None:
    """Asking too early changes nothing while the workers have work, and is not excused from a token."""
    queue = SimulatedQueue()
    told = queue.refused_crowd(100)["c99"]
    queue.load = WORKERS
    for passed in range(1, told):
        queue.clock.advance(1)
        assert not queue.reservations.is_due("c99")
        assert queue.refused("c99") == told - passed
    queue.clock.advance(1)
    assert queue.reservations.is_due("c99")
    assert queue.ask("c99") == Admit()


def test_only_a_client_that_comes_on_time_owes_no_token() -> None:
    """A new client and an early one are charged, one that is due is not; once admitted it is new again."""
    queue = SimulatedQueue()
    told = queue.refused("c")
    assert not queue.reservations.is_due("c")
    assert not queue.reservations.is_due("never seen")
    queue.clock.advance(told)
    queue.drain(5)
    assert queue.reservations.is_due("c")
    assert queue.ask("c") == Admit()
    assert not queue.reservations.is_due("c")


def test_a_due_client_goes_before_one_without_reservation() -> None:
    """With one reservation and one free slot, a new client is refused and the due one admitted."""
    queue = SimulatedQueue()
    told = queue.refused("c")
    queue.drain(1)
    queue.clock.advance(told)
    assert isinstance(queue.ask("new"), Refuse)
    assert queue.ask("c") == Admit()


def test_free_slots_are_kept_for_those_with_a_reservation() -> None:
    """A new client is admitted only where all with a reservation would fit beside it."""
    queue = SimulatedQueue()
    queue.refused_crowd(9)
    queue.drain(9)
    assert isinstance(queue.ask("refused"), Refuse)
    queue.drain(2)
    assert queue.ask("taken") == Admit()


def test_workers_that_would_run_out_of_work_take_new_clients() -> None:
    """With less than a job per worker and .6 s of work, new clients come in, unless one has a reservation."""
    queue = SimulatedQueue()
    queue.refused_crowd(100)
    queue.load = round(WORKERS + 0.6 * RATE)
    assert isinstance(queue.ask("too early"), Refuse)
    queue.load -= 1
    assert isinstance(queue.ask("second photo", client="c7"), Refuse)
    assert queue.ask("new") == Admit()


def test_nobody_is_refused_while_the_workers_are_idle() -> None:
    """With less than one job for each worker, early clients get in, and so do other photos of theirs."""
    queue = SimulatedQueue()
    queue.refused_crowd(100)
    queue.load = WORKERS - 1
    assert queue.ask("c99") == Admit()
    assert queue.reservations.snapshot().outstanding == 99
    queue.load = WORKERS - 1
    assert queue.ask("second photo", client="c7") == Admit()
    queue.load = WORKERS
    assert isinstance(queue.ask("c98"), Refuse)
    assert isinstance(queue.ask("third photo", client="c7"), Refuse)


def test_ten_photos_of_one_client_are_all_admitted_at_their_first_return() -> None:
    """Each photo of an album that is sent at once has its own reservation and owes no token on return."""
    queue = SimulatedQueue()
    told = {f"photo {n}": queue.refused(f"photo {n}", client="album") for n in range(10)}
    for key, seconds in sorted(told.items(), key=lambda item: item[1]):
        queue.clock.advance(max(0.0, START + seconds - queue.clock.now))
        queue.load = round(max(0, CAPACITY - RATE * (queue.clock.now - START)))
        assert queue.reservations.is_due(key)
        assert queue.ask(key) == Admit()


# --- waiting for a slot ------------------------------------------------------------------------------------


def test_a_due_client_waits_when_the_queue_is_full() -> None:
    """The first free slot goes to the client that has waited longest, the next to the next."""
    queue = SimulatedQueue()
    first, second = queue.have_waiting("a", "b")
    assert queue.reservations.next_waiter(0) is None
    assert queue.reservations.snapshot().waiting == 2
    assert queue.reservations.next_waiter(1) is first
    assert queue.reservations.next_waiter(1) is second
    assert queue.reservations.next_waiter(1) is None


def test_nobody_overtakes_those_who_wait() -> None:
    """A slot that came free is theirs even before it is given to them: others wait or are refused."""
    queue = SimulatedQueue()
    queue.have_waiting("a")
    queue.drain(1)
    assert isinstance(queue.ask("new"), Refuse)
    queue.clock.advance(2)
    assert isinstance(queue.ask("new"), Wait)


def test_a_wait_ends_after_eight_seconds_with_a_new_reservation() -> None:
    """A client that waited in vain is told to come again, and is due then."""
    queue = SimulatedQueue()
    (wait,) = queue.have_waiting("a")
    assert wait.until == queue.clock.now + 8
    queue.clock.advance(8)
    refusal = queue.reservations.expire_wait(wait, free_slots=0)
    assert queue.reservations.next_waiter(1) is None
    queue.clock.advance(refusal.retry_after)
    assert queue.reservations.is_due("a")


def test_a_client_that_goes_away_while_it_waits_gets_no_slot() -> None:
    """The slot goes to the next one; cancelling a wait twice does no harm."""
    queue = SimulatedQueue()
    first, second = queue.have_waiting("a", "b")
    queue.reservations.cancel_wait(first)
    queue.reservations.cancel_wait(first)
    assert queue.reservations.next_waiter(1) is second


def test_the_number_of_waiting_clients_is_bounded() -> None:
    """While 512 wait, other clients that are due are refused, with a reservation again."""
    queue = SimulatedQueue()
    queue.rate = 1000
    queue.refused_crowd(600)
    queue.clock.advance(1)
    decisions = [queue.ask(f"c{n}") for n in range(600)]
    assert [isinstance(decision, Wait) for decision in decisions] == [True] * 512 + [False] * 88
    assert queue.reservations.snapshot().waiting == 512
    assert queue.not_missed == 88


def test_uploads_with_one_key_leave_nothing_behind() -> None:
    """Two uploads that look the same share one reservation, though one of them waits while the other asks."""
    queue = SimulatedQueue()
    (wait,) = queue.have_waiting("twin")
    told = queue.refused("twin")
    assert queue.reservations.expire_wait(wait, free_slots=0).retry_after == told
    assert queue.reservations.snapshot().outstanding == 1
    queue.clock.advance(told)
    (first, second) = (queue.ask("twin"), queue.ask("twin"))
    assert isinstance(first, Wait)
    assert isinstance(second, Refuse)
    queue.clock.advance(second.retry_after)
    assert queue.reservations.expire_wait(first, free_slots=0).retry_after >= 1
    assert queue.reservations.snapshot().outstanding == 1
    queue.clock.advance(100)
    queue.reservations.snapshot()
    assert is_empty(queue.reservations)


# --- closings and restarts ---------------------------------------------------------------------------------


def test_nobody_is_told_to_come_before_the_service_opens_again() -> None:
    """While a breaker is open for ten seconds, new clients and those who are due are told a later moment."""
    queue = SimulatedQueue()
    queue.refused("due")
    queue.clock.advance(2)
    queue.load = 0
    told = [queue.refuse_while_closed(key, reopens_in=10) for key in ("due", *(f"c{n}" for n in range(50)))]
    assert min(told) >= 10
    assert max(told) <= 10 + 51 / RATE * 1.03 + 1
    queue.clock.advance(told[0])
    assert queue.ask("due") == Admit()


def test_a_wait_that_a_closing_ends_is_followed_by_a_reservation_after_it() -> None:
    """The client is told to come when the service is open again."""
    queue = SimulatedQueue()
    (wait,) = queue.have_waiting("a")
    assert queue.reservations.expire_wait(wait, free_slots=0, reopens_in=10).retry_after >= 10


def after_restart(queue: SimulatedQueue, away_s: float) -> Reservations:
    """The reservations of the next process, whose clock starts elsewhere, `away_s` seconds later."""
    stored = json.loads(json.dumps(queue.reservations.export(wall=5e8)))
    queue.clock = HandClock(3.0)
    reservations = Reservations(WORKERS, CAPACITY, lambda: RATE, 100_000, clock=queue.clock)
    list(reservations.restore(stored, wall=5e8 + away_s))
    return reservations


def test_the_stored_format_has_the_keys_it_always_had() -> None:
    """A service of this version reads what an earlier one has written, and the other way round."""
    queue = SimulatedQueue()
    queue.refused("c", client="address", net="network")
    queue.clock.advance(0.5)
    state = queue.reservations.export(wall=5e8)
    assert list(state) == ["at", "tail_s", "returning", "turns"]
    assert state["turns"] == [["c", "address", "network", 0.5]]


def test_reservations_outlive_a_restart() -> None:
    """A client told 12 s, of which 4 were a restart, is early for 8 s more and then due."""
    queue = SimulatedQueue()
    told = queue.refused_crowd(120)["c119"]
    queue.reservations = after_restart(queue, away_s=4)
    assert queue.reservations.snapshot().outstanding == 120
    queue.clock.advance(told - 4 - 0.5)
    assert queue.refused("c119") == 1
    queue.clock.advance(0.5)
    queue.load = 0
    assert queue.ask("c119") == Admit()


def test_reservations_whose_time_came_during_a_restart_are_due_after_it() -> None:
    """Clients that could not come because nobody was there are due at once, before new ones."""
    queue = SimulatedQueue()
    queue.refused_crowd(30)
    queue.reservations = after_restart(queue, away_s=600)
    assert queue.reservations.is_due("c0")
    assert queue.reservations.is_due("c29")
    assert isinstance(queue.ask("new"), Refuse)


def test_no_moment_is_told_again_after_a_restart() -> None:
    """The first client that is refused then comes after those that were told before."""
    queue = SimulatedQueue()
    told = queue.refused_crowd(100)["c99"]
    queue.reservations = after_restart(queue, away_s=2)
    assert queue.refused("new") >= told - 2


def test_a_clock_that_was_set_back_changes_no_reservation() -> None:
    """If the time of day went backwards during a restart, no time counts as passed."""
    queue = SimulatedQueue()
    told = queue.refused_crowd(50)["c49"]
    queue.reservations = after_restart(queue, away_s=-100)
    assert queue.refused("c49") == told


@pytest.mark.parametrize("state", [{}, {"at": "x"}, {"at": 0, "tail_s": 0, "returning": 1, "turns": [[1]]}])
def test_other_data_than_an_export_is_not_restored(state: dict[str, Any]) -> None:
    """It raises and changes nothing."""
    reservations = SimulatedQueue().reservations
    with pytest.raises((KeyError, TypeError, ValueError)):
        list(reservations.restore(state, wall=10.0))
    assert is_empty(reservations)


def test_no_more_is_restored_than_the_table_holds() -> None:
    """A table that was made smaller takes the first reservations only."""
    queue = SimulatedQueue()
    queue.refused_crowd(50)
    reservations = Reservations(WORKERS, CAPACITY, lambda: RATE, 10, clock=queue.clock)
    list(reservations.restore(queue.reservations.export(wall=0), wall=0))
    assert reservations.snapshot().outstanding == 10


@examples
@given(
    load=st.integers(0, CAPACITY),
    waiting=st.integers(0, 3),
    reserved=st.integers(0, 40),
    passed=st.floats(0, 40, allow_nan=False),
    key=st.sampled_from(["new", "c0", "c30"]),
    client=st.sampled_from(["", "c1"]),
)
def test_would_refuse_is_what_request_does(
    load: int, waiting: int, reserved: int, passed: float, key: str, client: str
) -> None:
    """Whoever asks whenever: `ask()` compares the decision with what was foreseen."""
    queue = SimulatedQueue()
    queue.have_waiting(*(f"w{n}" for n in range(waiting)))
    queue.refused_crowd(reserved)
    queue.clock.advance(passed)
    queue.load = load
    queue.ask(key, client=client)
