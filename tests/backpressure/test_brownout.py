"""Brownout: two marks, a lane with a bound, and one turn in ten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.brownout import Brownout, DeferredQueue
from tests.examples import examples

PLACES = 100
NAMES = ["large", "medium", "small", "thumb"]


def brownout_of(capacity: int = 5) -> Brownout:
    """Begins at 75 of 100 places and ends at 25."""
    return Brownout(0.75, 0.25, DeferredQueue(capacity))


def press(brownout: Brownout) -> None:
    """Fill the queue."""
    brownout.observe(PLACES, PLACES)
    assert brownout.active


def put_off(deferred_queue: DeferredQueue, *keys: str) -> None:
    """Let jobs wait for their second part."""
    for key in keys:
        assert deferred_queue.reserve(key)
        deferred_queue.push(key)


def test_it_begins_at_the_high_mark_and_ends_at_the_low_one() -> None:
    """Rising, it begins at 75 and not before; falling, it lasts until 25."""
    brownout = brownout_of()

    def active_at(waiting: int) -> bool:
        brownout.observe(waiting, PLACES)
        return brownout.active

    assert min(n for n in range(PLACES + 1) if active_at(n)) == 75
    assert min(n for n in range(PLACES, -1, -1) if active_at(n)) == 26


def test_a_queue_that_swings_between_the_marks_changes_nothing() -> None:
    """Between 26 and 74 it stays as it was, so that it does not flicker."""
    for pressed in (False, True):
        brownout = brownout_of()
        if pressed:
            press(brownout)
        for _ in range(20):
            brownout.observe(26, PLACES)
            brownout.observe(74, PLACES)
            assert brownout.active is pressed
        assert brownout.snapshot().begun == pressed


def test_it_is_known_how_many_will_be_made_whole() -> None:
    """Should nobody come any more, the last 25 of those who wait are taken after its end."""
    brownout = brownout_of()
    assert brownout.ends_before(60, 60, PLACES) == 0
    press(brownout)
    assert [brownout.ends_before(place, 60, PLACES) for place in (1, 35, 36, 60)] == [0, 0, 1, 25]
    assert brownout.ends_before(10, 10, PLACES) == 10


def test_a_lane_of_no_places_means_none() -> None:
    """It never begins, and what was promised before is made all the same."""
    brownout = brownout_of(capacity=0)
    brownout.observe(PLACES, PLACES)
    assert not brownout.active
    assert brownout.split("job", NAMES, "thumb") == (NAMES, [])
    brownout.deferred_queue.push("promised")
    assert brownout.deferred_is_next(waiting=0)


def test_without_pressure_every_job_is_made_whole() -> None:
    """Nothing is put off, and no place in the lane is taken."""
    brownout = brownout_of()
    assert brownout.split("job", NAMES, "thumb") == (NAMES, [])
    assert len(brownout.deferred_queue) == 0


def test_under_pressure_the_most_needed_comes_first() -> None:
    """The others are put off, with a place held for them."""
    brownout = brownout_of()
    press(brownout)
    assert brownout.split("job", NAMES, "thumb") == (["thumb"], ["large", "medium", "small"])
    assert brownout.snapshot().deferred == 1
    assert brownout.split("small job", ["thumb"], "thumb") == (["thumb"], [])
    assert brownout.snapshot().deferred == 1


def test_with_a_full_lane_jobs_are_made_whole() -> None:
    """Held places count; one that is dropped or taken is free again."""
    brownout = brownout_of(capacity=2)
    press(brownout)
    deferred_queue = brownout.deferred_queue
    assert [len(brownout.split(key, NAMES, "thumb")[0]) for key in "abc"] == [1, 1, 4]
    deferred_queue.push("a")
    assert len(brownout.split("d", NAMES, "thumb")[0]) == 4
    assert deferred_queue.pop() == "a"
    assert len(brownout.split("d", NAMES, "thumb")[0]) == 1
    deferred_queue.push("b")
    assert deferred_queue.remove("b")
    assert not deferred_queue.remove("d")
    assert not deferred_queue.remove("never there")
    assert deferred_queue.reserve("e")


def test_a_part_is_taken_only_once_the_first_is_made() -> None:
    """A held place is not ready; the one that has been ready longest comes first."""
    deferred_queue = DeferredQueue(5)
    deferred_queue.reserve("a")
    deferred_queue.reserve("b")
    assert deferred_queue.pop() is None
    deferred_queue.push("b")
    deferred_queue.push("a")
    assert [deferred_queue.pop(), deferred_queue.pop(), deferred_queue.pop()] == ["b", "a", None]


def test_what_was_promised_before_a_restart_is_never_refused() -> None:
    """Jobs found in the store come to the lane even when it is smaller now; new ones find it full."""
    deferred_queue = DeferredQueue(2)
    for key in "abc":
        deferred_queue.push(key)
    assert deferred_queue.ready == 3
    assert not deferred_queue.reserve("d")


def test_while_jobs_wait_the_lane_has_one_turn_in_ten() -> None:
    """Of a hundred jobs taken under pressure ten are from the lane, evenly spread."""
    brownout = brownout_of(capacity=100)
    put_off(brownout.deferred_queue, *map(str, range(100)))
    reservations = [n for n in range(1, 101) if brownout.deferred_is_next(waiting=50)]
    assert reservations == list(range(10, 101, 10))


def test_while_none_waits_the_lane_has_every_turn() -> None:
    """An idle worker makes what was put off; with nothing put off there is no turn to take."""
    brownout = brownout_of()
    assert not brownout.deferred_is_next(waiting=0)
    put_off(brownout.deferred_queue, "a", "b")
    assert brownout.deferred_is_next(waiting=0)
    assert brownout.deferred_is_next(waiting=0)
    assert not brownout.deferred_is_next(waiting=1)


@pytest.mark.parametrize(
    ("high", "low", "every"), [(0.5, 0.5, 10), (0.2, 0.7, 10), (1.1, 0.1, 10), (0.7, 0.2, 1)]
)
def test_senseless_marks_are_refused(high: float, low: float, every: int) -> None:
    """It ends below where it begins, and leaves turns to fresh jobs."""
    with pytest.raises(ValueError, match="a brownout ends"):
        Brownout(high, low, DeferredQueue(1), every=every)


@examples
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["observe", "split", "put", "take"]), st.integers(0, 100)), max_size=99
    )
)
def test_whatever_is_put_off_is_made_in_the_end(steps: list[tuple[str, int]]) -> None:
    """The lane keeps its bound, forgets no job and gives none twice."""
    brownout = brownout_of(capacity=4)
    deferred_queue = brownout.deferred_queue
    held: list[str] = []
    put: list[str] = []
    taken: list[str] = []
    for index, (action, number) in enumerate(steps):
        if action == "observe":
            brownout.observe(number, PLACES)
        elif action == "split" and brownout.split(str(index), NAMES, "thumb")[1]:
            held.append(str(index))
        elif action == "put" and held:
            put.append(held.pop(0))
            deferred_queue.push(put[-1])
        elif action == "take" and (key := deferred_queue.pop()):
            taken.append(key)
        assert len(deferred_queue) <= 4
    for key in held:
        put.append(key)
        deferred_queue.push(key)
    while key := deferred_queue.pop():
        taken.append(key)
    assert taken == put
    assert len(deferred_queue) == 0
