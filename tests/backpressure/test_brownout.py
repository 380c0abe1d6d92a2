"""Brownout: two marks, a bounded deferred queue, and one deferred job in ten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.brownout import Brownout, DeferredQueue
from tests.examples import examples

CAPACITY = 100
NAMES = ["large", "medium", "small", "thumb"]


def brownout_of(capacity: int = 5) -> Brownout:
    """A brownout that begins at 75 of 100 waiting jobs and ends at 25."""
    return Brownout(0.75, 0.25, DeferredQueue(capacity))


def begin(brownout: Brownout) -> None:
    """Fill the queue, so that the brownout begins."""
    brownout.observe(CAPACITY, CAPACITY)
    assert brownout.active


def defer(deferred_queue: DeferredQueue, *keys: str) -> None:
    """Add jobs whose deferred variants can be made."""
    for key in keys:
        assert deferred_queue.reserve(key)
        deferred_queue.push(key)


def test_it_begins_at_the_high_mark_and_ends_at_the_low_one() -> None:
    """While the queue fills, it begins at 75 and not before; while it drains, it lasts until 25."""
    brownout = brownout_of()

    def active_at(waiting: int) -> bool:
        brownout.observe(waiting, CAPACITY)
        return brownout.active

    assert min(n for n in range(CAPACITY + 1) if active_at(n)) == 75
    assert min(n for n in range(CAPACITY, -1, -1) if active_at(n)) == 26


def test_a_queue_that_swings_between_the_marks_changes_nothing() -> None:
    """Between 26 and 74 waiting jobs nothing changes, so that it does not flicker."""
    for begun in (False, True):
        brownout = brownout_of()
        if begun:
            begin(brownout)
        for _ in range(20):
            brownout.observe(26, CAPACITY)
            brownout.observe(74, CAPACITY)
            assert brownout.active is begun
        assert brownout.snapshot().begun == begun


def test_it_is_known_how_many_jobs_will_be_made_in_full() -> None:
    """If no more jobs come, the last 25 of those that wait are taken after the brownout."""
    brownout = brownout_of()
    assert brownout.full_jobs_within(60, 60, CAPACITY) == 0
    begin(brownout)
    assert [brownout.full_jobs_within(position, 60, CAPACITY) for position in (1, 35, 36, 60)] == [
        0,
        0,
        1,
        25,
    ]
    assert brownout.full_jobs_within(10, 10, CAPACITY) == 10


def test_without_a_deferred_queue_there_is_no_brownout() -> None:
    """With a capacity of 0 none begins, but variants that were deferred before are made."""
    brownout = brownout_of(capacity=0)
    brownout.observe(CAPACITY, CAPACITY)
    assert not brownout.active
    assert brownout.split("job", NAMES, "thumb") == (NAMES, [])
    brownout.deferred_queue.push("from before")
    assert brownout.deferred_is_next(waiting=0)


def test_without_pressure_every_job_is_made_in_full() -> None:
    """Nothing is deferred, and no place in the deferred queue is reserved."""
    brownout = brownout_of()
    assert brownout.split("job", NAMES, "thumb") == (NAMES, [])
    assert len(brownout.deferred_queue) == 0


def test_under_pressure_the_most_needed_variant_is_made_first() -> None:
    """The other variants are deferred, with a reserved place; a job without others is made in full."""
    brownout = brownout_of()
    begin(brownout)
    assert brownout.split("job", NAMES, "thumb") == (["thumb"], ["large", "medium", "small"])
    assert brownout.snapshot().deferred == 1
    assert brownout.split("small job", ["thumb"], "thumb") == (["thumb"], [])
    assert brownout.snapshot().deferred == 1


def test_with_a_full_deferred_queue_jobs_are_made_in_full() -> None:
    """Reserved places count; one that is removed or taken is free again."""
    brownout = brownout_of(capacity=2)
    begin(brownout)
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


def test_a_job_is_taken_only_when_its_first_variant_is_made() -> None:
    """A reserved place is not ready; the job that has been ready longest comes first."""
    deferred_queue = DeferredQueue(5)
    deferred_queue.reserve("a")
    deferred_queue.reserve("b")
    assert deferred_queue.pop() is None
    deferred_queue.push("b")
    deferred_queue.push("a")
    assert [deferred_queue.pop(), deferred_queue.pop(), deferred_queue.pop()] == ["b", "a", None]


def test_jobs_from_before_a_restart_are_never_refused() -> None:
    """They come in even when the deferred queue is smaller now; new jobs find it full."""
    deferred_queue = DeferredQueue(2)
    for key in "abc":
        deferred_queue.push(key)
    assert deferred_queue.ready == 3
    assert not deferred_queue.reserve("d")


def test_while_jobs_wait_one_job_in_ten_is_a_deferred_one() -> None:
    """Of a hundred jobs taken under pressure ten are deferred ones, evenly spread."""
    brownout = brownout_of(capacity=100)
    defer(brownout.deferred_queue, *map(str, range(100)))
    deferred = [n for n in range(1, 101) if brownout.deferred_is_next(waiting=50)]
    assert deferred == list(range(10, 101, 10))


def test_while_none_waits_every_job_is_a_deferred_one() -> None:
    """An idle worker makes deferred variants, as long as there are any."""
    brownout = brownout_of()
    assert not brownout.deferred_is_next(waiting=0)
    defer(brownout.deferred_queue, "a", "b")
    assert brownout.deferred_is_next(waiting=0)
    assert brownout.deferred_is_next(waiting=0)
    assert not brownout.deferred_is_next(waiting=1)


@pytest.mark.parametrize(
    ("high", "low", "every"), [(0.5, 0.5, 10), (0.2, 0.7, 10), (1.1, 0.1, 10), (0.7, 0.2, 1)]
)
def test_senseless_marks_are_refused(high: float, low: float, every: int) -> None:
    """It must end below the mark at which it begins, and let workers take new jobs as well."""
    with pytest.raises(ValueError, match="a brownout must"):
        Brownout(high, low, DeferredQueue(1), every=every)


@examples
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["observe", "split", "push", "pop"]), st.integers(0, 100)), max_size=99
    )
)
def test_all_deferred_variants_are_made_in_the_end(steps: list[tuple[str, int]]) -> None:
    """The deferred queue keeps its bound, loses no job and gives none twice."""
    brownout = brownout_of(capacity=4)
    deferred_queue = brownout.deferred_queue
    reserved: list[str] = []
    pushed: list[str] = []
    taken: list[str] = []
    for index, (action, number) in enumerate(steps):
        if action == "observe":
            brownout.observe(number, CAPACITY)
        elif action == "split" and brownout.split(str(index), NAMES, "thumb")[1]:
            reserved.append(str(index))
        elif action == "push" and reserved:
            pushed.append(reserved.pop(0))
            deferred_queue.push(pushed[-1])
        elif action == "pop" and (key := deferred_queue.pop()):
            taken.append(key)
        assert len(deferred_queue) <= 4
    for key in reserved:
        pushed.append(key)
        deferred_queue.push(key)
    while key := deferred_queue.pop():
        taken.append(key)
    assert taken == pushed
    assert len(deferred_queue) == 0
