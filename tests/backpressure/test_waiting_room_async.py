"""The door in a real event loop: who waits for a place, who gets it, and what becomes of those who leave."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.backpressure.drain_rate import DrainRate
from app.backpressure.reservations import Requester, Reservations
from app.backpressure.upload_queue import ReceivingSlot, UploadQueue
from app.backpressure.waiting_room import ClientGone, QueueFull, WaitingRoom
from tests.clocks import HandClock, LeapingLoop, settle

RATE, PLACES = 2.0, 4


@dataclass(eq=False)
class Upload:
    """A job of a client."""

    client: str


class Street:
    """A door with a queue of four behind it, from which the test itself takes the jobs."""

    def __init__(self, clock: HandClock, dock: int = 8) -> None:
        self.clock = clock
        self.upload_queue: UploadQueue[Upload] = UploadQueue(
            PLACES, dock, 100, DrainRate(1, dock, job_s=1 / RATE), clock=self.clock
        )
        reservations = Reservations(1, PLACES, lambda: RATE, 1000, clock=self.clock)
        self.door = WaitingRoom(self.upload_queue, reservations, clock=self.clock)
        self.reopens_in = 0.0
        self.leave: dict[str, Callable[[], Any] | None] = {}

    def ask(self, name: str, not_before: float = 0) -> asyncio.Task[ReceivingSlot[Upload]]:
        """A client comes with its upload."""

        def watch(call: Callable[[], Any] | None) -> None:
            self.leave[name] = call

        requester = Requester(f"{name}/1", name, name)
        return asyncio.ensure_future(self.door.admit(requester, not_before, watch, lambda: self.reopens_in))

    async def enter(self, name: str) -> None:
        """A client comes, is let in and brings its whole upload at once."""
        (await self.ask(name)).enqueue(Upload(name))

    async def fill(self) -> None:
        """Let as many in as may wait."""
        for number in range(PLACES):
            await self.enter(f"first {number}")

    async def refused(self, name: str, not_before: float = 0) -> float:
        """A client is refused; the seconds it is told."""
        with pytest.raises(QueueFull) as refusal:
            await self.ask(name, not_before)
        return refusal.value.retry_after

    async def parked(self, *names: str) -> list[asyncio.Task[ReceivingSlot[Upload]]]:
        """Clients are refused, return at their turn to a queue that is still full, and wait at the door."""
        for name in names:
            await self.refused(name)
        self.clock.advance(2)
        tasks = [self.ask(name) for name in names]
        await settle()
        assert not any(task.done() for task in tasks)
        assert self.door.snapshot().parked == len(names)
        return tasks

    def walk_away(self, name: str) -> None:
        """A client at the door is gone."""
        leave = self.leave[name]
        assert leave is not None
        leave()

    @property
    def held(self) -> tuple[int, int]:
        """Places in the dock, and uploads and jobs that count in anybody's share."""
        return self.upload_queue.snapshot().receiving, self.upload_queue._client_counts.total()


@pytest.fixture
def loop() -> Iterator[LeapingLoop]:
    """A loop in which time leaps."""
    loop = LeapingLoop()
    yield loop
    loop.close()


Scene = Callable[[Street], Any]


@pytest.fixture
def play(loop: LeapingLoop) -> Callable[..., None]:
    """A function that plays a scene in the street, in leaping time."""

    def run(scene: Scene) -> None:
        loop.run_until_complete(scene(Street(loop.clock)))

    return run


def test_a_door_that_opens_meanwhile_still_tells_whom_it_was_shut_to(play: Callable[..., None]) -> None:
    """A promise may lapse, or a job leave, between two looks at the door: there is a turn all the same."""

    async def scene(street: Street) -> None:
        await street.fill()
        (wait,) = await street.parked("due")
        newcomer, due = (Requester(f"{name}/1", name, name) for name in ("newcomer", "second"))
        assert street.door.would_refuse(newcomer)
        await street.refused("second")
        street.clock.advance(2)
        assert not street.door.would_refuse(due)
        told = street.door.refuse(due, 0, 0)
        for _ in range(PLACES):
            await street.upload_queue.take()
        await wait
        told = max(told, street.door.refuse(newcomer, 0, 0))
        assert street.door.snapshot().parked == 0
        street.clock.advance(told)
        assert street.door.is_due(due.key)
        assert street.door.is_due(newcomer.key)

    play(scene)


def test_a_place_that_comes_free_goes_to_whoever_waits_longest(play: Callable[..., None]) -> None:
    """One job leaves, one of those at the door comes in; newcomers come after both."""

    async def scene(street: Street) -> None:
        await street.fill()
        first, second = await street.parked("a", "b")
        await street.upload_queue.take()
        await street.refused("newcomer")
        await settle()
        assert first.done()
        assert not second.done()
        (await first).enqueue(Upload("a"))
        await street.upload_queue.take()
        (await second).enqueue(Upload("b"))
        assert street.held == (0, PLACES)

    play(scene)


def test_the_place_is_taken_before_the_waiter_wakes(play: Callable[..., None]) -> None:
    """Whoever asks in the same instant cannot slip in between."""

    async def scene(street: Street) -> None:
        await street.fill()
        (waiter,) = await street.parked("a")
        await street.upload_queue.take()
        assert street.held == (1, PLACES)
        assert street.door.snapshot().parked == 0
        (await waiter).release()

    play(scene)


def test_a_client_that_leaves_the_door_holds_nothing(play: Callable[..., None]) -> None:
    """The next gets its place, and its share is its own again."""

    async def scene(street: Street) -> None:
        await street.fill()
        gone, patient = await street.parked("a", "b")
        street.walk_away("a")
        with pytest.raises(ClientGone):
            await gone
        assert street.leave["a"] is None
        await street.upload_queue.take()
        (await patient).release()
        assert street.held == (0, PLACES - 1)

    play(scene)


def test_a_place_is_not_given_to_one_that_left_in_the_same_instant(play: Callable[..., None]) -> None:
    """It goes to the next at the door, though the leaver has not woken yet."""

    async def scene(street: Street) -> None:
        await street.fill()
        gone, patient = await street.parked("a", "b")
        street.walk_away("a")
        await street.upload_queue.take()
        assert isinstance((await asyncio.gather(gone, return_exceptions=True))[0], ClientGone)
        (await patient).release()
        assert street.held == (0, PLACES - 1)

    play(scene)


@pytest.mark.parametrize("before", [True, False])
def test_a_request_that_is_cancelled_gives_its_place_back(play: Callable[..., None], before: bool) -> None:
    """Whether before or after its place was reserved; then the next at the door gets that."""

    async def scene(street: Street) -> None:
        await street.fill()
        cancelled, patient = await street.parked("a", "b")
        if before:
            cancelled.cancel()
            await street.upload_queue.take()
        else:
            await street.upload_queue.take()
            cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert cancelled.cancelled()
        (await patient).release()
        assert street.held == (0, PLACES - 1)

    play(scene)


def test_a_wait_in_vain_ends_after_eight_seconds_with_a_new_turn(play: Callable[..., None]) -> None:
    """Nobody is held for ever; whoever then comes back when told is due and owes no token."""

    async def scene(street: Street) -> None:
        await street.fill()
        (waiter,) = await street.parked("a")
        begin = street.clock()
        with pytest.raises(QueueFull) as refusal:
            await waiter
        assert street.clock() - begin == pytest.approx(8)
        assert street.held == (0, PLACES)
        street.clock.advance(refusal.value.retry_after)
        assert street.door.is_due("a/1")

    play(scene)


def test_a_wait_that_a_closing_outlasts_is_told_the_opening(play: Callable[..., None]) -> None:
    """A breaker that opened meanwhile moves the new turn behind its own time."""

    async def scene(street: Street) -> None:
        await street.fill()
        (waiter,) = await street.parked("a")
        street.reopens_in = 30.0
        with pytest.raises(QueueFull) as refusal:
            await waiter
        assert refusal.value.retry_after >= 30

    play(scene)


def test_a_service_that_closes_sends_all_away_from_the_door_at_once(play: Callable[..., None]) -> None:
    """With a turn after the opening, and holding nothing."""

    async def scene(street: Street) -> None:
        await street.fill()
        waiters = await street.parked("a", "b")
        street.reopens_in = 20.0
        begin = street.clock()
        street.door.close()
        refusals = await asyncio.gather(*waiters, return_exceptions=True)
        assert street.clock() == begin
        assert all(isinstance(refusal, QueueFull) and refusal.retry_after >= 20 for refusal in refusals)
        assert street.held == (0, PLACES)

    play(scene)


def test_uploads_at_the_door_count_in_their_clients_share(play: Callable[..., None]) -> None:
    """A client cannot have more at the door and in work than its share."""

    async def scene(street: Street) -> None:
        await street.fill()
        (waiter,) = await street.parked("a")
        assert street.upload_queue._client_counts["a"] == 1
        await street.upload_queue.take()
        (await waiter).enqueue(Upload("a"))
        assert street.upload_queue._client_counts["a"] == 1

    play(scene)


def test_while_nobody_is_promised_a_place_the_whole_dock_is_open(play: Callable[..., None]) -> None:
    """As many uploads as the dock holds are on their way in at once, though no more than four may wait."""

    async def scene(street: Street) -> None:
        slots = [await street.ask(f"c{number}") for number in range(8)]
        assert await street.refused("late") == 1
        slots[0].release()
        # The one that was refused comes before others now, and the seven on their way are reckoned with.
        await street.refused("newcomer")
        for slot in slots[1:]:
            slot.release()

    play(scene)


def test_an_early_return_is_told_the_same_and_one_without_a_token_later(play: Callable[..., None]) -> None:
    """A turn never lies before the client's own next token, and one that was moved is still kept."""

    async def scene(street: Street) -> None:
        await street.fill()
        told = await street.refused("a")
        assert await street.refused("a") == told
        assert await street.refused("a", not_before=9.5) == 10
        street.clock.advance(9)
        assert not street.door.is_due("a/1")
        street.clock.advance(1)
        assert street.door.is_due("a/1")

    play(scene)


def test_a_turn_far_ahead_keeps_no_place_free_yet(play: Callable[..., None]) -> None:
    """Nobody is kept out for a client that comes in a minute: whatever waits now has left by then."""

    async def scene(street: Street) -> None:
        await street.fill()
        await street.refused("later", not_before=60)
        for _ in range(PLACES):
            await street.upload_queue.take()
        await street.fill()
        street.clock.advance(59.5)
        for _ in range(PLACES):
            await street.upload_queue.take()
        for number in range(PLACES - 1):
            await street.enter(f"c{number}")
        await street.refused("newcomer")
        street.clock.advance(0.5)
        (await street.ask("later")).release()

    play(scene)


def test_a_turn_is_excused_once(play: Callable[..., None]) -> None:
    """Who is due pays nothing the first time; asking again without having come in costs a token."""

    async def scene(street: Street) -> None:
        await street.fill()
        await street.refused("a")
        assert not street.door.waive_token("a/1")
        street.clock.advance(1)
        assert street.door.is_due("a/1")
        assert street.door.waive_token("a/1")
        assert not street.door.is_due("a/1")
        assert not street.door.waive_token("a/1")

    play(scene)


def test_promises_and_measurements_outlive_a_restart(play: Callable[..., None]) -> None:
    """What one process exports the next one keeps, moments and rate."""

    async def scene(street: Street) -> None:
        await street.fill()
        await street.refused("a")
        street.upload_queue.drain_rate.record(0.5)
        other = Street(street.clock)
        other.door.restore(street.door.export(wall=1e9), wall=1e9)
        assert other.upload_queue.drain_rate.jobs_per_s == street.upload_queue.drain_rate.jobs_per_s
        assert other.door.snapshot().outstanding == 1
        street.clock.advance(1)
        assert other.door.is_due("a/1")

    play(scene)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"pacer":{},"turns":[]}',
        b'{"pacer":[],"turns":{"at":0,"tail_s":0,"returning":1,"turns":[["k","c","n","soon"]]}}',
        b'{"pacer":{},"turns":{"at":0,"tail_s":NaN,"returning":1,"turns":[]}}',
        b'{"pacer":{"job_s":1e999,"upload_s":0},"turns":{}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_is_dropped(play: Callable[..., None], data: bytes) -> None:
    """Whatever the file holds: an error that the engine reports, and nothing kept."""

    async def scene(street: Street) -> None:
        with pytest.raises(ValueError, match=r".*"):
            street.door.restore(data, wall=10.0)
        assert street.door.snapshot().outstanding == 0

    play(scene)
