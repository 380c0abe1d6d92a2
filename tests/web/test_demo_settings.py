"""What a demonstration may turn while the service runs: exact, bounded, and put back by itself."""

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
    """Spend all that a client has; how many tokens that was."""
    spent = 0
    while True:
        try:
            limiter.acquire(client)
        except RateLimited:
            return spent
        spent += 1


# --- the buckets ----------------------------------------------------------------------------------------


def test_what_was_spent_stays_spent_under_another_law() -> None:
    """Neither a larger burst nor another rate gives a token back, and unknown clients have full buckets."""
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
    """Who owes more than it holds waits one token of the new law, not for the old debt."""
    clock = HandClock(SECOND)
    limiter = RateLimiter(GCRA.token_bucket(2, 10), 100, clock=clock)
    assert exhaust(limiter, "a") == 10
    limiter.reconfigure(GCRA.token_bucket(4, 3))
    left = limiter.peek("a")
    assert (left.limit, left.remaining, left.next_token_ms) == (3, 0, 250)


def test_turning_back_and_forth_gives_nothing_away() -> None:
    """Rounding is against the client: a hundred turns are no source of tokens."""
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
    """Nobody is thrown out; there is no place until enough have left, and never more than it was made for."""
    backlog: UploadQueue[JobHandle] = UploadQueue(4, 9, 9, DrainRate(1, 9))
    for _ in range(4):
        backlog.restore(fresh())
    backlog.resize(2)
    assert (backlog.waiting, backlog.free_slots, backlog.snapshot().capacity) == (4, -2, 2)
    for _ in range(3):
        await backlog.take()
    assert (backlog.waiting, backlog.free_slots) == (1, 1)
    for count in (0, 5):
        with pytest.raises(ValueError, match="made for 4"):
            backlog.resize(count)


@pytest.mark.anyio
async def test_a_larger_queue_lets_the_entrance_in() -> None:
    """Those who waited before a small belt move up at once, and whoever wants room is told."""
    backlog: UploadQueue[JobHandle] = UploadQueue(4, 9, 9, DrainRate(1, 9))
    backlog.resize(1)
    for _ in range(3):
        backlog.restore(fresh())
    assert backlog.full_for >= 0
    told: list[int] = []
    backlog.subscribe(lambda: told.append(backlog.free_slots))
    backlog.resize(4)
    assert told == [1]
    assert backlog.full_for == 0


# --- the workers ----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_who_goes_off_duty_leaves_the_next_job_to_others() -> None:
    """A wait for work ends without a job, and no job is lost."""
    work_queue, duty = work_queue_of(), asyncio.Event()
    duty.set()
    resting = asyncio.create_task(work_queue.take(duty.is_set))
    await settle()
    duty.clear()
    work_queue.wake_all()
    await settle()
    assert resting.result() is None
    job = fresh()
    work_queue.put(job)
    assert await work_queue.take() is job


# --- the levers -----------------------------------------------------------------------------------------


class Turned:
    """Remembers what it was turned to."""

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
    """Counted from the last turn of any of them."""
    turned = Turned()
    levers = DemoSettings(settings(), turned)
    assert levers.snapshot() == {
        "levers": {"rate": 2, "burst": 10, "queue": 40, "workers": 2},
        "back_in_s": None,
    }
    levers.set({"burst": 3, "workers": 1})
    assert turned.figures == (3, 40, 1)
    await asyncio.sleep(RESET_AFTER_S - 1)
    levers.set({"queue": 7})
    assert turned.figures == (3, 7, 1)
    await asyncio.sleep(RESET_AFTER_S - 1)
    assert levers.snapshot()["back_in_s"] == 1
    await asyncio.sleep(2)
    assert turned.figures == (10, 40, 2)
    assert levers.snapshot()["back_in_s"] is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wanted", [{"queue": 41}, {"workers": 0}, {"workers": 3}, {"rate": float("nan")}, {"drain": 1}]
)
async def test_a_lever_goes_no_further_than_its_bounds(wanted: dict[str, float]) -> None:
    """And of several none is turned when one cannot be."""
    turned = Turned()
    levers = DemoSettings(settings(), turned)
    with pytest.raises(InvalidDemoSetting):
        levers.set({"burst": 5, **wanted})
    assert turned.last is None
    assert levers.snapshot()["levers"]["burst"] == 10


@pytest.mark.anyio
async def test_the_leaky_bucket_has_no_burst_to_turn() -> None:
    """Its depth follows from rate and delay."""
    turned = Turned()
    levers = DemoSettings(settings(limiter="leaky_bucket", max_delay=2), turned)
    assert "burst" not in levers.levers
    levers.set({"rate": 5})
    assert turned.figures[0] == GCRA.leaky_bucket(5, 2).limit == 11
    levers.reset()
