"""Receiving slots, queue and overflow, in a real event loop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.drain_rate import DrainRate
from app.backpressure.upload_queue import ReceivingSlot, ShareExceeded, UploadQueue
from tests.clocks import HandClock, settle
from tests.examples import examples

pytestmark = pytest.mark.anyio


@dataclass(eq=False)
class Upload:
    """A job in the queue of these tests."""

    name: str
    client: str = "somebody"

    def __repr__(self) -> str:
        return self.name


class NoRoom(Exception):
    """Raised where a new client would be refused."""


Make = Callable[..., UploadQueue[Upload]]


@pytest.fixture
def clock() -> HandClock:
    """The clock of the upload queue."""
    return HandClock(100.0)


@pytest.fixture
def queue_of(clock: HandClock) -> Make:
    """A function that builds an upload queue with one worker that takes a second for each job."""

    def build(
        capacity: int = 2, max_receiving: int = 4, client_share: int = 100, max_wait_s: float = float("inf")
    ) -> UploadQueue[Upload]:
        return UploadQueue(
            capacity,
            max_receiving,
            client_share,
            DrainRate(1, max_receiving, job_s=1.0),
            max_wait_s=max_wait_s,
            clock=clock,
        )

    return build


def enter(upload_queue: UploadQueue[Upload], client: str = "somebody") -> ReceivingSlot[Upload]:
    """Take a receiving slot, as for a new client while there are no reservations."""
    upload_queue.check_share(client)
    if upload_queue.unreserved_slots <= 0:
        raise NoRoom
    upload_queue.count_client(client)
    return upload_queue.reserve(client)


def upload(upload_queue: UploadQueue[Upload], name: str, client: str = "somebody") -> Upload:
    """Bring in one complete upload."""
    entry = Upload(name, client)
    enter(upload_queue, client).enqueue(entry)
    return entry


async def take_all(upload_queue: UploadQueue[Upload]) -> list[str]:
    """Take all jobs that wait; their names in the order in which workers get them."""
    taken = []
    while upload_queue.waiting:
        taken.append((await upload_queue.take()).name)
    return taken


def is_empty(upload_queue: UploadQueue[Upload]) -> bool:
    """Whether no slot is held, no job waits, and nothing counts in any share."""
    snapshot = upload_queue.snapshot()
    return (snapshot.receiving, snapshot.waiting, upload_queue._client_counts.total()) == (0, 0, 0)


# --- from a receiving slot to a worker ------------------------------------------------------------------


async def test_uploads_leave_in_the_order_in_which_they_were_finished(queue_of: Make) -> None:
    """A slow uplink holds a receiving slot, never a place in the queue."""
    upload_queue = queue_of()
    slow, fast = enter(upload_queue), enter(upload_queue)
    fast.enqueue(Upload("fast"))
    slow.enqueue(Upload("slow"))
    assert await take_all(upload_queue) == ["fast", "slow"]
    assert is_empty(upload_queue)


async def test_enqueue_never_waits_and_never_refuses(queue_of: Make) -> None:
    """Uploads that are complete when the queue is full go to the overflow, all of them, at once."""
    upload_queue = queue_of(capacity=2, max_receiving=6)
    slots = [enter(upload_queue) for _ in range(6)]
    for number, slot in enumerate(slots):
        slot.enqueue(Upload(str(number)))
    assert upload_queue.waiting == 6
    assert upload_queue.snapshot().receiving == 0
    assert await take_all(upload_queue) == list("012345")


async def test_the_overflow_is_ahead_of_new_clients(queue_of: Make) -> None:
    """While a job waits in the overflow a new client is refused, though a job has just left the queue."""
    upload_queue = queue_of(capacity=1, max_receiving=3)
    slots = [enter(upload_queue) for _ in range(3)]
    for number, slot in enumerate(slots):
        slot.enqueue(Upload(str(number)))
    for expected in ("0", "1"):
        with pytest.raises(NoRoom):
            enter(upload_queue)
        assert (await upload_queue.take()).name == expected
    with pytest.raises(NoRoom):
        enter(upload_queue)
    assert (await upload_queue.take()).name == "2"
    upload(upload_queue, "new")
    assert await take_all(upload_queue) == ["new"]


async def test_the_queue_is_an_asyncio_queue_of_its_capacity(queue_of: Make) -> None:
    """The bounded queue is the one of asyncio."""
    upload_queue = queue_of(capacity=3)
    assert isinstance(upload_queue._queue, asyncio.Queue)
    assert upload_queue._queue.maxsize == 3


async def test_restored_jobs_are_ahead_of_new_clients_and_never_refused(queue_of: Make) -> None:
    """Jobs from before a restart come in, more than the queue holds, in their order."""
    upload_queue = queue_of(capacity=2)
    for number in range(5):
        upload_queue.restore(Upload(str(number)))
    assert upload_queue.waiting == 5
    with pytest.raises(NoRoom):
        enter(upload_queue)
    assert await take_all(upload_queue) == list("01234")
    assert is_empty(upload_queue)


# --- bounds ---------------------------------------------------------------------------------------------


async def test_a_full_queue_has_no_slots(queue_of: Make) -> None:
    """There is no slot for a third client of a queue of two, until one job has left."""
    upload_queue = queue_of(capacity=2)
    upload(upload_queue, "a")
    upload(upload_queue, "b")
    with pytest.raises(NoRoom):
        enter(upload_queue)
    assert upload_queue.snapshot().receiving == 0
    await upload_queue.take()
    upload(upload_queue, "c")
    assert await take_all(upload_queue) == ["b", "c"]


async def test_receiving_slots_are_bounded(queue_of: Make) -> None:
    """Uploads on their way in are bounded too, even when the queue is empty."""
    upload_queue = queue_of(capacity=10, max_receiving=2)
    first, second = enter(upload_queue), enter(upload_queue)
    assert upload_queue.receiving_full
    with pytest.raises(NoRoom):
        enter(upload_queue)
    second.release()
    assert not upload_queue.receiving_full
    third = enter(upload_queue)
    first.release()
    third.release()
    assert is_empty(upload_queue)


async def test_there_are_no_slots_when_the_wait_would_be_too_long(queue_of: Make) -> None:
    """The queue counts as full when the estimated wait exceeds the maximum."""
    upload_queue = queue_of(capacity=100, max_receiving=9, max_wait_s=3)
    for number in range(4):
        upload(upload_queue, str(number))
    assert (upload_queue.unreserved_slots, upload_queue.free_slots) == (0, 0)
    with pytest.raises(NoRoom):
        enter(upload_queue)
    await upload_queue.take()
    upload(upload_queue, "now")


async def test_a_burst_of_uploads_makes_no_wait_too_long(queue_of: Make, clock: HandClock) -> None:
    """Uploads that are known to end soon count for the longest wait; very slow ones do not."""
    upload_queue = queue_of(capacity=20, max_receiving=60, max_wait_s=30)
    trickles = [enter(upload_queue) for _ in range(20)]
    burst = [enter(upload_queue) for _ in range(20)]
    clock.advance(1)
    for slot in trickles:
        slot.progress(0.001)
    assert upload_queue.unreserved_slots == 20
    for slot in burst:
        slot.progress(0.5)
    assert upload_queue.unreserved_slots == 11
    late = [enter(upload_queue) for _ in range(11)]
    clock.advance(1)
    for slot in late:
        slot.progress(0.5)
    assert upload_queue.unreserved_slots == 0
    for slot in [*burst, *late]:
        slot.enqueue(Upload("fast"))
    assert (upload_queue.waiting, upload_queue.unreserved_slots) == (31, -11)
    for slot in trickles:
        slot.release()
    await take_all(upload_queue)
    assert is_empty(upload_queue)
    assert upload_queue.unreserved_slots == 20


async def test_uploads_on_their_way_count_only_when_there_are_reservations(queue_of: Make) -> None:
    """Without reservations the receiving slots are the bound; with them, uploads count as waiting jobs."""
    upload_queue = queue_of(capacity=3, max_receiving=6)
    upload(upload_queue, "a")
    for _ in range(4):
        enter(upload_queue)
    assert upload_queue.load == 5
    assert upload_queue.unreserved_slots == 2
    assert upload_queue.free_slots == -2


async def test_a_slow_upload_keeps_nobody_out(queue_of: Make, clock: HandClock) -> None:
    """It counts for half a second, then only if it ends within half the time in which a full queue drains."""
    upload_queue = queue_of(capacity=4, max_receiving=8)
    slow, fast = enter(upload_queue), enter(upload_queue)
    clock.advance(0.4)
    for slot in (slow, fast):
        slot.progress(0.01)
    assert upload_queue.load == 2
    clock.advance(0.6)
    slow.progress(0.1)
    fast.progress(0.4)
    assert upload_queue.load == 1
    clock.advance(8)
    slow.progress(0.9)
    assert upload_queue.load == 2
    fast.enqueue(Upload("fast"))
    slow.release()
    assert upload_queue.load == 1
    slow.progress(0.1)
    assert upload_queue.load == 1


async def test_an_upload_of_which_nothing_arrives_is_slow(queue_of: Make, clock: HandClock) -> None:
    """Without a byte, or without a length to compare with, its end is unknown."""
    upload_queue = queue_of()
    slot = enter(upload_queue)
    clock.advance(0.5)
    slot.progress(0.0)
    assert upload_queue.load == 0


async def test_it_notifies_whenever_a_slot_may_have_come_free(queue_of: Make, clock: HandClock) -> None:
    """A job leaves or is removed, an upload is given up, is complete, or turns out to be slow."""
    upload_queue = queue_of(capacity=2, max_receiving=4)
    told: list[int] = []
    upload_queue.subscribe(lambda: told.append(upload_queue.free_slots))
    given_up, slow = enter(upload_queue), enter(upload_queue)
    gone, removed = upload(upload_queue, "a"), upload(upload_queue, "b")
    told.clear()
    given_up.release()
    assert told == [-1]
    clock.advance(1)
    slow.progress(0)
    assert told == [-1, 0]
    assert await upload_queue.take() is gone
    assert told == [-1, 0, 1]
    upload_queue.remove(removed)
    assert told == [-1, 0, 1, 2]
    slow.enqueue(Upload("slow"))
    assert told == [-1, 0, 1, 2, 1]


async def test_how_long_uploads_hold_their_slots_is_measured(queue_of: Make, clock: HandClock) -> None:
    """From the receiving slot to the last byte."""
    upload_queue = queue_of(capacity=100, max_receiving=2)
    for _ in range(1000):
        slot = enter(upload_queue)
        clock.advance(10)
        slot.enqueue(Upload("one"))
        await upload_queue.take()
    assert upload_queue.drain_rate.uploads_per_s == pytest.approx(2 / 10, rel=0.05)


# --- shares of clients ----------------------------------------------------------------------------------


async def test_one_client_s_share_is_bounded(queue_of: Make) -> None:
    """Uploads and waiting jobs count together; other clients are not affected."""
    upload_queue = queue_of(capacity=10, max_receiving=10, client_share=2)
    upload(upload_queue, "a", "greedy")
    held = enter(upload_queue, "greedy")
    with pytest.raises(ShareExceeded) as refusal:
        enter(upload_queue, "greedy")
    assert refusal.value.share == 2
    enter(upload_queue, "modest")
    held.release()
    enter(upload_queue, "greedy")


async def test_a_share_is_given_back_when_a_job_is_taken(queue_of: Make) -> None:
    """A running job does not count."""
    upload_queue = queue_of(client_share=1)
    upload(upload_queue, "a", "greedy")
    with pytest.raises(ShareExceeded):
        enter(upload_queue, "greedy")
    await upload_queue.take()
    enter(upload_queue, "greedy").release()
    assert is_empty(upload_queue)


async def test_a_share_is_given_back_when_a_job_is_removed(queue_of: Make) -> None:
    """Removing a waiting job makes room for the client's next one, in the queue and in the overflow."""
    upload_queue = queue_of(capacity=1, max_receiving=2, client_share=2)
    slots = [enter(upload_queue, "greedy"), enter(upload_queue, "greedy")]
    entries = [Upload("queue", "greedy"), Upload("overflow", "greedy")]
    for slot, entry in zip(slots, entries, strict=True):
        slot.enqueue(entry)
    for entry in entries:
        with pytest.raises(ShareExceeded):
            upload_queue.check_share("greedy")
        assert upload_queue.remove(entry)
        upload_queue.check_share("greedy")
        upload_queue.restore(Upload("another", "greedy"))
    assert upload_queue.waiting == 2


async def test_restored_jobs_count_in_their_client_s_share(queue_of: Make) -> None:
    """After a restart a client has no larger share than before."""
    upload_queue = queue_of(client_share=2, capacity=5)
    upload_queue.restore(Upload("a", "greedy"))
    upload_queue.restore(Upload("b", "greedy"))
    with pytest.raises(ShareExceeded):
        upload_queue.check_share("greedy")


async def test_a_refusal_for_the_share_tells_when_the_client_s_next_job_leaves(queue_of: Make) -> None:
    """Behind one job of each of two others that is when three jobs have left, however many those have."""
    upload_queue = queue_of(capacity=10, max_receiving=10, client_share=2)
    for name, client in (("a", "x"), ("e", "x"), ("b", "y"), ("c", "greedy"), ("d", "greedy")):
        upload(upload_queue, name, client)
    with pytest.raises(ShareExceeded) as refusal:
        upload_queue.check_share("greedy")
    assert refusal.value.retry_after == pytest.approx(3)


async def test_the_client_s_next_job_may_be_in_the_overflow(queue_of: Make) -> None:
    """Then the whole queue is ahead of it; ahead of a client that has only uploads are all jobs."""
    upload_queue = queue_of(capacity=1, max_receiving=4, client_share=1)
    slots = [enter(upload_queue, client) for client in ("x", "greedy", "hopeful")]
    for slot in slots[:2]:
        slot.enqueue(Upload("one", slot.client))
    for client, seconds in (("greedy", 2), ("hopeful", 3)):
        with pytest.raises(ShareExceeded) as refusal:
            upload_queue.check_share(client)
        assert refusal.value.retry_after == pytest.approx(seconds)


# --- fairness -------------------------------------------------------------------------------------------


async def test_jobs_leave_round_robin_over_clients(queue_of: Make) -> None:
    """A client with one photo does not wait behind a client with many, and positions agree."""
    upload_queue = queue_of(capacity=10, max_receiving=10)
    for number in range(4):
        upload(upload_queue, f"many {number}", "many")
    one, two = upload(upload_queue, "one", "x"), upload(upload_queue, "two", "y")
    assert (upload_queue.position(one), upload_queue.position(two)) == (2, 3)
    assert await take_all(upload_queue) == ["many 0", "one", "two", "many 1", "many 2", "many 3"]


async def test_the_overflow_is_round_robin_too(queue_of: Make) -> None:
    """Jobs of other clients move into the queue between those of a client that fills the overflow."""
    upload_queue = queue_of(capacity=1, max_receiving=6)
    slots = [enter(upload_queue, client) for client in ("many", "many", "many", "x")]
    for number, slot in enumerate(slots):
        slot.enqueue(Upload(f"{slot.client} {number}", slot.client))
    assert await take_all(upload_queue) == ["many 0", "many 1", "x 3", "many 2"]


# --- receiving slots ------------------------------------------------------------------------------------


async def test_a_slot_is_given_back_once(queue_of: Make) -> None:
    """Releasing it again, or after it was enqueued, gives nothing back a second time."""
    upload_queue = queue_of()
    abandoned, finished = enter(upload_queue), enter(upload_queue)
    for _ in range(3):
        abandoned.release()
    assert upload_queue.snapshot().receiving == 1
    finished.enqueue(Upload("a"))
    finished.release()
    assert (
        upload_queue.snapshot().receiving,
        upload_queue.waiting,
        upload_queue._client_counts["somebody"],
    ) == (0, 1, 1)


async def test_a_slot_that_was_given_up_takes_no_job(queue_of: Make) -> None:
    """That would be a way past the bounds, so it is an error in the program."""
    upload_queue = queue_of()
    released, enqueued = enter(upload_queue), enter(upload_queue)
    released.release()
    enqueued.enqueue(Upload("a"))
    for slot in (released, enqueued):
        with pytest.raises(RuntimeError, match="already given up"):
            slot.enqueue(Upload("b"))
    assert upload_queue.waiting == 1


# --- taking, removing, positions ------------------------------------------------------------------------


async def test_take_waits_for_a_job(queue_of: Make) -> None:
    """Workers that wait get the next jobs in the order in which they came."""
    upload_queue = queue_of()
    workers = [asyncio.create_task(upload_queue.take()) for _ in range(2)]
    await settle()
    assert not any(worker.done() for worker in workers)
    upload(upload_queue, "a")
    upload(upload_queue, "b")
    assert [entry.name for entry in await asyncio.gather(*workers)] == ["a", "b"]
    assert is_empty(upload_queue)


@pytest.mark.parametrize("steps", range(4))
async def test_cancelling_a_take_loses_nothing(queue_of: Make, steps: int) -> None:
    """Whether a worker is stopped before, while or after a job comes, the job still waits or was returned."""
    upload_queue = queue_of()
    worker = asyncio.create_task(upload_queue.take())
    await settle()
    upload(upload_queue, "a")
    for _ in range(steps):
        await asyncio.sleep(0)
    worker.cancel()
    taken_job, *_ = await asyncio.gather(worker, return_exceptions=True)
    if isinstance(taken_job, asyncio.CancelledError):
        assert upload_queue.waiting == 1
        assert (await upload_queue.take()).name == "a"
    else:
        assert isinstance(taken_job, Upload)
    assert is_empty(upload_queue)


async def test_a_cancelled_take_wakes_the_next_worker(queue_of: Make) -> None:
    """The job that woke a stopped worker goes to the next one that waits."""
    upload_queue = queue_of()
    stopped, patient = (asyncio.create_task(upload_queue.take()) for _ in range(2))
    await settle()
    upload(upload_queue, "a")
    stopped.cancel()
    assert (await patient).name == "a"
    await asyncio.gather(stopped, return_exceptions=True)
    assert stopped.cancelled()


async def test_a_job_that_is_removed_before_the_worker_wakes_up_is_not_taken(queue_of: Make) -> None:
    """The job is gone, and the worker goes on waiting."""
    upload_queue = queue_of()
    worker = asyncio.create_task(upload_queue.take())
    await settle()
    assert upload_queue.remove(upload(upload_queue, "cancelled"))
    await settle()
    assert not worker.done()
    upload(upload_queue, "next")
    assert (await worker).name == "next"
    assert is_empty(upload_queue)


async def test_a_job_that_does_not_wait_cannot_be_removed(queue_of: Make) -> None:
    """Removing a running job, or one that was removed before, changes nothing."""
    upload_queue = queue_of()
    entry = upload(upload_queue, "a")
    assert upload_queue.remove(entry)
    assert not upload_queue.remove(entry)
    upload(upload_queue, "b")
    assert not upload_queue.remove(await upload_queue.take())
    assert is_empty(upload_queue)


async def test_removing_a_job_moves_the_overflow_up(queue_of: Make) -> None:
    """The room in the queue goes to the first job in the overflow."""
    upload_queue = queue_of(capacity=1, max_receiving=2)
    slots = [enter(upload_queue), enter(upload_queue)]
    first, second = Upload("first"), Upload("second")
    slots[0].enqueue(first)
    slots[1].enqueue(second)
    assert upload_queue.remove(first)
    assert upload_queue.position(second) == 1
    assert (await upload_queue.take()) is second


async def test_positions_count_from_the_next_to_be_taken(queue_of: Make) -> None:
    """Overflow positions follow those of the queue; a job that does not wait has none."""
    upload_queue = queue_of(capacity=2, max_receiving=4)
    slots = [enter(upload_queue) for _ in range(4)]
    entries = [Upload(name) for name in "abcd"]
    for slot, entry in zip(slots, entries, strict=True):
        slot.enqueue(entry)
    assert [upload_queue.position(entry) for entry in entries] == [1, 2, 3, 4]
    assert upload_queue.remove(entries[1])
    taken = await upload_queue.take()
    assert [upload_queue.position(entry) for entry in entries] == [None, None, 1, 2]
    assert upload_queue.position(taken) is None


async def test_how_long_it_has_been_full(queue_of: Make, clock: HandClock) -> None:
    """The time counts while the queue is full without a break, though jobs come and go."""
    upload_queue = queue_of(capacity=1, max_receiving=3)
    clock.advance(50)
    assert upload_queue.full_for == 0
    slots = [enter(upload_queue) for _ in range(2)]
    slots[0].enqueue(Upload("a"))
    clock.advance(10)
    slots[1].enqueue(Upload("b"))
    clock.advance(10)
    await upload_queue.take()
    assert upload_queue.full_for == 20
    entry = await upload_queue.take()
    assert upload_queue.full_for == 0
    clock.advance(10)
    upload(upload_queue, "c")
    clock.advance(5)
    assert upload_queue.full_for == 5
    assert not upload_queue.remove(entry)
    assert upload_queue.full_for == 5


async def test_its_snapshot_counts_slots_and_jobs(queue_of: Make) -> None:
    """It has both bounds, the uploads, the jobs in the queue and in the overflow, drain rate and wait."""
    upload_queue = queue_of(capacity=2, max_receiving=4)
    slots = [enter(upload_queue) for _ in range(4)]
    for slot in slots[:3]:
        slot.enqueue(Upload("one"))
    snapshot = upload_queue.snapshot()
    assert (snapshot.capacity, snapshot.max_receiving, snapshot.receiving) == (2, 4, 1)
    assert (snapshot.waiting, snapshot.overflow) == (2, 1)
    assert (snapshot.drain_per_s, snapshot.estimated_wait_ms) == (1.0, 3000)


async def test_no_more_jobs_are_shown_to_wait_than_the_queue_has_places(queue_of: Make) -> None:
    """When the queue is made smaller, the jobs that are too many for it are shown as overflow."""
    upload_queue = queue_of(capacity=4)
    for name in ("one", "two", "three"):
        enter(upload_queue).enqueue(Upload(name))
    upload_queue.resize(1)
    snapshot = upload_queue.snapshot()
    assert (snapshot.capacity, snapshot.waiting, snapshot.overflow) == (1, 1, 2)


# --- any sequence of events -----------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enqueue", "release", "take", "remove", "restore"]), st.integers(0, 5)
    ),
    max_size=80,
)


@examples
@given(
    steps=steps, capacity=st.integers(1, 3), max_receiving=st.integers(1, 4), client_share=st.integers(1, 4)
)
async def test_every_slot_and_job_is_accounted_for(
    steps: list[tuple[str, int]], capacity: int, max_receiving: int, client_share: int
) -> None:
    """Bounds are kept, counts are right, position 1 is the next taken, and nothing is held at the end."""
    upload_queue: UploadQueue[Upload] = UploadQueue(
        capacity, max_receiving, client_share, DrainRate(1, max_receiving), clock=HandClock()
    )
    slots: list[ReceivingSlot[Upload]] = []
    waiting: list[Upload] = []
    for number, (step, choice) in enumerate(steps):
        client = "xyz"[choice % 3]
        entry = Upload(str(number), client)
        if step == "enter":
            try:
                slots.append(enter(upload_queue, client))
            except ShareExceeded:
                assert sum(each.client == client for each in [*slots, *waiting]) >= client_share
            except NoRoom:
                assert len(slots) >= max_receiving or len(waiting) >= capacity
            else:
                assert len(slots) <= max_receiving
                assert len(waiting) < capacity
        elif step == "restore":
            upload_queue.restore(entry)
            waiting.append(entry)
        elif step in ("enqueue", "release") and slots:
            slot = slots.pop(choice % len(slots))
            if step == "release":
                slot.release()
            else:
                entry.client = slot.client
                slot.enqueue(entry)
                waiting.append(entry)
        elif step == "take" and waiting:
            (first,) = [each for each in waiting if upload_queue.position(each) == 1]
            assert await upload_queue.take() is first
            waiting.remove(first)
        elif step == "remove" and waiting:
            assert upload_queue.remove(waiting.pop(choice % len(waiting)))
        assert sorted(upload_queue.position(each) or 0 for each in waiting) == list(
            range(1, len(waiting) + 1)
        )
        assert (upload_queue.snapshot().receiving, upload_queue.waiting) == (len(slots), len(waiting))
        assert upload_queue.load == len(waiting) + len(slots)
    for slot in slots:
        slot.release()
    assert sorted(await take_all(upload_queue)) == sorted(each.name for each in waiting)
    assert is_empty(upload_queue)
