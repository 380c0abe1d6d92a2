"""A job under way, and those who watch it."""

import asyncio
import time

import pytest

from app.engine.job_handle import JobHandle
from app.job import Job, JobStatus, MadeVariant, new_id
from tests.clocks import settle

pytestmark = pytest.mark.anyio

MADE = MadeVariant("thumb.jpg", 96, 72, 1000, "jpeg", "0" * 64)


def new_handle() -> JobHandle:
    """A job that has just been accepted."""
    return JobHandle(Job(new_id(), 1000.0, 10, ("thumb=96", "large=1600")), "somebody")


class Watcher:
    """Reads a job's events to their end."""

    def __init__(self, handle: JobHandle, refresh_s: float = 1000.0) -> None:
        self.heard: list[tuple[str, str] | None] = []
        self.task = asyncio.create_task(self._watch(handle, refresh_s))

    async def _watch(self, handle: JobHandle, refresh_s: float) -> None:
        async for happened in handle.events(lambda: refresh_s):
            self.heard.append(happened)

    @property
    def names(self) -> list[str]:
        """Names of the events heard."""
        return [happened[0] for happened in self.heard if happened is not None]


def make(handle: JobHandle, name: str) -> None:
    """One more variant is made."""
    handle.job.made[name] = MADE
    handle.publish("variant")


async def test_a_watcher_hears_everything_from_the_present_status_on() -> None:
    """Each event with an id of its own, in order; then the end."""
    handle = new_handle()
    early = Watcher(handle)
    await settle()
    handle.set_status(JobStatus.PROCESSING)
    await settle()
    late = Watcher(handle)
    await settle()
    make(handle, "thumb")
    make(handle, "large")
    handle.set_status(JobStatus.DONE)
    await asyncio.gather(early.task, late.task)
    assert early.heard == [
        (JobStatus.QUEUED, "queued.0"),
        (JobStatus.PROCESSING, "processing.0"),
        ("variant", "processing.1"),
        ("variant", "processing.2"),
        (JobStatus.DONE, "done.2"),
    ]
    assert late.heard == early.heard[1:]


async def test_a_watcher_hears_the_end_though_the_status_was_set_before_it_was_told() -> None:
    """No stream ends without the last event while the final record is being written."""
    handle = new_handle()
    watcher = Watcher(handle)
    await settle()
    make(handle, "thumb")
    handle.job.status = JobStatus.DONE  # as the engine does before it writes the record
    await settle()
    handle.set_status(JobStatus.DONE)
    await watcher.task
    assert watcher.names == [JobStatus.QUEUED, "variant", JobStatus.DONE]


@pytest.mark.parametrize("end", [JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_every_end_ends_watchers_and_waits(end: str) -> None:
    """However the job ends, nobody is left waiting."""
    handle = new_handle()
    watcher = Watcher(handle)
    waiting = [asyncio.create_task(event.wait()) for event in (handle.decided, handle.finished)]
    await settle()
    assert not any(wait.done() for wait in waiting)
    handle.set_status(end)
    await asyncio.gather(watcher.task, *waiting)
    assert watcher.names == [JobStatus.QUEUED, end]


async def test_a_job_with_variants_deferred_is_watched_on() -> None:
    """Done is not the end while variants are deferred."""
    handle = new_handle()
    watcher = Watcher(handle)
    await settle()
    handle.job.deferred = ("large",)
    handle.set_status(JobStatus.DONE)
    await settle()
    assert not watcher.task.done()
    assert handle.decided.is_set()
    assert not handle.finished.is_set()
    handle.job.deferred = ()
    make(handle, "large")
    await watcher.task
    assert watcher.names == [JobStatus.QUEUED, JobStatus.DONE, "variant"]


async def test_a_silent_job_lets_its_watchers_look_up() -> None:
    """After each interval without an event a watcher may look whether the job's position has changed."""
    handle = new_handle()
    watcher = Watcher(handle, refresh_s=1.0)
    loop = asyncio.get_running_loop()
    loop.call_later(3.5, handle.set_status, JobStatus.DONE)
    await watcher.task
    assert watcher.heard == [(JobStatus.QUEUED, "queued.0"), None, None, None, (JobStatus.DONE, "done.0")]


async def test_a_slow_watcher_misses_nothing() -> None:
    """Events that come while it is busy wait for it."""
    handle = new_handle()
    events = handle.events(lambda: 1000)
    assert await anext(events) == (JobStatus.QUEUED, "queued.0")
    handle.set_status(JobStatus.PROCESSING)
    make(handle, "thumb")
    handle.set_status(JobStatus.DONE)
    assert [happened async for happened in events] == [
        (JobStatus.PROCESSING, "processing.0"),
        ("variant", "processing.1"),
        (JobStatus.DONE, "done.1"),
    ]


async def test_how_long_a_job_has_waited_is_known_after_a_restart() -> None:
    """By its record, for the clock that the span of its queue begins with is that of another process."""
    handle = new_handle()
    handle.job.created_at = time.time() - 50
    assert 50 <= handle.waited_s < 100
    handle.accepted_at = time.monotonic() - 5
    assert 5 <= handle.waited_s < 50
