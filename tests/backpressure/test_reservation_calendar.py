"""The calendar of reservations: it finds the first second with room, whatever was counted before."""

from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.reservation_calendar import ReservationCalendar
from tests.examples import examples

HOUR = 3600


def test_an_empty_calendar_has_room_at_once() -> None:
    """The first second that is asked for is the answer, whichever it is."""
    calendar = ReservationCalendar()
    assert calendar.first_below(0, 0.5) == 0
    assert calendar.first_below(123_456, 0.5) == 123_456


def test_a_full_second_is_passed_over() -> None:
    """The next one is found, also where seconds come round in the tree."""
    calendar = ReservationCalendar()
    for second in range(4090, 4100):
        calendar.add(second, 3)
    assert calendar.first_below(4090, 3) == 4100
    assert calendar.first_below(4090, 3.5) == 4090
    calendar.add(4097, -1)
    assert calendar.first_below(4090, 3) == 4097


def test_a_calendar_without_room_says_so() -> None:
    """It names a second behind all that it covers, more than an hour ahead."""
    calendar = ReservationCalendar()
    for second in range(5000, 5000 + 4096):
        calendar.add(second, 1)
    assert calendar.first_below(5000, 1) > 5000 + HOUR


@examples
@given(
    start=st.integers(0, 10_000),
    counts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5), st.booleans()), max_size=60),
    asked=st.lists(st.tuples(st.integers(0, 45), st.floats(0.2, 9)), min_size=1, max_size=10),
)
def test_it_finds_what_a_search_would(
    start: int, counts: list[tuple[int, int, bool]], asked: list[tuple[int, float]]
) -> None:
    """For any counts, some taken back, the answer is that of a look at every second from the asked one on."""
    calendar = ReservationCalendar()
    expected = dict.fromkeys(range(100), 0)
    for offset, count, is_taken_back in counts:
        calendar.add(start + offset, count)
        if is_taken_back:
            calendar.add(start + offset, -count)
        else:
            expected[offset] += count
    for offset, limit in asked:
        found = next(second for second in range(offset, 100) if expected[second] < limit)
        assert calendar.first_below(start + offset, limit) == start + found
