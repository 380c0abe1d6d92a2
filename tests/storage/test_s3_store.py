"""What the store in a bucket does besides `test_every_store.py`: replicas, orphans and downloads."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from app.job import JobStatus
from app.storage.interface import JobGone
from app.storage.s3.store import S3Store
from tests.clocks import HandClock
from tests.storage.conftest import PREFIX, Open
from tests.storage.jobs import (
    PHOTO,
    accepted,
    fetched,
    finished,
    job_of,
    made,
    pending,
    read,
    span,
    spooled,
    used,
)
from tests.storage.outside import BucketFiles, names_of
from tests.storage.servers import S3Server

pytestmark = pytest.mark.anyio

HOUR = 3600.0


@pytest.fixture
async def store(open_s3: Open) -> S3Store:
    """An open store in the bucket, empty."""
    opened: S3Store = await open_s3()
    return opened


@pytest.fixture
def files(server: S3Server, bucket: str) -> BucketFiles:
    """What is in the bucket, seen from outside."""
    return BucketFiles(server, bucket, PREFIX)


def scratch_folders(root: Path) -> list[Path]:
    """The scratch folders of all stores below a TMPDIR."""
    return list(root.glob("spillway-scratch-*"))


# --- crashes --------------------------------------------------------------------------------------------


async def test_a_source_without_a_record_is_no_job_and_is_swept(
    open_s3: Open, files: BucketFiles, clock: HandClock
) -> None:
    """After a crash between the two, nobody was told that it was accepted. For an hour it may be arriving."""
    orphan = job_of(PHOTO)
    files.put(f"sources/{orphan.id}", PHOTO)
    store = await open_s3()
    job = await accepted(store)
    assert [each.id for each in await pending(store)] == [job.id]
    assert used(store) == 2 * len(PHOTO)
    assert await store.sweep() == 0
    assert f"sources/{orphan.id}" in files.names()
    clock.advance(HOUR + 60)
    assert await store.sweep() == 0
    assert files.names() == names_of(files, job, source=True)
    assert used(store) == len(PHOTO)


async def test_images_without_a_record_are_swept(
    store: S3Store, files: BucketFiles, clock: HandClock
) -> None:
    """After a crash in the middle of a deletion, nothing of the job is served, and the rest is removed."""
    job, other = await finished(store), await finished(store)
    files.remove(files.record(job))
    clock.advance(HOUR + 60)
    assert await store.load(job.id) is None
    await store.sweep()
    assert files.names() == names_of(files, other, images=("thumb.jpg",))
    assert used(store) == len(PHOTO)


async def test_a_sweep_too_removes_the_source_of_a_final_job(
    open_s3: Open, files: BucketFiles, clock: HandClock
) -> None:
    """After a crash between final record and removal of the source, a start or a sweep removes it."""
    store = await open_s3()
    first, second = await accepted(store), await accepted(store)
    for job in (first, second):
        job.status, job.finished_at = JobStatus.FAILED, clock.now
        files.put(files.record(job), job.to_record())
    assert await pending(await open_s3()) == []
    assert files.names() == names_of(files, first, second)
    files.put(f"sources/{first.id}", PHOTO)
    clock.advance(HOUR + 60)
    await store.sweep()
    assert files.names() == names_of(files, first, second)
    assert used(store) == 0


async def test_objects_of_no_job_are_passed_over(open_s3: Open, files: BucketFiles) -> None:
    """Somebody else's objects below the prefix are neither counted nor removed."""
    foreign = ["images/readme.txt", "records/readme.txt", "sources/readme.txt", "sources/sub/folder"]
    for name in foreign:
        files.put(name, b"hello")
    store = await open_s3()
    assert await pending(store) == []
    assert used(store) == 0
    assert files.names() == foreign


async def test_a_record_whose_update_seemed_to_fail_can_be_written_again(
    store: S3Store, files: BucketFiles
) -> None:
    """If the answer to a write was lost, the version that this process knows is an old one."""
    job = await accepted(store)
    job.deaths = 1
    files.put(files.record(job), job.to_record())
    await store.save(job)
    job.deaths = 2
    files.put(files.record(job), b"by an earlier try of another kind")
    await store.save(job)
    assert await store.load(job.id) == job


# --- replicas -------------------------------------------------------------------------------------------


async def test_replicas_share_everything(open_s3: Open) -> None:
    """The secret, the jobs and the images."""
    one, other = await asyncio.gather(open_s3(), open_s3())
    job = await accepted(one)
    assert one.delete_token(job.id) == other.delete_token(job.id)
    assert await other.load(job.id) == job
    assert await fetched(other, job) == PHOTO
    job.made.update(await made(other, job, thumb=PHOTO))
    job.status, job.finished_at = JobStatus.DONE, time.time()
    await other.save(job)
    assert await one.load(job.id) == job
    assert await read(one, job, "thumb") == PHOTO


async def test_another_prefix_is_another_store(open_s3: Open) -> None:
    """Even in one bucket, and if one prefix begins like the other."""
    store, elsewhere = await open_s3(), await open_s3(prefix="pre/fix2")
    top = await open_s3(prefix="")
    job = await accepted(store)
    for other in (elsewhere, top):
        assert await other.load(job.id) is None
        assert other.delete_token(job.id) != store.delete_token(job.id)
        assert await pending(other) == []


async def test_a_deletion_is_seen_by_the_other_replica(open_s3: Open, clock: HandClock) -> None:
    """After two seconds, for which it may answer from memory; its worker does not bring the job back."""
    one, other = await open_s3(), await open_s3()
    job, at_work = await finished(one), await accepted(other)
    assert await other.load(job.id) == job
    await one.delete(job.id)
    await one.delete(at_work.id)
    assert await other.blob(job, "thumb") is None
    clock.advance(2)
    assert await other.load(job.id) is None
    with pytest.raises(JobGone):
        await other.save(at_work)
    assert await one.load(at_work.id) is None


async def test_what_was_made_for_a_deleted_job_goes_with_it(open_s3: Open, files: BucketFiles) -> None:
    """A worker of another replica stored it before that replica knew of the deletion."""
    one, other = await open_s3(), await open_s3()
    job = await accepted(other)
    await one.delete(job.id)
    job.made.update(await made(other, job, thumb=PHOTO))
    job.status, job.finished_at = JobStatus.DONE, time.time()
    with pytest.raises(JobGone):
        await other.save(job)
    assert files.names() == []


async def test_a_late_worker_does_not_touch_the_next_job_of_the_same_id(open_s3: Open) -> None:
    """The id of a client's Idempotency-Key may be used again after its job was deleted."""
    one, other = await open_s3(), await open_s3()
    job = await accepted(other)
    await one.delete(job.id)
    again = await accepted(one, job=replace(job, created_at=2000.0))
    again.made.update(await made(one, again, thumb=PHOTO))
    again.status, again.finished_at = JobStatus.DONE, time.time()
    await one.save(again)
    late = replace(job, status=JobStatus.FAILED, finished_at=time.time())
    with pytest.raises(JobGone):
        await other.save(late)
    assert await one.load(job.id) == again
    assert await read(one, again, "thumb") == PHOTO


async def test_a_source_that_is_gone_is_told_from_a_server_that_is(open_s3: Open) -> None:
    """Another replica has deleted the job, so there is nothing to try again."""
    one, other = await open_s3(), await open_s3()
    job = await accepted(one)
    await one.delete(job.id)
    folder = await other.workspace(job.id)
    with pytest.raises(JobGone):
        await other.fetch(job, folder)
    await other.drop_workspace(folder)


async def test_the_other_replica_s_bytes_are_counted_within_an_hour(open_s3: Open, clock: HandClock) -> None:
    """And within a minute if an upload was refused for want of space."""
    one, other = await open_s3(), await open_s3(max_bytes=3 * len(PHOTO) - 1)
    jobs = [await accepted(one), await accepted(one)]
    assert used(other) == 0
    clock.advance(HOUR)
    await other.sweep()
    assert used(other) == 2 * len(PHOTO)
    with pytest.raises(Exception, match="are used"):
        other.reserve(len(PHOTO))
    for job in jobs:
        await one.delete(job.id)
    await other.sweep()
    clock.advance(61)
    await other.sweep()
    assert used(other) == 0


# --- the folder of this machine -------------------------------------------------------------------------


async def test_an_upload_is_not_read_back_by_the_machine_that_took_it(
    store: S3Store, files: BucketFiles
) -> None:
    """Its own worker gets the copy that is kept here; a second attempt gets it from the bucket."""
    job = await accepted(store)
    files.put(files.source(job), b"from the bucket")
    assert await fetched(store, job) == PHOTO
    assert await fetched(store, job) == b"from the bucket"


async def test_the_scratch_folder_is_swept_only_when_its_process_died(open_s3: Open, tmp_path: Path) -> None:
    """Several servers may share the TMPDIR of a machine."""
    dead = tmp_path / "spillway-scratch-dead"
    (dead / "spool").mkdir(parents=True)
    (dead / "lock").touch()
    other = tmp_path / "spillway-other"
    other.mkdir()
    one = await open_s3()
    job = job_of(PHOTO)
    spool = await spooled(one, job, bytes(1_000_000))
    two = await open_s3()
    assert not dead.exists()
    assert other.exists()
    assert len(scratch_folders(tmp_path)) == 2
    await spool.discard()
    for store in (one, two):
        await store.close()
    assert scratch_folders(tmp_path) == []


# --- reading --------------------------------------------------------------------------------------------


async def test_a_download_goes_on_where_its_connection_broke(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may close the connection of a slow reader, who does not notice."""
    job = await accepted(store)
    data = PHOTO + bytes(range(256)) * 12_000
    job.made.update(await made(store, job, thumb=data))
    blob = await store.blob(job, "thumb")
    assert blob is not None
    begun = await blob.read(0, 300_000)

    async def broken() -> AsyncIterator[bytes]:
        raise OSError("reset by peer")
        yield b""

    async with aclosing(broken()) as pieces:
        monkeypatch.setattr(blob, "_pieces", pieces)
        rest = await span(blob, len(begun), 3_000_000)
    assert begun
    assert begun + rest == data[: len(begun) + 3_000_000]
    blob.close()
