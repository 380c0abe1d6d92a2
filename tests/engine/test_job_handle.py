"""A job under way, and whoever watches it."""

import asyncio

import pytest

from app.engine.job_handle import Live
from app.job import CANCELLED, DONE, FAILED, PROCESSING, QUEUED, Job, MadeVariant, new_id
from tests.clocks import settle

pytestmark = pytest.mark.anyio

MADE = MadeVariant("thumb.jpg", 96, 72, 1000, "jpeg", "0" * 64)


def live_job() -> Live:
    """A job that has just been accepted."""
    return Live(Job(new_id(), 1000.0, 10, ("thumb=96", "large=1600")), "somebody")


class Watcher:
    """Reads a job's events to their end."""

    def __init__(self, live: Live, refresh_s: float = 1000.0) -> None:
        self.heard: list[tuple[str, str] | None] = []
        self.task = asyncio.create_task(self._watch(live, refresh_s))

    async def _watch(self, live: Live, refresh_s: float) -> None:
        async for happened in live.events(refresh_s):
            self.heard.append(happened)

    @property
    def names(self) -> list[str]:
        """Names of the events heard."""
        return [happened[0] for happened in self.heard if happened is not None]


def make(live: Live, name: str) -> None:
    """One more variant is there."""
    live.job.made[name] = MADE
    live.announce("variant")


async def test_a_watcher_hears_everything_from_the_present_status_on() -> None:
    """Each event with an id of its own, in order; then the end."""
    live = live_job()
    early = Watcher(live)
    await settle()
    live.move(PROCESSING)
    await settle()
    late = Watcher(live)
    await settle()
    make(live, "thumb")
    make(live, "large")
    live.move(DONE)
    await asyncio.gather(early.task, late.task)
    assert early.heard == [
        (QUEUED, "queued.0"),
        (PROCESSING, "processing.0"),
        ("variant", "processing.1"),
        ("variant", "processing.2"),
        (DONE, "done.2"),
    ]
    assert late.heard == early.heard[1:]


async def test_a_watcher_hears_the_end_though_the_status_was_set_before_it_was_told() -> None:
    """While the final record is being written nobody is sent away without the last event."""
    live = live_job()
    watcher = Watcher(live)
    await settle()
    make(live, "thumb")
    live.job.status = DONE  # as the engine does before it writes the record
    await settle()
    live.move(DONE)
    await watcher.task
    assert watcher.names == [QUEUED, "variant", DONE]


@pytest.mark.parametrize("end", [DONE, FAILED, CANCELLED])
async def test_every_end_ends_watchers_and_waits(end: str) -> None:
    """Whatever becomes of the job, nobody is left waiting."""
    live = live_job()
    watcher = Watcher(live)
    waiting = [asyncio.create_task(event.wait()) for event in (live.decided, live.ended)]
    await settle()
    assert not any(wait.done() for wait in waiting)
    live.move(end)
    await asyncio.gather(watcher.task, *waiting)
    assert watcher.names == [QUEUED, end]


async def test_a_job_with_variants_deferred_is_watched_on() -> None:
    """Done is not the end while something is promised for later."""
    live = live_job()
    watcher = Watcher(live)
    await settle()
    live.job.deferred = ("large",)
    live.move(DONE)
    await settle()
    assert not watcher.task.done()
    assert live.decided.is_set()
    assert not live.ended.is_set()
    live.job.deferred = ()
    make(live, "large")
    await watcher.task
    assert watcher.names == [QUEUED, DONE, "variant"]


async def test_a_silent_job_lets_its_watchers_look_up() -> None:
    """Once in each refresh a watcher may look whether the job's place has moved."""
    live = live_job()
    watcher = Watcher(live, refresh_s=1.0)
    loop = asyncio.get_running_loop()
    loop.call_later(3.5, live.move, DONE)
    await watcher.task
    assert watcher.heard == [(QUEUED, "queued.0"), None, None, None, (DONE, "done.0")]


async def test_a_slow_watcher_misses_nothing() -> None:
    """Events that come while it is busy wait for it."""
    live = live_job()
    events = live.events(1000)
    assert await anext(events) == (QUEUED, "queued.0")
    live.move(PROCESSING)
    make(live, "thumb")
    live.move(DONE)
    assert [happened async for happened in events] == [
        (PROCESSING, "processing.0"),
        ("variant", "processing.1"),
        (DONE, "done.1"),
    ]
