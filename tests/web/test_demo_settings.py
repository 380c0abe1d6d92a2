"""A demonstration can change settings while the service runs: exactly, within bounds, and for a while."""

import asyncio
from typing import Any

import pytest

from app.backpressure.drain_rate import DrainRate
from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.token_bucket import GCRA, RateLimited
from app.backpressure.upload_queue import UploadQueue
from app.engine.job_handle import JobHandle
from app.settings import Settings
from app.web.demo_settings import RESET_AFTER_S, DemoSettings, InvalidDemoSetting
from tests.clocks import HandClock, settle
from tests.engine.test_work_queue import fresh, work_queue_of

SECOND = 1_000_000_000


def exhaust(limiter: RateLimiter, client: str) -> int:
    """Spend all tokens of a client; how many there were."""
    spent = 0
    while True:
        try:
            limiter.acquire(client)
        except RateLimited:
            return spent
        spent += 1


# --- the buckets ----------------------------------------------------------------------------------------


def test_what_was_spent_stays_spent_at_another_rate() -> None:
    """Neither a larger burst nor another rate gives a token back; unknown clients have full buckets."""
    clock = HandClock(SECOND)
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 100, clock=clock)
    for _ in range(4):
        limiter.acquire("a")
    limiter.reconfigure(GCRA.token_bucket(7, 25))
    assert limiter.peek("a").remaining == 21
    assert limiter.peek("b").remaining == 25
    clock.advance(2 * SECOND)
    assert exhaust(limiter, "a") == 25


def test_a_smaller_bucket_is_empty_at_worst() -> None:
    """A client that owes more than the new bucket holds waits for one token at the new rate."""
    clock = HandClock(SECOND)
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 100, clock=clock)
    assert exhaust(limiter, "a") == 10
    limiter.reconfigure(GCRA.token_bucket(4, 3))
    left = limiter.peek("a")
    assert (left.limit, left.remaining, left.next_token_ms) == (3, 0, 250)


def test_changing_the_rate_back_and_forth_gives_no_token() -> None:
    """Rounding is against the client: a hundred changes give it no token."""
    clock = HandClock(123_456_789)
    limiter = RateLimiter(GCRA.token_bucket(3, 7), 100, clock=clock)
    assert exhaust(limiter, "a") == 7
    for number in range(100):
        limiter.reconfigure(GCRA.token_bucket(0.1 + number / 7, 7))
    assert limiter.peek("a").remaining == 0
    with pytest.raises(RateLimited):
        limiter.acquire("a")


# --- the queue ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_smaller_queue_keeps_whoever_waits() -> None:
    """Jobs that wait stay; new ones are accepted when enough have left, never more than were allocated."""
    queue: UploadQueue[JobHandle] = UploadQueue(4, 9, 9, DrainRate(1, 9))
    for _ in range(4):
        queue.restore(fresh())
    queue.resize(2)
    assert (queue.waiting, queue.free_slots, queue.snapshot().capacity) == (4, -2, 2)
    for _ in range(3):
        await queue.take()
    assert (queue.waiting, queue.free_slots) == (1, 1)
    for count in (0, 5):
        with pytest.raises(ValueError, match="made for 4"):
            queue.resize(count)


@pytest.mark.anyio
async def test_a_larger_queue_takes_in_the_overflow() -> None:
    """Jobs in the overflow move into the queue at once, and the callback for free slots is called."""
    queue: UploadQueue[JobHandle] = UploadQueue(4, 9, 9, DrainRate(1, 9))
    queue.resize(1)
    for _ in range(3):
        queue.restore(fresh())
    assert queue.full_for >= 0
    told: list[int] = []
    queue.subscribe(lambda: told.append(queue.free_slots))
    queue.resize(4)
    assert told == [1]
    assert queue.full_for == 0


# --- the workers ----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_deactivated_worker_leaves_the_next_job_to_others() -> None:
    """The wait of a deactivated worker ends without a job, and no job is lost."""
    work_queue, active = work_queue_of(), asyncio.Event()
    active.set()
    taking = asyncio.create_task(work_queue.take(active.is_set))
    await settle()
    active.clear()
    work_queue.wake_all()
    await settle()
    assert taking.result() is None
    job = fresh()
    work_queue.put(job)
    assert await work_queue.take() is job


# --- the levers -----------------------------------------------------------------------------------------


class Reconfigured:
    """Remembers the last values that it was called with."""

    def __init__(self) -> None:
        self.last: tuple[GCRA, int, int] | None = None

    def __call__(self, gcra: GCRA, places: int, workers: int) -> None:
        self.last = (gcra, places, workers)

    @property
    def figures(self) -> tuple[int, int, int]:
        assert self.last is not None
        gcra, places, workers = self.last
        return gcra.limit, places, workers


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **{"queue_size": 40, "workers": 2, **given})


@pytest.mark.anyio
async def test_levers_act_at_once_and_go_back_after_five_minutes() -> None:
    """The five minutes begin anew with each change."""
    applied = Reconfigured()
    levers = DemoSettings(settings(), applied)
    assert levers.snapshot() == {
        "levers": {"rate": 2, "burst": 10, "queue": 40, "workers": 2},
        "back_in_s": None,
    }
    levers.set({"burst": 3, "workers": 1})
    assert applied.figures == (3, 40, 1)
    await asyncio.sleep(RESET_AFTER_S - 1)
    levers.set({"queue": 7})
    assert applied.figures == (3, 7, 1)
    await asyncio.sleep(RESET_AFTER_S - 1)
    assert levers.snapshot()["back_in_s"] == 1
    await asyncio.sleep(2)
    assert applied.figures == (10, 40, 2)
    assert levers.snapshot()["back_in_s"] is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wanted", [{"queue": 41}, {"workers": 0}, {"workers": 3}, {"rate": float("nan")}, {"drain": 1}]
)
async def test_a_lever_goes_no_further_than_its_bounds(wanted: dict[str, float]) -> None:
    """If one value is out of bounds, none is changed."""
    applied = Reconfigured()
    levers = DemoSettings(settings(), applied)
    with pytest.raises(InvalidDemoSetting):
        levers.set({"burst": 5, **wanted})
    assert applied.last is None
    assert levers.snapshot()["levers"]["burst"] == 10


@pytest.mark.anyio
async def test_the_leaky_bucket_has_no_burst() -> None:
    """Its size follows from rate and delay."""
    applied = Reconfigured()
    levers = DemoSettings(settings(limiter="leaky_bucket", max_delay=2), applied)
    assert "burst" not in levers.levers
    levers.set({"rate": 5})
    assert applied.figures[0] == GCRA.leaky_bucket(5, 2).limit == 11
    levers.reset()
