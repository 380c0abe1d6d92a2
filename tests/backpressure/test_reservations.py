"""Turns: what a refused client is told, and what it finds when it comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.reservations import Admit, Refuse
from tests.backpressure.hall import PLACES, RATE, START, WORKERS, Hall, is_empty
from tests.examples import examples

# --- what is promised ------------------------------------------------------------------------------------


def test_an_empty_service_takes_whoever_comes() -> None:
    """While there is room and nobody holds a turn, a newcomer is admitted."""
    hall = Hall(used=0)
    assert all(hall.ask(f"c{n}") == Admit() for n in range(PLACES))
    assert isinstance(hall.ask("late"), Refuse)


@pytest.mark.parametrize("count", [500, 2000])
def test_a_crowd_is_told_to_come_as_places_come_free(count: int) -> None:
    """Of many refused at once, no more are due by any time than have drained until then, and hardly fewer."""
    hall = Hall()
    dues = sorted(hall.crowd(count).values())
    for moment in range(1, dues[-1] + 1):
        due = sum(1 for seconds in dues if seconds <= moment)
        assert due <= PLACES + RATE * moment
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
def test_promises_never_exceed_what_drains(steps: list[tuple[str, int, float]]) -> None:
    """Whatever happens: turns due by a time fit what drains until then, counts are true, tables bounded."""
    hall = Hall()
    count = 0
    due: dict[str, float] = {}
    for action, number, pause in steps:
        hall.clock.advance(pause)
        now = hall.clock.now
        if action == "drain":
            hall.drain(number)
            while wait := hall.reservations.next_waiter(PLACES - hall.used):
                assert wait.until > START
                hall.used += 1
        elif action == "ask":
            for _ in range(number):
                count += 1
                answer = hall.ask(f"c{count}")
                if isinstance(answer, Refuse):
                    due[f"c{count}"] = now + answer.retry_after
        else:
            for key in [key for key, at in due.items() if at <= now][:number]:
                del due[key]
                answer = hall.ask(key)
                if isinstance(answer, Refuse):
                    due[key] = now + answer.retry_after
        snapshot = hall.reservations.snapshot()
        assert 0 <= snapshot.missed <= snapshot.outstanding <= count
        assert 0 <= snapshot.parked <= 512
        assert 0.25 <= snapshot.returning <= 1
        assert hall.used <= PLACES
        ahead = sorted(at - now for at in due.values() if at > now)
        for index, seconds in enumerate(ahead):
            # As close as the share of those who return allows; rounding moves them by up to a second.
            assert index + 1 <= PLACES + 1 + RATE / 0.25 * (seconds + 1)
    hall.clock.advance(4000)
    hall.reservations.snapshot()
    hall.reservations._waiting.clear()
    assert is_empty(hall.reservations)


@examples
@given(groups=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 5, allow_nan=False)), max_size=20))
def test_among_the_faithful_no_moment_is_promised_twice(groups: list[tuple[int, float]]) -> None:
    """If all return when told and jobs drain at the rate, turns due by any time fit the places by then."""
    hall = Hall()
    due: list[tuple[float, str]] = []
    count = 0

    def live_until(moment: float) -> None:
        for at, key in sorted(due):
            if at > moment:
                break
            hall.drain(int(RATE * (at - hall.clock.now)))
            hall.clock.now = at
            due.remove((at, key))
            answer = hall.ask(key)
            if isinstance(answer, Refuse):
                due.append((at + answer.retry_after, key))
        hall.clock.now = max(hall.clock.now, moment)

    for number, pause in groups:
        live_until(hall.clock.now + pause)
        for _ in range(number):
            count += 1
            answer = hall.ask(f"c{count}")
            if isinstance(answer, Refuse):
                due.append((hall.clock.now + answer.retry_after, f"c{count}"))
        for index, (at, _) in enumerate(sorted(due)):
            assert index + 1 <= PLACES + RATE * (at - hall.clock.now) + 1


def test_refusals_are_never_before_the_client_has_a_token() -> None:
    """A client whose next token comes later than its turn is told the later time."""
    assert Hall().refuse("c", not_before=7.2) == 8


# --- coming back -------------------------------------------------------------------------------------------


def test_who_comes_early_is_told_the_same_moment() -> None:
    """Asking before one's turn neither moves it nor counts as due, even when places are free."""
    hall = Hall()
    told = hall.crowd(100)["c99"]
    hall.used = 0
    for passed in range(1, told):
        hall.clock.advance(1)
        assert not hall.reservations.is_due("c99")
        assert hall.refuse("c99") == told - passed
    hall.clock.advance(1)
    assert hall.reservations.is_due("c99")
    assert hall.ask("c99") == Admit()


def test_only_who_comes_on_time_owes_no_token() -> None:
    """A newcomer and an early one are charged; one who comes at its turn is not; after that it is new."""
    hall = Hall()
    told = hall.refuse("c")
    assert not hall.reservations.is_due("c")
    assert not hall.reservations.is_due("never seen")
    hall.clock.advance(told)
    hall.drain(5)
    assert hall.reservations.is_due("c")
    assert hall.ask("c") == Admit()
    assert not hall.reservations.is_due("c")


def test_who_is_due_passes_newcomers() -> None:
    """With a turn outstanding and one free place, the newcomer is refused and the due one admitted."""
    hall = Hall()
    told = hall.refuse("c")
    hall.drain(1)
    hall.clock.advance(told)
    assert isinstance(hall.ask("newcomer"), Refuse)
    assert hall.ask("c") == Admit()


def test_a_hole_in_the_queue_is_kept_for_those_who_are_promised() -> None:
    """A newcomer comes in only where all who hold a turn would fit beside it."""
    hall = Hall()
    hall.crowd(9)
    hall.drain(9)
    assert isinstance(hall.ask("refused"), Refuse)
    hall.drain(2)
    assert hall.ask("taken") == Admit()


def test_workers_that_would_run_dry_take_newcomers() -> None:
    """Below a job for each worker and .6 s of work, newcomers come in, unless their client holds a turn."""
    hall = Hall()
    hall.crowd(100)
    hall.used = round(WORKERS + 0.6 * RATE)
    assert isinstance(hall.ask("too early"), Refuse)
    hall.used -= 1
    assert isinstance(hall.ask("second photo", client="c7"), Refuse)
    assert hall.ask("newcomer") == Admit()
