"""What every store has to do, in a directory or in a bucket: uploads, removal, expiry and the count of bytes.

A new kind of store is added to the fixtures `kind` and `files`, and to `StoreFiles`.
"""

import math
import os
import time
from dataclasses import replace
from typing import Any

import pytest

from app.job import JobStatus, new_id
from app.storage.interface import JobGone, StoreFull
from tests.clocks import HandClock
from tests.storage.conftest import Open
from tests.storage.jobs import (
    DAY,
    PHOTO,
    accepted,
    fetched,
    finished,
    job_of,
    made,
    pending,
    read,
    used,
)
from tests.storage.outside import StoreFiles, names_of

pytestmark = pytest.mark.anyio


# --- accepting ------------------------------------------------------------------------------------------


async def test_an_accepted_upload_is_all_there(store: Any) -> None:
    """After `accept`, and not before, there are upload and record, in whatever pieces the upload came."""
    data = PHOTO + os.urandom(7_000_000)
    job = job_of(data)
    spool = await store.spool(job.id)
    for start in range(0, len(data), 999_991):
        await spool.write(data[start : start + 999_991])
    assert await store.load(job.id) is None
    await store.accept(spool, job)
    await spool.discard()
    await spool.discard()
    assert await store.load(job.id) == job
    assert await fetched(store, job) == data
    assert used(store) == len(data)


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
async def test_a_restarted_upload_holds_what_came_after(store: Any, size: int) -> None:
    """Whether nothing, little or much of the other file had arrived."""
    job = job_of(PHOTO)
    spool = await store.spool(job.id)
    await spool.write(os.urandom(size))
    await spool.restart()
    await spool.write(PHOTO)
    await store.accept(spool, job)
    await spool.discard()
    assert await fetched(store, job) == PHOTO
    assert used(store) == len(PHOTO)


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
async def test_a_discarded_upload_leaves_nothing(store: Any, files: StoreFiles, size: int) -> None:
    """Whether nothing, little or much of it had arrived. Discarding it twice is harmless."""
    job = job_of(PHOTO)
    spool = await store.spool(job.id)
    if size:
        await spool.write(bytes(size))
    await spool.discard()
    await spool.discard()
    assert await store.load(job.id) is None
    assert await pending(store) == []
    assert files.names() == []
    assert used(store) == 0


async def test_a_job_s_files_come_and_go(store: Any, files: StoreFiles) -> None:
    """Record and upload when it is accepted, then its variants; the upload goes when the job is final."""
    job = await accepted(store)
    assert files.names() == names_of(files, job, source=True)
    job.made.update(await made(store, job, thumb=PHOTO))
    assert files.names() == names_of(files, job, source=True, images=("thumb.jpg",))
    job.status, job.finished_at, job.deferred = JobStatus.DONE, time.time(), ("large",)
    await store.save(job)
    assert files.names() == names_of(files, job, source=True, images=("thumb.jpg",))
    job.deferred = ()
    await store.save(job)
    assert files.names() == names_of(files, job, images=("thumb.jpg",))
    assert used(store) == len(PHOTO)
    await store.delete(job.id)
    assert files.names() == []


async def test_a_job_that_is_over_makes_way_for_the_next_of_its_id(store: Any, clock: HandClock) -> None:
    """Even before it is swept, because nobody can ask for it any more."""
    job = await finished(store, clock.now)
    clock.advance(DAY + 1)
    again = await accepted(store, job=replace(job, status=JobStatus.QUEUED, finished_at=None, made={}))
    assert await store.load(job.id) == again
    assert await store.blob(job, "thumb") is None
    assert await fetched(store, again) == PHOTO
    assert used(store) == len(PHOTO)


# --- removal and expiry ---------------------------------------------------------------------------------


async def test_a_deleted_job_is_gone_at_once(store: Any) -> None:
    """Record, source and variants; and deleting again, or what never was, is harmless."""
    job = await finished(store)
    assert await store.load(job.id) == job
    await store.delete(job.id)
    await store.delete(job.id)
    await store.delete(new_id())
    assert await store.load(job.id) is None
    assert await store.blob(job, "thumb") is None
    assert used(store) == 0


async def test_a_deleted_job_is_not_brought_back(store: Any) -> None:
    """By a worker that was still at it, though it tries twice to record what it made."""
    job = await accepted(store)
    await store.delete(job.id)
    job.status, job.finished_at = JobStatus.DONE, time.time()
    for _ in range(2):
        with pytest.raises(JobGone):
            await store.save(job)
    assert await store.load(job.id) is None
    assert await pending(store) == []


@pytest.mark.parametrize("status", [JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_an_image_lives_for_its_retention(store: Any, clock: HandClock, status: str) -> None:
    """It is there until the last moment and gone at the next, even before it is swept."""
    clock.now = 10_000.0
    job = await finished(store, clock.now, status)
    assert store.expires_at(job) == 10_000.0 + DAY
    clock.advance(DAY - 0.001)
    assert await store.load(job.id) is not None
    clock.advance(0.001)
    assert await store.load(job.id) is None


async def test_where_images_are_kept_for_good_only_failures_expire(
    open_store: Open, clock: HandClock
) -> None:
    """After a day, since their records count to no limit; all else stays through every sweep and restart."""
    store = await open_store(retention=math.inf)
    images = [await finished(store) for _ in range(2)]
    failed, late = await accepted(store), await accepted(store)
    failed.status, failed.finished_at = JobStatus.FAILED, clock.now
    await store.save(failed)
    assert [store.expires_at(job) for job in images] == [None, None]
    assert store.expires_at(failed) == clock.now + DAY
    clock.advance(1.5 * DAY)
    assert await store.load(failed.id) is None
    assert await store.sweep() == 1
    late.status, late.finished_at = JobStatus.FAILED, clock.now
    await store.save(late)
    await store.close()
    store = await open_store(retention=math.inf)
    clock.advance(100 * DAY)
    assert await store.sweep() == 1
    assert [await store.load(job.id) for job in (*images, late)] == [*images, None]
    assert [await read(store, job, "thumb") for job in images] == [PHOTO, PHOTO]
    assert used(store) == 2 * len(PHOTO)


async def test_an_unfinished_job_does_not_expire(store: Any, clock: HandClock) -> None:
    """A job that waits, or has variants deferred, is kept for as long as that takes."""
    waiting, deferring = await accepted(store), await accepted(store)
    deferring.status, deferring.finished_at, deferring.deferred = JobStatus.DONE, clock.now, ("large",)
    await store.save(deferring)
    clock.advance(100 * DAY)
    for job in (waiting, deferring):
        assert store.expires_at(job) is None
        assert await store.load(job.id) == job
    assert await store.sweep() == 0
    assert await fetched(store, waiting) == PHOTO


async def test_the_sweep_removes_what_has_expired_and_nothing_else(store: Any, clock: HandClock) -> None:
    """Old jobs go with all of their files; younger and unfinished ones stay."""
    old = [await finished(store) for _ in range(3)]
    waiting = await accepted(store)
    clock.advance(2 * DAY)
    young = await finished(store, clock.now)
    assert await store.sweep() == 3
    assert [await read(store, job, "thumb") for job in old] == [None] * 3
    assert await store.load(young.id) == young
    assert await store.load(waiting.id) == waiting
    assert used(store) == 2 * len(PHOTO)
    clock.advance(3600)
    assert await store.sweep() == 0


async def test_a_damaged_record_without_its_upload_is_swept(
    store: Any, clock: HandClock, files: StoreFiles
) -> None:
    """In its time; with its upload it waits for the next start, which makes it whole."""
    final, unfinished = await finished(store), await accepted(store)
    for job in (final, unfinished):
        files.put(files.record(job), b"{")
    assert await store.sweep() == 0
    clock.advance(2 * DAY)
    assert await store.sweep() == 1
    assert files.names() == names_of(files, unfinished, source=True)
    assert used(store) == len(PHOTO)


async def test_variants_made_twice_are_counted_once(
    open_store: Open, clock: HandClock, files: StoreFiles
) -> None:
    """A second attempt replaces what the first has stored, at the latest when the bytes are counted again."""
    store = await open_store()
    job = await accepted(store)
    await made(store, job, thumb=PHOTO + bytes(1000))
    await made(store, job, thumb=PHOTO)
    clock.advance(3660)
    await store.sweep()
    assert used(store) == 2 * len(PHOTO)
    assert files.names() == names_of(files, job, source=True, images=("thumb.jpg",))
    await store.close()
    assert used(await open_store()) == 2 * len(PHOTO)


# --- space ----------------------------------------------------------------------------------------------


async def test_reserved_and_kept_bytes_share_one_limit(open_store: Open) -> None:
    """An upload counts from its admission on, first with what is reserved and then with what it has."""
    store = await open_store(max_bytes=len(PHOTO) + 100)
    space = store.reserve(len(PHOTO))
    with pytest.raises(StoreFull):
        store.reserve(101)
    last = store.reserve(100)
    snapshot = store.snapshot()
    assert (snapshot.used_bytes, snapshot.reserved_bytes) == (0, len(PHOTO) + 100)
    await accepted(store)
    space.release()
    space.release()
    last.release()
    snapshot = store.snapshot()
    assert (snapshot.used_bytes, snapshot.reserved_bytes) == (len(PHOTO), 0)
    with pytest.raises(StoreFull):
        store.reserve(101)
    store.reserve(100).release()


async def test_the_count_of_bytes_survives_a_restart(open_store: Open) -> None:
    """What is counted while running is what a start finds."""
    before = await open_store()
    await accepted(before)
    await finished(before)
    counted = used(before)
    assert counted == 2 * len(PHOTO)
    await before.close()
    assert used(await open_store()) == counted


async def test_after_everything_is_deleted_nothing_is_counted(store: Any) -> None:
    """Jobs in every state come and go, and the count returns to where it was."""
    jobs = [await accepted(store), await finished(store), await finished(store, status=JobStatus.FAILED)]
    half = await accepted(store)
    await made(store, half, thumb=PHOTO, small=PHOTO)
    jobs.append(half)
    for job in jobs:
        await store.delete(job.id)
    assert used(store) == 0


@pytest.mark.parametrize("job_id", ["", "..", "../../secret", "A" * 32, "0" * 31, "0" * 33])
async def test_no_other_name_reaches_a_file(store: Any, job_id: str) -> None:
    """Only what has the form of an id becomes part of a path or an object's name."""
    assert await store.load(job_id) is None
    with pytest.raises(ValueError, match="not an id"):
        await store.delete(job_id)
