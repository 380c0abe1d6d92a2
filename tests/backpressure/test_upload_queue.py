"""Dock, entrance and belt, in a real event loop."""

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
    """What waits in the backlog of these tests."""

    name: str
    client: str = "somebody"

    def __repr__(self) -> str:
        return self.name


class NoRoom(Exception):
    """Raised where a newcomer would be refused."""


Make = Callable[..., UploadQueue[Upload]]


@pytest.fixture
def clock() -> HandClock:
    """Time for the backlog."""
    return HandClock(100.0)


@pytest.fixture
def backlog_of(clock: HandClock) -> Make:
    """A function that builds a backlog with one worker that takes a second for each job."""

    def build(
        capacity: int = 2, dock: int = 4, share: int = 100, max_wait: float = float("inf")
    ) -> UploadQueue[Upload]:
        return UploadQueue(
            capacity, dock, share, DrainRate(1, dock, job_s=1.0), max_wait=max_wait, clock=clock
        )

    return build


def enter(upload_queue: UploadQueue[Upload], client: str = "somebody") -> ReceivingSlot[Upload]:
    """Do what gate and door do for a newcomer while nobody is promised a place."""
    upload_queue.check_share(client)
    if upload_queue.unreserved_slots <= 0:
        raise NoRoom
    upload_queue.count_client(client)
    return upload_queue.reserve(client)


def upload(upload_queue: UploadQueue[Upload], name: str, client: str = "somebody") -> Upload:
    """Bring in one whole upload."""
    entry = Upload(name, client)
    enter(upload_queue, client).enqueue(entry)
    return entry


async def take_all(upload_queue: UploadQueue[Upload]) -> list[str]:
    """Names of all that wait, in the order in which workers get them."""
    taken = []
    while upload_queue.waiting:
        taken.append((await upload_queue.take()).name)
    return taken


def is_empty(upload_queue: UploadQueue[Upload]) -> bool:
    """Whether no place and no share is held by anybody."""
    snapshot = upload_queue.snapshot()
    return (snapshot.receiving, snapshot.waiting, upload_queue._client_counts.total()) == (0, 0, 0)


# --- the way through ------------------------------------------------------------------------------------


async def test_uploads_leave_in_the_order_in_which_they_were_finished(backlog_of: Make) -> None:
    """A slow uplink holds a place in the dock, never one on the belt."""
    upload_queue = backlog_of()
    slow, fast = enter(upload_queue), enter(upload_queue)
    fast.enqueue(Upload("fast"))
    slow.enqueue(Upload("slow"))
    assert await take_all(upload_queue) == ["fast", "slow"]
    assert is_empty(upload_queue)


async def test_offer_never_waits_and_never_refuses(backlog_of: Make) -> None:
    """Uploads that find the belt full at their end go to the entrance, all of them, at once."""
    upload_queue = backlog_of(capacity=2, dock=6)
    slots = [enter(upload_queue) for _ in range(6)]
    for number, slot in enumerate(slots):
        slot.enqueue(Upload(str(number)))
    assert upload_queue.waiting == 6
    assert upload_queue.snapshot().receiving == 0
    assert await take_all(upload_queue) == list("012345")


async def test_the_entrance_is_ahead_of_newcomers(backlog_of: Make) -> None:
    """While a finished upload waits at the entrance a newcomer is refused, though the belt just moved."""
    upload_queue = backlog_of(capacity=1, dock=3)
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
    upload(upload_queue, "newcomer")
    assert await take_all(upload_queue) == ["newcomer"]


async def test_the_belt_is_an_asyncio_queue_of_its_capacity(backlog_of: Make) -> None:
    """The bounded queue is asyncio's own."""
    upload_queue = backlog_of(capacity=3)
    assert isinstance(upload_queue._queue, asyncio.Queue)
    assert upload_queue._queue.maxsize == 3


async def test_restored_jobs_are_ahead_of_newcomers_and_never_refused(backlog_of: Make) -> None:
    """Jobs from before a restart come in, more than the belt holds, in their order."""
    upload_queue = backlog_of(capacity=2)
    for number in range(5):
        upload_queue.restore(Upload(str(number)))
    assert upload_queue.waiting == 5
    with pytest.raises(NoRoom):
        enter(upload_queue)
    assert await take_all(upload_queue) == list("01234")
    assert is_empty(upload_queue)


# --- bounds ---------------------------------------------------------------------------------------------


async def test_a_full_belt_refuses(backlog_of: Make) -> None:
    """There is no room for the third newcomer to a queue of two, until one has left."""
    upload_queue = backlog_of(capacity=2)
    upload(upload_queue, "a")
    upload(upload_queue, "b")
    with pytest.raises(NoRoom):
        enter(upload_queue)
    assert upload_queue.snapshot().receiving == 0
    await upload_queue.take()
    upload(upload_queue, "c")
    assert await take_all(upload_queue) == ["b", "c"]


async def test_a_full_dock_refuses(backlog_of: Make) -> None:
    """Uploads on their way in are bounded too, though the belt is empty."""
    upload_queue = backlog_of(capacity=10, dock=2)
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


async def test_a_wait_that_is_too_long_refuses(backlog_of: Make) -> None:
    """The queue counts as full when its estimated wait passes the longest."""
    upload_queue = backlog_of(capacity=100, dock=9, max_wait=3)
    for number in range(4):
        upload(upload_queue, str(number))
    assert (upload_queue.unreserved_slots, upload_queue.free_slots) == (0, 0)
    with pytest.raises(NoRoom):
        enter(upload_queue)
    await upload_queue.take()
    upload(upload_queue, "now")


async def test_a_burst_in_the_dock_makes_no_wait_too_long(backlog_of: Make, clock: HandClock) -> None:
    """What is seen to come soon waits as long as what is there already; an upload that trickles does not."""
    upload_queue = backlog_of(capacity=20, dock=60, max_wait=30)
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


async def test_uploads_on_their_way_are_reckoned_with_for_the_promised_alone(backlog_of: Make) -> None:
    """While nobody is promised a place the dock is bound by itself; else what comes from it counts."""
    upload_queue = backlog_of(capacity=3, dock=6)
    upload(upload_queue, "a")
    for _ in range(4):
        enter(upload_queue)
    assert upload_queue.load == 5
    assert upload_queue.unreserved_slots == 2
    assert upload_queue.free_slots == -2


async def test_a_slow_upload_keeps_nobody_out(backlog_of: Make, clock: HandClock) -> None:
    """It counts for half a second, then only when it ends within half the time of a full queue."""
    upload_queue = backlog_of(capacity=4, dock=8)
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


async def test_an_upload_of_which_nothing_comes_is_slow(backlog_of: Make, clock: HandClock) -> None:
    """Without a byte, or without a length to compare with, nobody knows when it ends."""
    upload_queue = backlog_of()
    slot = enter(upload_queue)
    clock.advance(0.5)
    slot.progress(0.0)
    assert upload_queue.load == 0


async def test_it_tells_whenever_a_place_may_have_come_free(backlog_of: Make, clock: HandClock) -> None:
    """A job leaves, one is removed, an upload is given up, has landed, or turns out to be slow."""
    upload_queue = backlog_of(capacity=2, dock=4)
    told: list[int] = []
    upload_queue.on_free_slot = lambda: told.append(upload_queue.free_slots)
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


async def test_how_long_uploads_hold_their_places_is_measured(backlog_of: Make, clock: HandClock) -> None:
    """From the place in the dock to the last byte."""
    upload_queue = backlog_of(capacity=100, dock=2)
    for _ in range(1000):
        slot = enter(upload_queue)
        clock.advance(10)
        slot.enqueue(Upload("one"))
        await upload_queue.take()
    assert upload_queue.drain_rate.uploads_per_s == pytest.approx(2 / 10, rel=0.05)


# --- shares ---------------------------------------------------------------------------------------------


async def test_one_client_s_share_is_bounded(backlog_of: Make) -> None:
    """Receiving and waiting jobs count together; another client is not touched."""
    upload_queue = backlog_of(capacity=10, dock=10, share=2)
    upload(upload_queue, "a", "greedy")
    held = enter(upload_queue, "greedy")
    with pytest.raises(ShareExceeded) as refusal:
        enter(upload_queue, "greedy")
    assert refusal.value.share == 2
    assert enter(upload_queue, "modest")
    held.release()
    assert enter(upload_queue, "greedy")


async def test_a_share_is_given_back_when_a_job_is_taken(backlog_of: Make) -> None:
    """A job that runs neither waits nor is received."""
    upload_queue = backlog_of(share=1)
    upload(upload_queue, "a", "greedy")
    with pytest.raises(ShareExceeded):
        enter(upload_queue, "greedy")
    await upload_queue.take()
    enter(upload_queue, "greedy").release()
    assert is_empty(upload_queue)


async def test_a_share_is_given_back_when_a_job_is_removed(backlog_of: Make) -> None:
    """Cancelling what waits makes room for the client's next, on the belt and at the entrance alike."""
    upload_queue = backlog_of(capacity=1, dock=2, share=2)
    slots = [enter(upload_queue, "greedy"), enter(upload_queue, "greedy")]
    entries = [Upload("belt", "greedy"), Upload("entrance", "greedy")]
    for slot, entry in zip(slots, entries, strict=True):
        slot.enqueue(entry)
    for entry in entries:
        with pytest.raises(ShareExceeded):
            upload_queue.check_share("greedy")
        assert upload_queue.remove(entry)
        upload_queue.check_share("greedy")
        upload_queue.restore(Upload("another", "greedy"))
    assert upload_queue.waiting == 2


async def test_restored_jobs_count_in_their_client_s_share(backlog_of: Make) -> None:
    """A restart does not double a client's share."""
    upload_queue = backlog_of(share=2, capacity=5)
    upload_queue.restore(Upload("a", "greedy"))
    upload_queue.restore(Upload("b", "greedy"))
    with pytest.raises(ShareExceeded):
        upload_queue.check_share("greedy")


async def test_a_refusal_for_the_share_tells_when_the_client_s_next_job_leaves(backlog_of: Make) -> None:
    """Behind two others that is when three have left, however many more those have."""
    upload_queue = backlog_of(capacity=10, dock=10, share=2)
    for name, client in (("a", "x"), ("e", "x"), ("b", "y"), ("c", "greedy"), ("d", "greedy")):
        upload(upload_queue, name, client)
    with pytest.raises(ShareExceeded) as refusal:
        upload_queue.check_share("greedy")
    assert refusal.value.retry_after == pytest.approx(3)


async def test_the_next_job_to_leave_may_be_at_the_entrance(backlog_of: Make) -> None:
    """Then the belt is ahead of it; with uploads alone it is whatever waits."""
    upload_queue = backlog_of(capacity=1, dock=4, share=1)
    slots = [enter(upload_queue, client) for client in ("x", "greedy", "hopeful")]
    for slot in slots[:2]:
        slot.enqueue(Upload("one", slot.client))
    for client, seconds in (("greedy", 2), ("hopeful", 3)):
        with pytest.raises(ShareExceeded) as refusal:
            upload_queue.check_share(client)
        assert refusal.value.retry_after == pytest.approx(seconds)


# --- fairness -------------------------------------------------------------------------------------------


async def test_jobs_leave_round_robin_over_clients(backlog_of: Make) -> None:
    """Whoever has one photo does not wait behind a client with many, and positions say so."""
    upload_queue = backlog_of(capacity=10, dock=10)
    for number in range(4):
        upload(upload_queue, f"many {number}", "many")
    one, two = upload(upload_queue, "one", "x"), upload(upload_queue, "two", "y")
    assert (upload_queue.position(one), upload_queue.position(two)) == (2, 3)
    assert await take_all(upload_queue) == ["many 0", "one", "two", "many 1", "many 2", "many 3"]


async def test_the_entrance_is_round_robin_too(backlog_of: Make) -> None:
    """A client that fills the entrance lets others onto the belt between its own."""
    upload_queue = backlog_of(capacity=1, dock=6)
    slots = [enter(upload_queue, client) for client in ("many", "many", "many", "x")]
    for number, slot in enumerate(slots):
        slot.enqueue(Upload(f"{slot.client} {number}", slot.client))
    assert await take_all(upload_queue) == ["many 0", "many 1", "x 3", "many 2"]


# --- slots ----------------------------------------------------------------------------------------------


async def test_a_slot_is_given_back_once(backlog_of: Make) -> None:
    """Releasing again, or after the offer, gives nothing back a second time."""
    upload_queue = backlog_of()
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


async def test_a_slot_that_was_given_back_takes_no_upload(backlog_of: Make) -> None:
    """Offering without a place is a mistake in the program, not a way past the bounds."""
    upload_queue = backlog_of()
    released, offered = enter(upload_queue), enter(upload_queue)
    released.release()
    offered.enqueue(Upload("a"))
    for slot in (released, offered):
        with pytest.raises(RuntimeError, match="given back already"):
            slot.enqueue(Upload("b"))
    assert upload_queue.waiting == 1


# --- taking, removing, looking --------------------------------------------------------------------------


async def test_take_waits_for_a_job(backlog_of: Make) -> None:
    """A worker that came too early gets the first job that comes, and workers get theirs in turn."""
    upload_queue = backlog_of()
    workers = [asyncio.create_task(upload_queue.take()) for _ in range(2)]
    await settle()
    assert not any(worker.done() for worker in workers)
    upload(upload_queue, "a")
    upload(upload_queue, "b")
    assert [entry.name for entry in await asyncio.gather(*workers)] == ["a", "b"]
    assert is_empty(upload_queue)


@pytest.mark.parametrize("reservations", range(4))
async def test_cancelling_a_take_loses_nothing(backlog_of: Make, reservations: int) -> None:
    """Whether a worker is stopped before, while or after a job comes, the job waits or was handed out."""
    upload_queue = backlog_of()
    worker = asyncio.create_task(upload_queue.take())
    await settle()
    upload(upload_queue, "a")
    for _ in range(reservations):
        await asyncio.sleep(0)
    worker.cancel()
    handed_out, *_ = await asyncio.gather(worker, return_exceptions=True)
    if isinstance(handed_out, asyncio.CancelledError):
        assert upload_queue.waiting == 1
        assert (await upload_queue.take()).name == "a"
    else:
        assert isinstance(handed_out, Upload)
    assert is_empty(upload_queue)


async def test_a_cancelled_take_wakes_the_next_worker(backlog_of: Make) -> None:
    """The job that woke a stopped worker goes to the one that waits behind it."""
    upload_queue = backlog_of()
    stopped, patient = (asyncio.create_task(upload_queue.take()) for _ in range(2))
    await settle()
    upload(upload_queue, "a")
    stopped.cancel()
    assert (await patient).name == "a"
    await asyncio.gather(stopped, return_exceptions=True)
    assert stopped.cancelled()


async def test_a_job_removed_under_a_woken_worker_is_not_handed_out(backlog_of: Make) -> None:
    """A job cancelled between its arrival and the worker's waking is gone, and the worker waits on."""
    upload_queue = backlog_of()
    worker = asyncio.create_task(upload_queue.take())
    await settle()
    assert upload_queue.remove(upload(upload_queue, "cancelled"))
    await settle()
    assert not worker.done()
    upload(upload_queue, "next")
    assert (await worker).name == "next"
    assert is_empty(upload_queue)


async def test_what_does_not_wait_cannot_be_removed(backlog_of: Make) -> None:
    """Removing a job that runs, or that was removed already, changes nothing."""
    upload_queue = backlog_of()
    entry = upload(upload_queue, "a")
    assert upload_queue.remove(entry)
    assert not upload_queue.remove(entry)
    upload(upload_queue, "b")
    assert not upload_queue.remove(await upload_queue.take())
    assert is_empty(upload_queue)


async def test_removing_lets_the_entrance_move_up(backlog_of: Make) -> None:
    """A place on the belt that is freed goes to the first at the entrance."""
    upload_queue = backlog_of(capacity=1, dock=2)
    slots = [enter(upload_queue), enter(upload_queue)]
    first, second = Upload("first"), Upload("second")
    slots[0].enqueue(first)
    slots[1].enqueue(second)
    assert upload_queue.remove(first)
    assert upload_queue.position(second) == 1
    assert (await upload_queue.take()) is second


async def test_positions_count_from_the_next_to_be_taken(backlog_of: Make) -> None:
    """Belt and entrance are one line; a job that is taken or unknown has no position."""
    upload_queue = backlog_of(capacity=2, dock=4)
    slots = [enter(upload_queue) for _ in range(4)]
    entries = [Upload(name) for name in "abcd"]
    for slot, entry in zip(slots, entries, strict=True):
        slot.enqueue(entry)
    assert [upload_queue.position(entry) for entry in entries] == [1, 2, 3, 4]
    assert upload_queue.remove(entries[1])
    taken = await upload_queue.take()
    assert [upload_queue.position(entry) for entry in entries] == [None, None, 1, 2]
    assert upload_queue.position(taken) is None


async def test_how_long_it_has_been_full(backlog_of: Make, clock: HandClock) -> None:
    """The time runs while the belt is full without a break, though jobs come and go."""
    upload_queue = backlog_of(capacity=1, dock=3)
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


async def test_its_snapshot_tells_all_places(backlog_of: Make) -> None:
    """Capacity, dock, what is received, what waits, the drain rate and the wait that follows from it."""
    upload_queue = backlog_of(capacity=2, dock=4)
    slots = [enter(upload_queue) for _ in range(4)]
    for slot in slots[:3]:
        slot.enqueue(Upload("one"))
    snapshot = upload_queue.snapshot()
    assert (snapshot.capacity, snapshot.dock, snapshot.receiving, snapshot.waiting) == (2, 4, 1, 3)
    assert (snapshot.drain_per_s, snapshot.estimated_wait_ms) == (1.0, 3000)


# --- whatever happens -----------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.sampled_from(["enter", "offer", "release", "take", "remove", "restore"]), st.integers(0, 5)),
    max_size=80,
)


@examples
@given(steps=steps, capacity=st.integers(1, 3), dock=st.integers(1, 4), share=st.integers(1, 4))
async def test_every_place_is_accounted_for_whatever_happens(
    steps: list[tuple[str, int]], capacity: int, dock: int, share: int
) -> None:
    """Bounds are kept, counts are right, the first in line is the next taken, nothing is held at the end."""
    upload_queue: UploadQueue[Upload] = UploadQueue(
        capacity, dock, share, DrainRate(1, dock), clock=HandClock()
    )
    slots: list[ReceivingSlot[Upload]] = []
    line: list[Upload] = []
    for number, (step, choice) in enumerate(steps):
        client = "xyz"[choice % 3]
        entry = Upload(str(number), client)
        if step == "enter":
            try:
                slots.append(enter(upload_queue, client))
            except ShareExceeded:
                assert sum(each.client == client for each in [*slots, *line]) >= share
            except NoRoom:
                assert len(slots) >= dock or len(line) >= capacity
            else:
                assert len(slots) <= dock
                assert len(line) < capacity
        elif step == "restore":
            upload_queue.restore(entry)
            line.append(entry)
        elif step in ("offer", "release") and slots:
            slot = slots.pop(choice % len(slots))
            if step == "release":
                slot.release()
            else:
                entry.client = slot.client
                slot.enqueue(entry)
                line.append(entry)
        elif step == "take" and line:
            (first,) = [each for each in line if upload_queue.position(each) == 1]
            assert await upload_queue.take() is first
            line.remove(first)
        elif step == "remove" and line:
            assert upload_queue.remove(line.pop(choice % len(line)))
        assert sorted(upload_queue.position(each) or 0 for each in line) == list(range(1, len(line) + 1))
        assert (upload_queue.snapshot().receiving, upload_queue.waiting) == (len(slots), len(line))
        assert upload_queue.load == len(line) + len(slots)
    for slot in slots:
        slot.release()
    assert sorted(await take_all(upload_queue)) == sorted(each.name for each in line)
    assert is_empty(upload_queue)
