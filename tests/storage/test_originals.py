"""Uploads that are kept after their job is done, and jobs that are reopened to make more of them."""

import math
from dataclasses import replace
from typing import Any

import pytest

from app.job import Job, JobStatus
from app.storage.interface import JobGone
from tests.clocks import HandClock
from tests.storage.conftest import Open
from tests.storage.jobs import DAY, PHOTO, accepted, fetched, job_of, made, pending, span, used
from tests.storage.outside import StoreFiles, names_of

pytestmark = pytest.mark.anyio


async def taken(store: Any) -> Job:
    """An accepted job whose upload is to be kept."""
    job = job_of(PHOTO)
    job.original = True
    return await accepted(store, job=job)


async def done(store: Any, at: float, job: Job | None = None) -> Job:
    """Such a job that has become final."""
    job = job or await taken(store)
    job.made.update(await made(store, job, thumb=PHOTO))
    job.status, job.finished_at = JobStatus.DONE, at
    await store.save(job)
    return job


def next_run(job: Job) -> Job:
    """A final job as it is when another variant is asked for."""
    return replace(job, wanted=("thumb=96", "small=320"), deferred=("small",), reopened=job.reopened + 1)


async def original(store: Any, job: Job) -> bytes | None:
    """The bytes that are kept, or None."""
    blob = await store.original(job, (0, job.size - 1))
    if blob is None:
        return None
    try:
        return await span(blob, 0, job.size)
    finally:
        blob.close()


async def test_an_upload_is_kept_until_its_image_goes(
    open_store: Open, clock: HandClock, files: StoreFiles
) -> None:
    """It is read while its job is unfinished and after, counts to the bytes, and costs a start no look."""
    store = await open_store()
    waiting, job = await taken(store), await done(store, clock.now)
    assert await original(store, waiting) == await original(store, job) == PHOTO
    assert used(store) == 3 * len(PHOTO)
    await store.close()
    store = await open_store()
    assert await pending(store) == [waiting]
    assert used(store) == 3 * len(PHOTO)
    await store.delete(waiting.id)
    clock.advance(2 * DAY)
    assert await store.sweep() == 1
    assert files.names() == []
    assert used(store) == 0
    assert await original(store, job) is None


async def test_the_upload_of_a_job_that_failed_is_not_kept(
    open_store: Open, clock: HandClock, files: StoreFiles
) -> None:
    """Nothing can be made of it."""
    store = await open_store()
    job = await taken(store)
    job.status, job.finished_at = JobStatus.FAILED, clock.now
    await store.save(job)
    assert files.names() == names_of(files, job)
    assert used(store) == 0


async def test_a_deletion_removes_what_is_kept(store: Any, clock: HandClock, files: StoreFiles) -> None:
    """Of final jobs and of reopened ones."""
    for job in (await done(store, clock.now), await done(store, clock.now)):
        await store.delete(job.id)
    reopened = next_run(await done(store, clock.now))
    await store.reopen(reopened)
    await store.delete(reopened.id)
    assert files.names() == []
    assert used(store) == 0


async def test_a_reopened_job_comes_back_until_it_is_final_again(open_store: Open, clock: HandClock) -> None:
    """With the upload as its source, which is kept again afterwards."""
    store = await open_store()
    job = await done(store, clock.now)
    reopened = next_run(job)
    await store.reopen(reopened)
    assert await store.load(job.id) == reopened
    assert await original(store, reopened) == PHOTO
    await store.close()
    store = await open_store()
    assert await pending(store) == [reopened]
    assert await fetched(store, reopened) == PHOTO
    final = replace(reopened, deferred=(), completed_at=clock.now)
    final.made = job.made | await made(store, final, small=PHOTO)
    await store.save(final)
    assert await store.load(job.id) == final
    assert await original(store, final) == PHOTO
    assert used(store) == 3 * len(PHOTO)
    await store.reopen(replace(next_run(final), deferred=("large",)))
    await store.close()
    assert used(await open_store()) == 3 * len(PHOTO)


async def test_a_crash_before_the_upload_is_put_away_loses_nothing(
    open_store: Open, clock: HandClock, files: StoreFiles
) -> None:
    """Between the final record and that, and between the first step of reopening a job and its record."""
    store = await open_store()
    ending, reopening = await taken(store), await done(store, clock.now)
    ending.status, ending.finished_at = JobStatus.DONE, clock.now
    files.put(files.record(ending), ending.to_record())
    before = files.names()
    await store.reopen(next_run(reopening))
    files.put(files.record(reopening), reopening.to_record())
    assert files.names() != before
    await store.close()
    store = await open_store()
    assert await pending(store) == []
    for job in (ending, reopening):
        assert await store.load(job.id) == job
        assert await original(store, job) == PHOTO
    await store.close()
    store = await open_store()
    assert await pending(store) == []
    assert used(store) == 3 * len(PHOTO)


async def test_a_job_is_reopened_once(store: Any, clock: HandClock) -> None:
    """Not while it is unfinished, by two at once, after its retention, or when it is gone."""
    job, other = await done(store, clock.now), await taken(store)
    await store.reopen(next_run(job))
    for refused in (next_run(job), next_run(other), next_run(replace(job, created_at=1.0))):
        with pytest.raises(JobGone):
            await store.reopen(refused)
    assert await store.load(job.id) == next_run(job)
    old = await done(store, clock.now)
    clock.advance(DAY)
    with pytest.raises(JobGone):
        await store.reopen(next_run(old))
    await store.delete(job.id)
    with pytest.raises(JobGone):
        await store.reopen(next_run(job))


async def test_a_pass_over_everything_spares_what_is_kept(open_store: Open, clock: HandClock) -> None:
    """However old it is; also where images are kept for good."""
    store = await open_store(retention=math.inf)
    job, waiting = await done(store, clock.now), await taken(store)
    clock.advance(5 * DAY)
    assert await store.sweep() == 0
    assert await original(store, job) == PHOTO
    assert await fetched(store, waiting) == PHOTO
    assert used(store) == 3 * len(PHOTO)
