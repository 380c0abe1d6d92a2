"""Two processes bring an outcome of one job: one whose lease ran out, and the one that took the job over."""

import time
from dataclasses import replace
from typing import Any

import pytest

from app.job import WORKER_DIED, Job, JobStatus
from app.storage.interface import JobGone
from tests.storage.conftest import Open
from tests.storage.jobs import PHOTO, accepted, fetched, job_of, made, pending, read

pytestmark = pytest.mark.anyio

TOO_SLOW = ("too-slow", "It took too long.")


async def outcome(store: Any, job: Job, kind: str, at: int) -> Job:
    """What a process makes of a job after `at` seconds: variants, a problem, or another attempt."""
    if kind == "done":
        return replace(
            job,
            status=JobStatus.DONE,
            finished_at=time.time() + at,
            made=await made(store, job, thumb=PHOTO),
            deaths=0,
        )
    if kind == "again":
        return replace(job, status=JobStatus.QUEUED, deaths=job.deaths + 1)
    problem = TOO_SLOW if kind == "too-slow" else WORKER_DIED
    return replace(job, status=JobStatus.FAILED, finished_at=time.time() + at, problem=problem)


@pytest.mark.parametrize("knows_version", [True, False])
@pytest.mark.parametrize("late", ["done", "too-slow", "worker-died", "again"])
@pytest.mark.parametrize("first", ["done", "too-slow", "worker-died"])
async def test_a_final_record_is_never_written_over(
    open_s3: Open, first: str, late: str, knows_version: bool
) -> None:
    """Whatever the late process brings, the final record and its variants stay; no source comes back."""
    quick, paused = await open_s3(), await open_s3()
    job = await accepted(quick)
    if knows_version:
        assert await paused.load(job.id) == job
    final = await outcome(quick, job, first, 2)
    await quick.save(final)
    with pytest.raises(JobGone):
        await paused.save(await outcome(paused, job, late, 3))
    for store in (quick, paused):
        assert await store.load(job.id) == final
        assert not final.made or await read(store, final, "thumb") == PHOTO
        assert await pending(store) == []


async def test_a_late_outcome_of_an_earlier_run_changes_nothing(open_s3: Open) -> None:
    """A job that was reopened meanwhile stays so, with the variants that it had."""
    quick, paused = await open_s3(), await open_s3()
    job = job_of(PHOTO)
    job.original = True
    await accepted(quick, job=job)
    assert await paused.load(job.id) == job
    final = await outcome(quick, job, "done", 2)
    await quick.save(final)
    reopened = replace(final, deferred=("large",), reopened=1)
    await quick.reopen(reopened)
    with pytest.raises(JobGone):
        await made(paused, job, thumb=PHOTO + b"by another version")
    with pytest.raises(JobGone):
        await paused.save(replace(final, finished_at=time.time() + 3))
    assert await paused.load(job.id, fresh=True) == reopened
    assert await read(quick, reopened, "thumb") == PHOTO
    assert await pending(paused) == [reopened]


async def test_one_process_does_not_write_over_its_own_final_record(open_s3: Open) -> None:
    """A job that was delivered twice to one process ends once; a repeated write of one record succeeds."""
    store = await open_s3()
    job = await accepted(store)
    final = await outcome(store, job, "done", 2)
    await store.save(final)
    await store.save(final)
    with pytest.raises(JobGone):
        await store.save(await outcome(store, job, "again", 3))
    assert await store.load(job.id) == final


async def test_the_variants_of_a_late_process_do_not_stay_at_a_failed_job(open_s3: Open) -> None:
    """The bucket holds no image that no record names."""
    quick, paused = await open_s3(), await open_s3()
    job = await accepted(quick)
    await quick.save(await outcome(quick, job, "worker-died", 2))
    late = await outcome(paused, job, "done", 3)
    with pytest.raises(JobGone):
        await paused.save(late)
    assert await read(paused, late, "thumb") is None


@pytest.mark.parametrize("extra", [1, 12_000_000], ids=["small", "large"])
async def test_a_variant_that_a_record_names_is_not_written_over(open_s3: Open, extra: int) -> None:
    """A late process of another version encodes differently; what is served is what was hashed."""
    quick, paused = await open_s3(), await open_s3()
    job = await accepted(quick)
    await made(paused, job, thumb=PHOTO + b"an attempt that ended before its record was written")
    photo = PHOTO + bytes(extra)
    final = replace(
        job, status=JobStatus.DONE, finished_at=time.time(), made=await made(quick, job, thumb=photo)
    )
    await quick.save(final)
    with pytest.raises(JobGone):
        await made(paused, job, thumb=PHOTO)
    for store in (quick, paused):
        assert await read(store, final, "thumb") == photo
    assert await made(paused, job, thumb=photo) == final.made  # the same again does no harm


async def test_a_process_that_lost_a_job_cannot_fail_it(open_s3: Open) -> None:
    """The process that took it over has counted a death, so a failure of the other is not written."""
    taker, paused = await open_s3(), await open_s3()
    job = await accepted(taker)
    assert await paused.load(job.id) == job
    taken = replace(job, deaths=1)
    await taker.save(taken)
    with pytest.raises(JobGone):
        await paused.save(await outcome(paused, job, "too-slow", 3))
    assert await paused.load(job.id) == taken
    assert await fetched(taker, taken) == PHOTO
    final = await outcome(taker, taken, "done", 4)
    await taker.save(final)
    assert await paused.load(job.id) == final


async def test_a_process_that_lost_a_job_may_still_finish_it(open_s3: Open) -> None:
    """A photo that is made is made, whoever made it."""
    taker, paused = await open_s3(), await open_s3()
    job = await accepted(taker)
    taken = replace(job, deaths=1)
    await taker.save(taken)
    final = await outcome(paused, job, "done", 3)
    await paused.save(final)
    with pytest.raises(JobGone):
        await taker.save(await outcome(taker, taken, "too-slow", 4))
    assert await taker.load(job.id) == final
