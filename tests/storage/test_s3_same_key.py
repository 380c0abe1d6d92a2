"""Uploads under one Idempotency-Key, and so of one id, at several replicas: one is accepted and stays."""

import asyncio
import json
import time
from typing import Any

import pytest

from app.job import Job, JobStatus
from app.storage.interface import JobExists
from tests import samples
from tests.clocks import HandClock
from tests.storage.conftest import Open
from tests.storage.jobs import DAY, PHOTO, accepted, fetched, finished, job_of, made, pending, read, spooled
from tests.storage.outside import StoreFiles

pytestmark = pytest.mark.anyio

OTHER_PHOTO = samples.jpeg(96, 64)


@pytest.fixture
def kind() -> str:
    """The store that the `files` fixture looks into."""
    return "s3"


def rival_of(job: Job) -> Job:
    """A job of the same key for another file."""
    rival = job_of(OTHER_PHOTO, created_at=time.time())
    rival.id = job.id
    return rival


async def accept(store: Any, job: Job, data: bytes) -> None:
    """Accept an upload, or raise JobExists."""
    spool = await spooled(store, job, data)
    try:
        await store.accept(spool, job)
    finally:
        await spool.discard()


async def test_a_second_file_does_not_replace_the_accepted_one(open_s3: Open, files: StoreFiles) -> None:
    """A worker elsewhere gets the file whose upload was acknowledged; of the other one nothing is left."""
    here, there, worker = [await open_s3() for _ in range(3)]
    job = await accepted(here)
    with pytest.raises(JobExists):
        await accept(there, rival_of(job), OTHER_PHOTO)
    assert await worker.load(job.id) == job
    assert await fetched(worker, job) == PHOTO
    assert len(sources(files)) == 1


def sources(files: StoreFiles) -> list[str]:
    """The names of all sources in the bucket."""
    return [name for name in files.names() if name.startswith("sources/")]


async def test_of_two_files_at_once_the_accepted_one_stays(open_s3: Open, files: StoreFiles) -> None:
    """Whichever replica creates the record first, the source is the file of its upload."""
    here, there, worker = [await open_s3() for _ in range(3)]
    for _ in range(5):
        job = job_of(PHOTO, created_at=time.time())
        rival = rival_of(job)
        results = await asyncio.gather(
            accept(here, job, PHOTO), accept(there, rival, OTHER_PHOTO), return_exceptions=True
        )
        assert sorted(type(result) for result in results if result is not None) == [JobExists]
        winner, photo = (job, PHOTO) if results[0] is None else (rival, OTHER_PHOTO)
        assert await worker.load(job.id) == winner
        assert await fetched(worker, winner) == photo
    assert len(sources(files)) == 5


async def test_of_two_that_replace_an_expired_job_one_is_accepted(
    open_s3: Open, files: StoreFiles, clock: HandClock
) -> None:
    """A replica that is late does not remove the record of the one that was first, nor its images."""
    here, there, worker = [await open_s3() for _ in range(3)]
    expired = await finished(here, clock.now)
    clock.advance(DAY + 1)
    job, rival = job_of(PHOTO, created_at=clock.now), rival_of(expired)
    job.id = expired.id
    rival.created_at = clock.now
    results = await asyncio.gather(
        accept(here, job, PHOTO), accept(there, rival, OTHER_PHOTO), return_exceptions=True
    )
    assert [type(result) for result in results if result is not None] == [JobExists]
    winner, photo = (job, PHOTO) if results[0] is None else (rival, OTHER_PHOTO)
    assert await worker.load(job.id) == winner
    assert await fetched(worker, winner) == photo
    assert await read(worker, expired, "thumb") is None
    assert len(sources(files)) == 1


async def test_a_late_replica_leaves_a_new_job_of_an_expired_id_alone(
    open_s3: Open, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read the expired record when another replica accepts, and a worker finishes, a new job."""
    here, there = await open_s3(), await open_s3()
    expired = await finished(here, clock.now)
    clock.advance(DAY + 1)
    job, rival = job_of(PHOTO, created_at=clock.now), rival_of(expired)
    job.id = expired.id
    read_record = there._records._read_version

    async def make_new_job() -> None:
        await accept(here, job, PHOTO)
        job.made.update(await made(here, job, thumb=PHOTO))
        job.status, job.finished_at = JobStatus.DONE, clock.now
        await here.save(job)

    async def read_then_lose_the_race(job_id: str) -> Any:
        found = await read_record(job_id)
        await asyncio.create_task(make_new_job())
        return found

    monkeypatch.setattr(there._records, "_read_version", read_then_lose_the_race)
    with pytest.raises(JobExists):
        await accept(there, rival, OTHER_PHOTO)
    assert await here.load(job.id) == job
    assert await read(here, job, "thumb") == PHOTO


async def test_a_deletion_leaves_the_next_upload_of_its_key_alone(
    open_s3: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new upload is accepted after the record is gone and before the old source is."""
    here, there, worker = [await open_s3() for _ in range(3)]
    job = await accepted(here)
    rival = rival_of(job)
    remove_images = here._remove_images

    async def accept_meanwhile(job_id: str) -> None:
        await remove_images(job_id)
        await accept(there, rival, OTHER_PHOTO)

    monkeypatch.setattr(here, "_remove_images", accept_meanwhile)
    await here.delete(job.id)
    assert await worker.load(job.id) == rival
    assert await fetched(worker, rival) == OTHER_PHOTO


async def test_a_job_of_an_earlier_version_is_made_and_removed(open_s3: Open, files: StoreFiles) -> None:
    """Its record names no upload, and its source is named after its id alone."""
    store = await open_s3()
    job = job_of(PHOTO, created_at=time.time())
    files.put(f"sources/{job.id}", PHOTO)
    record = json.loads(job.to_record())
    assert "upload" not in record
    files.put(f"records/{job.id}.json", json.dumps(record).encode())
    assert await pending(store) == [job]
    assert await fetched(store, job) == PHOTO
    job.made.update(await made(store, job, thumb=PHOTO))
    job.status, job.finished_at = JobStatus.DONE, time.time()
    await store.save(job)
    assert sources(files) == []


async def test_the_source_of_an_upload_that_lost_is_swept(
    open_s3: Open, files: StoreFiles, clock: HandClock
) -> None:
    """A replica that died between source and record leaves a source that no record names."""
    store = await open_s3()
    job = await accepted(store)
    files.put(f"sources/{job.id}/0123456789abcdef", OTHER_PHOTO)
    assert await pending(store) == [job]
    clock.advance(2 * 3600)
    await store.sweep()
    assert sources(files) == [f"sources/{job.id}/{job.upload}"]
    assert await fetched(store, job) == PHOTO
