"""The waiting room in a real event loop: who waits for a slot, who gets it, and what waiting costs."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.backpressure.drain_rate import DrainRate
from app.backpressure.reservation_table import Requester
from app.backpressure.reservations import Reservations
from app.backpressure.upload_queue import ReceivingSlot, UploadQueue
from app.backpressure.waiting_room import ClientGone, QueueFull, WaitingRoom
from tests.clocks import HandClock, LeapingLoop, settle

RATE, CAPACITY = 2.0, 4


@dataclass(eq=False)
class Upload:
    """A job of a client."""

    client: str


class Service:
    """A waiting room and a queue for four jobs, from which the test itself takes them."""

    def __init__(self, clock: HandClock, max_receiving: int = 8) -> None:
        self.clock = clock
        self.upload_queue: UploadQueue[Upload] = UploadQueue(
            CAPACITY, max_receiving, 100, DrainRate(1, max_receiving, job_s=1 / RATE), clock=self.clock
        )
        reservations = Reservations(1, CAPACITY, lambda: RATE, 1000, clock=self.clock)
        self.room = WaitingRoom(self.upload_queue, reservations, clock=self.clock)
        self.reopens_in = 0.0
        self.on_leaving: dict[str, Callable[[], Any] | None] = {}

    def ask(self, name: str, not_before: float = 0) -> asyncio.Task[ReceivingSlot[Upload]]:
        """A client asks to bring in an upload."""

        def watch(call: Callable[[], Any] | None) -> None:
            self.on_leaving[name] = call

        requester = Requester(f"{name}/1", name, name)
        return asyncio.ensure_future(self.room.admit(requester, not_before, watch, lambda: self.reopens_in))

    async def upload(self, name: str) -> None:
        """A client is admitted and brings its whole upload at once."""
        (await self.ask(name)).enqueue(Upload(name))

    async def fill(self) -> None:
        """Let as many jobs in as may wait."""
        for number in range(CAPACITY):
            await self.upload(f"first {number}")

    async def refused(self, name: str, not_before: float = 0) -> float:
        """A client is refused; the seconds after which it shall come back."""
        with pytest.raises(QueueFull) as refusal:
            await self.ask(name, not_before)
        return refusal.value.retry_after

    async def waiting(self, *names: str) -> list[asyncio.Task[ReceivingSlot[Upload]]]:
        """Clients are refused, come back at their time while the queue is still full, and wait."""
        for name in names:
            await self.refused(name)
        self.clock.advance(2)
        tasks = [self.ask(name) for name in names]
        await settle()
        assert not any(task.done() for task in tasks)
        assert self.room.snapshot().waiting == len(names)
        return tasks

    def walk_away(self, name: str) -> None:
        """A waiting client goes away."""
        on_leaving = self.on_leaving[name]
        assert on_leaving is not None
        on_leaving()

    @property
    def held(self) -> tuple[int, int]:
        """Receiving slots that are held, and uploads and jobs that count in the share of a client."""
        return self.upload_queue.snapshot().receiving, self.upload_queue._client_counts.total()


@pytest.fixture
def loop() -> Iterator[LeapingLoop]:
    """An event loop in which timeouts take no real time."""
    loop = LeapingLoop()
    yield loop
    loop.close()


Scenario = Callable[[Service], Any]


@pytest.fixture
def run(loop: LeapingLoop) -> Callable[..., None]:
    """A function that runs a scenario with a new service."""

    def run_scenario(scenario: Scenario) -> None:
        loop.run_until_complete(scenario(Service(loop.clock)))

    return run_scenario


def test_a_refusal_is_certain_even_when_a_slot_comes_free(run: Callable[..., None]) -> None:
    """If a reservation lapses or a job leaves between two calls, the upload is refused with a reservation."""

    async def scenario(service: Service) -> None:
        await service.fill()
        (wait,) = await service.waiting("due")
        new, due = (Requester(f"{name}/1", name, name) for name in ("new", "second"))
        assert service.room.would_refuse(new)
        await service.refused("second")
        service.clock.advance(2)
        assert not service.room.would_refuse(due)
        told = service.room.refuse(due, 0, 0)
        for _ in range(CAPACITY):
            await service.upload_queue.take()
        await wait
        told = max(told, service.room.refuse(new, 0, 0))
        assert service.room.snapshot().waiting == 0
        service.clock.advance(told)
        assert service.room.is_due(due.key)
        assert service.room.is_due(new.key)

    run(scenario)


def test_a_refusal_respects_the_next_token_even_when_a_slot_comes_free(run: Callable[..., None]) -> None:
    """A client without a token is told the time of its next one, though there would be room sooner."""

    async def scenario(service: Service) -> None:
        assert service.room.refuse(Requester("a/1", "a", "a"), 0, 7.2) == 8

    run(scenario)


def test_a_free_slot_goes_to_the_client_that_has_waited_longest(run: Callable[..., None]) -> None:
    """One job leaves, one waiting client comes in; new clients come after both."""

    async def scenario(service: Service) -> None:
        await service.fill()
        first, second = await service.waiting("a", "b")
        await service.upload_queue.take()
        await service.refused("new")
        await settle()
        assert first.done()
        assert not second.done()
        (await first).enqueue(Upload("a"))
        await service.upload_queue.take()
        (await second).enqueue(Upload("b"))
        assert service.held == (0, CAPACITY)

    run(scenario)


def test_the_slot_is_taken_before_the_waiting_task_wakes_up(run: Callable[..., None]) -> None:
    """A client that asks at the same moment cannot slip in between."""

    async def scenario(service: Service) -> None:
        await service.fill()
        (waiter,) = await service.waiting("a")
        await service.upload_queue.take()
        assert service.held == (1, CAPACITY)
        assert service.room.snapshot().waiting == 0
        (await waiter).release()

    run(scenario)


def test_a_client_that_goes_away_while_it_waits_holds_nothing(run: Callable[..., None]) -> None:
    """The next one gets the slot, and nothing counts in the share of the client that went."""

    async def scenario(service: Service) -> None:
        await service.fill()
        gone, next_client = await service.waiting("a", "b")
        service.walk_away("a")
        with pytest.raises(ClientGone):
            await gone
        assert service.on_leaving["a"] is None
        await service.upload_queue.take()
        (await next_client).release()
        assert service.held == (0, CAPACITY - 1)

    run(scenario)


def test_a_slot_is_not_given_to_a_client_that_went_at_the_same_moment(run: Callable[..., None]) -> None:
    """It goes to the next one, though the task of the client that went has not woken up yet."""

    async def scenario(service: Service) -> None:
        await service.fill()
        gone, next_client = await service.waiting("a", "b")
        service.walk_away("a")
        await service.upload_queue.take()
        assert isinstance((await asyncio.gather(gone, return_exceptions=True))[0], ClientGone)
        (await next_client).release()
        assert service.held == (0, CAPACITY - 1)

    run(scenario)


@pytest.mark.parametrize("before", [True, False])
def test_a_cancelled_request_gives_its_slot_back(run: Callable[..., None], before: bool) -> None:
    """Whether its slot was taken before or not, the next waiting client gets it."""

    async def scenario(service: Service) -> None:
        await service.fill()
        cancelled, next_client = await service.waiting("a", "b")
        if before:
            cancelled.cancel()
            await service.upload_queue.take()
        else:
            await service.upload_queue.take()
            cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert cancelled.cancelled()
        (await next_client).release()
        assert service.held == (0, CAPACITY - 1)

    run(scenario)


def test_a_wait_ends_after_eight_seconds_with_a_new_reservation(run: Callable[..., None]) -> None:
    """No request is held for ever; a client that then comes back when told is due and owes no token."""

    async def scenario(service: Service) -> None:
        await service.fill()
        (waiter,) = await service.waiting("a")
        begin = service.clock()
        with pytest.raises(QueueFull) as refusal:
            await waiter
        assert service.clock() - begin == pytest.approx(8)
        assert service.held == (0, CAPACITY)
        service.clock.advance(refusal.value.retry_after)
        assert service.room.is_due("a/1")

    run(scenario)


def test_a_wait_that_ends_while_a_breaker_is_open_is_told_a_later_time(run: Callable[..., None]) -> None:
    """The new reservation lies after the time at which the breaker lets calls through."""

    async def scenario(service: Service) -> None:
        await service.fill()
        (waiter,) = await service.waiting("a")
        service.reopens_in = 30.0
        with pytest.raises(QueueFull) as refusal:
            await waiter
        assert refusal.value.retry_after >= 30

    run(scenario)


def test_a_service_that_shuts_down_refuses_all_who_wait_at_once(run: Callable[..., None]) -> None:
    """They get a reservation after its restart, and hold nothing."""

    async def scenario(service: Service) -> None:
        await service.fill()
        waiters = await service.waiting("a", "b")
        service.reopens_in = 20.0
        begin = service.clock()
        service.room.close()
        refusals = await asyncio.gather(*waiters, return_exceptions=True)
        assert service.clock() == begin
        assert all(isinstance(refusal, QueueFull) and refusal.retry_after >= 20 for refusal in refusals)
        assert service.held == (0, CAPACITY)

    run(scenario)


def test_uploads_that_wait_count_in_their_clients_share(run: Callable[..., None]) -> None:
    """A client cannot have more uploads waiting for slots and under way than its share."""

    async def scenario(service: Service) -> None:
        await service.fill()
        (waiter,) = await service.waiting("a")
        assert service.upload_queue._client_counts["a"] == 1
        await service.upload_queue.take()
        (await waiter).enqueue(Upload("a"))
        assert service.upload_queue._client_counts["a"] == 1

    run(scenario)


def test_without_reservations_all_receiving_slots_are_open(run: Callable[..., None]) -> None:
    """Eight uploads come in at once, though no more than four jobs may wait."""

    async def scenario(service: Service) -> None:
        slots = [await service.ask(f"c{number}") for number in range(8)]
        assert await service.refused("late") == 1
        slots[0].release()
        # The client that was refused goes before others now, and the seven uploads on their way count.
        await service.refused("new")
        for slot in slots[1:]:
            slot.release()

    run(scenario)


def test_an_early_client_is_told_the_same_time_or_that_of_its_next_token(run: Callable[..., None]) -> None:
    """A reservation never lies before the client's next token, and one that was moved is honoured."""

    async def scenario(service: Service) -> None:
        await service.fill()
        told = await service.refused("a")
        assert await service.refused("a") == told
        assert await service.refused("a", not_before=9.5) == 10
        service.clock.advance(9)
        assert not service.room.is_due("a/1")
        service.clock.advance(1)
        assert service.room.is_due("a/1")

    run(scenario)


def test_a_reservation_far_ahead_keeps_no_slot_free_yet(run: Callable[..., None]) -> None:
    """Nobody is kept out for a client that comes in a minute: all that waits now has left by then."""

    async def scenario(service: Service) -> None:
        await service.fill()
        await service.refused("later", not_before=60)
        for _ in range(CAPACITY):
            await service.upload_queue.take()
        await service.fill()
        service.clock.advance(59.5)
        for _ in range(CAPACITY):
            await service.upload_queue.take()
        for number in range(CAPACITY - 1):
            await service.upload(f"c{number}")
        await service.refused("new")
        service.clock.advance(0.5)
        (await service.ask("later")).release()

    run(scenario)


def test_a_token_is_waived_once(run: Callable[..., None]) -> None:
    """A due client is not charged the first time; asking again without being admitted costs a token."""

    async def scenario(service: Service) -> None:
        await service.fill()
        await service.refused("a")
        assert not service.room.waive_token("a/1")
        service.clock.advance(1)
        assert service.room.is_due("a/1")
        assert service.room.waive_token("a/1")
        assert not service.room.is_due("a/1")
        assert not service.room.waive_token("a/1")

    run(scenario)


def test_reservations_and_measurements_outlive_a_restart(run: Callable[..., None]) -> None:
    """The next process has the times and the rate that the last one exported, in the stored format."""

    async def scenario(service: Service) -> None:
        await service.fill()
        await service.refused("a")
        service.upload_queue.drain_rate.record(0.5)
        other = Service(service.clock)
        exported = service.room.export(wall=1e9)
        assert list(json.loads(exported)) == ["turns", "pacer"]
        await other.room.restore(exported, wall=1e9)
        assert other.upload_queue.drain_rate.jobs_per_s == service.upload_queue.drain_rate.jobs_per_s
        assert other.room.snapshot().outstanding == 1
        service.clock.advance(1)
        assert other.room.is_due("a/1")

    run(scenario)


@pytest.mark.parametrize(("separators", "pieces"), [((",", ":"), 6), ((", ", ": "), 4)])
def test_many_reservations_are_restored_some_at_a_time(
    run: Callable[..., None], separators: tuple[str, str], pieces: int
) -> None:
    """While the service starts, images are served and health is checked. Other JSON is parsed in one go."""

    async def scenario(service: Service) -> None:
        state = json.loads(service.room.export(wall=1e9))
        state["turns"]["turns"] = [[f"k{n}", f"c{n}", f"n{n}", 60.0] for n in range(1000)]
        exported = json.dumps(state, separators=separators).encode()
        restoring = asyncio.ensure_future(service.room.restore(exported, wall=1e9))
        for _ in range(pieces):
            await asyncio.sleep(0)
            assert not restoring.done()
        await restoring
        assert service.room.snapshot().outstanding == 1000

    run(scenario)


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
        b'{"turns":{"at":0,"tail_s":0,"returning":1,"turns":[["k","c","n",1],',
        b'{"turns":{"at":0,"tail_s":0,"returning":1,"turns":[' + b"[" * 100_000,
    ],
)
def test_a_damaged_export_is_not_restored(run: Callable[..., None], data: bytes) -> None:
    """Whatever the data is, there is an error for the engine to report, and no reservation."""

    async def scenario(service: Service) -> None:
        with pytest.raises(ValueError, match=r".*"):
            await service.room.restore(data, wall=10.0)
        assert service.room.snapshot().outstanding == 0

    run(scenario)
