"""What every store remembers of single-use tickets, even when the image that came by one is gone."""

from dataclasses import replace
from typing import Any

import pytest

from app.job import Job, JobStatus
from app.storage.interface import JobExists
from tests.clocks import HandClock
from tests.storage.jobs import DAY, PHOTO, accepted, finished, job_of, spooled, used

pytestmark = pytest.mark.anyio


def ticketed(clock: HandClock, life_s: float) -> Job:
    """A job that came by a single-use ticket which is good for so many more seconds."""
    return replace(job_of(PHOTO), ticket_until=clock.now + life_s, repeat_id="0" * 32)


async def refused(store: Any, job: Job) -> None:
    """Try to have another upload with the ticket of a job accepted, in vain; nothing of it stays."""
    before = used(store)
    again = replace(job, status=JobStatus.QUEUED, created_at=job.created_at + 1, finished_at=None, made={})
    spool = await spooled(store, again, PHOTO)
    with pytest.raises(JobExists):
        await store.accept(spool, again)
    await spool.discard()
    assert used(store) == before


async def test_a_ticket_stays_used_when_its_image_is_deleted(store: Any, clock: HandClock) -> None:
    """Until it could not be used any more; then nothing is left of it."""
    job = await accepted(store, job=ticketed(clock, 600))
    assert await store.load(job.id) == job
    assert not await store.is_spent(job.id)
    await refused(store, job)
    await store.delete(job.id)
    assert await store.is_spent(job.id)
    await refused(store, job)
    assert await store.load(job.id) is None
    clock.advance(2 * DAY)
    await store.sweep()
    assert not await store.is_spent(job.id)


async def test_a_ticket_stays_used_when_its_image_expires(store: Any, clock: HandClock) -> None:
    """Before the image is swept, and afterwards."""
    job = await accepted(store, job=ticketed(clock, 2 * DAY))
    job.status, job.finished_at = JobStatus.FAILED, clock.now
    await store.save(job)
    clock.advance(DAY + 1)
    assert await store.load(job.id) is None
    await refused(store, job)
    await store.sweep()
    await refused(store, job)
    assert await store.is_spent(job.id)


async def test_nothing_is_remembered_of_a_ticket_that_is_over(store: Any, clock: HandClock) -> None:
    """Nor of an upload without one."""
    job, plain = await accepted(store, job=ticketed(clock, 600)), await finished(store, clock.now)
    clock.advance(601)
    for each in (job, plain):
        await store.delete(each.id)
        assert not await store.is_spent(each.id)
