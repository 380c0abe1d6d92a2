"""The store in a bucket: crashes at each step, replicas beside each other, and servers that fail."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.job import Job, JobStatus
from app.storage.interface import JobGone, StoreUnusable
from app.storage.s3.store import S3Store
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
    span,
    spooled,
    used,
)
from tests.storage.servers import S3Server, free_port

pytestmark = pytest.mark.anyio

HOUR = 3600.0


class Bucket:
    """What is in the bucket, looked at and meddled with from outside."""

    def __init__(self, server: S3Server, name: str) -> None:
        self._client = server.client()
        self._name = name

    def names(self) -> list[str]:
        """Every object below the prefix of the store, but what all stores have."""
        pages = self._client.list_objects_v2(Bucket=self._name, Prefix="pre/fix/").get("Contents", [])
        names = [entry["Key"].removeprefix("pre/fix/") for entry in pages]
        return [name for name in names if name not in ("secret", "probe")]

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        self._client.put_object(Bucket=self._name, Key=f"pre/fix/{name}", Body=data)

    def remove(self, name: str) -> None:
        """Remove an object."""
        self._client.delete_object(Bucket=self._name, Key=f"pre/fix/{name}")


@pytest.fixture
def inside(server: S3Server, bucket: str) -> Bucket:
    """The bucket, from outside."""
    return Bucket(server, bucket)


def names_of(job: Job, *, source: bool = False, images: tuple[str, ...] = ()) -> list[str]:
    """The objects of a job."""
    names = [*(f"images/{job.id}/{file}" for file in images), f"records/{job.id}.json"]
    return names + ([f"sources/{job.id}"] if source else [])


def scratch_folders(root: Path) -> list[Path]:
    """What stores have below a TMPDIR."""
    return list(root.glob("spillway-scratch-*"))


# --- crashes --------------------------------------------------------------------------------------------


async def test_a_job_is_three_objects_until_it_is_final(objects: S3Store, inside: Bucket) -> None:
    """Record and source when it is accepted, the images beside them, and the source goes."""
    job = await accepted(objects)
    assert inside.names() == names_of(job, source=True)
    job.made.update(await made(objects, job, thumb=PHOTO))
    assert inside.names() == names_of(job, source=True, images=("thumb.jpg",))
    job.status, job.finished_at = JobStatus.DONE, time.time()
    await objects.save(job)
    assert inside.names() == names_of(job, images=("thumb.jpg",))
    await objects.delete(job.id)
    assert inside.names() == []


async def test_a_source_without_a_record_is_no_job_and_is_swept(
    open_objects: Open, inside: Bucket, clock: HandClock
) -> None:
    """Dead between the two: nobody was told that it was accepted. For an hour it may be on its way in."""
    orphan = job_of(PHOTO)
    inside.put(f"sources/{orphan.id}", PHOTO)
    store = await open_objects()
    job = await accepted(store)
    assert [each.id for each in await pending(store)] == [job.id]
    assert used(store) == 2 * len(PHOTO)
    assert await store.sweep() == 0
    assert f"sources/{orphan.id}" in inside.names()
    clock.advance(HOUR + 60)
    assert await store.sweep() == 0
    assert inside.names() == names_of(job, source=True)
    assert used(store) == len(PHOTO)


async def test_images_without_a_record_are_swept(objects: S3Store, inside: Bucket, clock: HandClock) -> None:
    """Dead in the middle of a removal: nothing of the job can be asked for, and the rest goes."""
    job, other = await finished(objects), await finished(objects)
    inside.remove(f"records/{job.id}.json")
    clock.advance(HOUR + 60)
    assert await objects.load(job.id) is None
    await objects.sweep()
    assert inside.names() == names_of(other, images=("thumb.jpg",))
    assert used(objects) == len(PHOTO)


async def test_a_job_that_ended_as_the_server_died_does_not_come_back(
    open_objects: Open, inside: Bucket, clock: HandClock
) -> None:
    """Dead between the final record and the removal of the source, which a start or a sweep makes good."""
    store = await open_objects()
    first, second = await accepted(store), await accepted(store)
    for job in (first, second):
        job.status, job.finished_at = JobStatus.FAILED, clock.now
        inside.put(f"records/{job.id}.json", job.to_record())
    assert await pending(await open_objects()) == []
    assert sorted(inside.names()) == sorted(names_of(first) + names_of(second))
    inside.put(f"sources/{first.id}", PHOTO)
    clock.advance(HOUR + 60)
    await store.sweep()
    assert sorted(inside.names()) == sorted(names_of(first) + names_of(second))
    assert used(store) == 0


@pytest.mark.parametrize("record", [b"", b"{", b"\xff\xfe", b"null", b'{"version":2}'])
async def test_a_damaged_record_is_made_anew(open_objects: Open, inside: Bucket, record: bytes) -> None:
    """As long as the photo is there the job is done whole rather than lost."""
    before = await open_objects()
    job = await accepted(before)
    inside.put(f"records/{job.id}.json", record)
    after = await open_objects()
    assert await after.load(job.id) is None
    (again,) = await pending(after)
    assert (again.id, again.size, again.wanted) == (job.id, len(PHOTO), ())
    assert abs(again.created_at - time.time()) < 60
    assert await after.load(job.id) == again


async def test_another_job_s_record_is_no_record(objects: S3Store, inside: Bucket) -> None:
    """A record that names another id is damage too."""
    job, other = await accepted(objects), await accepted(objects)
    inside.put(f"records/{job.id}.json", other.to_record())
    assert await objects.load(job.id) is None


async def test_what_is_no_job_s_is_passed_over(open_objects: Open, inside: Bucket) -> None:
    """Somebody else's objects below the prefix are neither counted nor removed."""
    foreign = ["images/readme.txt", "records/readme.txt", "sources/readme.txt", "sources/sub/folder"]
    for name in foreign:
        inside.put(name, b"hello")
    store = await open_objects()
    assert await pending(store) == []
    assert used(store) == 0
    assert inside.names() == foreign


async def test_a_job_made_twice_is_counted_once_at_the_next_stocktaking(
    objects: S3Store, clock: HandClock
) -> None:
    """Variants that a retry makes anew replace those that were there."""
    job = await accepted(objects)
    await made(objects, job, thumb=PHOTO + bytes(1000))
    await made(objects, job, thumb=PHOTO)
    clock.advance(HOUR + 60)
    await objects.sweep()
    assert used(objects) == 2 * len(PHOTO)


async def test_a_record_whose_update_seemed_to_fail_can_be_written_again(
    objects: S3Store, inside: Bucket
) -> None:
    """An answer may be lost where the bytes were not: then the version that is known is an old one."""
    job = await accepted(objects)
    job.deaths = 1
    inside.put(f"records/{job.id}.json", job.to_record())
    await objects.save(job)
    job.deaths = 2
    inside.put(f"records/{job.id}.json", b"by an earlier try of another kind")
    await objects.save(job)
    assert await objects.load(job.id) == job


# --- replicas -------------------------------------------------------------------------------------------


async def test_replicas_share_everything(open_objects: Open) -> None:
    """The key of the delete tokens, the jobs, and the images."""
    one, other = await asyncio.gather(open_objects(), open_objects())
    job = await accepted(one)
    assert one.delete_token(job.id) == other.delete_token(job.id)
    assert await other.load(job.id) == job
    assert await fetched(other, job) == PHOTO
    job.made.update(await made(other, job, thumb=PHOTO))
    job.status, job.finished_at = JobStatus.DONE, time.time()
    await other.save(job)
    assert await one.load(job.id) == job
    assert await read(one, job, "thumb") == PHOTO


async def test_another_prefix_is_another_store(open_objects: Open) -> None:
    """Even within one bucket, and where one prefix begins like the other."""
    store, elsewhere = await open_objects(), await open_objects(prefix="pre/fix2")
    top = await open_objects(prefix="")
    job = await accepted(store)
    for other in (elsewhere, top):
        assert await other.load(job.id) is None
        assert other.delete_token(job.id) != store.delete_token(job.id)
        assert await pending(other) == []


async def test_a_deletion_is_seen_by_the_other_replica(open_objects: Open, clock: HandClock) -> None:
    """Within two seconds, for so long it does not ask again; a worker there brings nothing back."""
    one, other = await open_objects(), await open_objects()
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


async def test_what_was_made_for_a_deleted_job_goes_with_it(open_objects: Open, inside: Bucket) -> None:
    """The worker of another replica was faster than the news."""
    one, other = await open_objects(), await open_objects()
    job = await accepted(other)
    await one.delete(job.id)
    job.made.update(await made(other, job, thumb=PHOTO))
    job.status, job.finished_at = JobStatus.DONE, time.time()
    with pytest.raises(JobGone):
        await other.save(job)
    assert inside.names() == []


async def test_a_late_worker_does_not_touch_the_next_job_of_the_same_id(open_objects: Open) -> None:
    """An id may be used again once its job was deleted, where it stands for a client's key."""
    one, other = await open_objects(), await open_objects()
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


async def test_a_source_that_is_gone_is_told_from_a_server_that_is(open_objects: Open) -> None:
    """Another replica has ended or deleted the job: there is nothing to be tried again."""
    one, other = await open_objects(), await open_objects()
    job = await accepted(one)
    await one.delete(job.id)
    folder = await other.workspace(job.id)
    with pytest.raises(JobGone):
        await other.fetch(job.id, folder)
    await other.drop_workspace(folder)


async def test_the_other_replica_s_bytes_are_counted_within_an_hour(
    open_objects: Open, clock: HandClock
) -> None:
    """And within a minute where the count refused somebody."""
    one, other = await open_objects(), await open_objects(max_bytes=3 * len(PHOTO) - 1)
    jobs = [await accepted(one), await accepted(one)]
    assert used(other) == 0
    clock.advance(HOUR)
    await other.sweep()
    assert used(other) == 2 * len(PHOTO)
    with pytest.raises(Exception, match="bytes are kept"):
        other.reserve(len(PHOTO))
    for job in jobs:
        await one.delete(job.id)
    await other.sweep()
    clock.advance(61)
    await other.sweep()
    assert used(other) == 0


# --- the folder of this machine -------------------------------------------------------------------------


async def test_an_upload_is_not_read_back_by_the_machine_that_took_it(
    objects: S3Store, inside: Bucket
) -> None:
    """Its own worker finds it here; whoever comes later, a second try, gets it from the bucket."""
    job = await accepted(objects)
    inside.put(f"sources/{job.id}", b"from the bucket")
    assert await fetched(objects, job) == PHOTO
    assert await fetched(objects, job) == b"from the bucket"


async def test_the_scratch_folder_is_swept_only_when_its_process_died(
    open_objects: Open, tmp_path: Path
) -> None:
    """Several servers may share a machine's TMPDIR."""
    dead = tmp_path / "spillway-scratch-dead"
    (dead / "spool").mkdir(parents=True)
    (dead / "lock").touch()
    other = tmp_path / "spillway-other"
    other.mkdir()
    one = await open_objects()
    job = job_of(PHOTO)
    spool = await spooled(one, job, bytes(1_000_000))
    two = await open_objects()
    assert not dead.exists()
    assert other.exists()
    assert len(scratch_folders(tmp_path)) == 2
    await spool.discard()
    for store in (one, two):
        await store.close()
    assert scratch_folders(tmp_path) == []


# --- reading --------------------------------------------------------------------------------------------


async def test_a_download_goes_on_where_its_connection_broke(
    objects: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may close on a slow reader; the reader does not notice."""
    job = await accepted(objects)
    data = PHOTO + bytes(range(256)) * 12_000
    job.made.update(await made(objects, job, thumb=data))
    blob = await objects.blob(job, "thumb")
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


async def test_a_variant_of_another_size_is_none(objects: S3Store, inside: Bucket) -> None:
    """Replaced by hand, it would not be what its digest says."""
    job = await finished(objects)
    inside.put(f"images/{job.id}/thumb.jpg", PHOTO + b"!")
    assert await objects.blob(job, "thumb") is None


# --- servers that fail ----------------------------------------------------------------------------------


async def time_to_fail(call: Awaitable[Any]) -> float:
    """Seconds until a call has failed with an OSError."""
    started = time.monotonic()
    with pytest.raises(OSError, match="no answer within"):
        await call
    return time.monotonic() - started


async def test_a_server_that_hangs_costs_seconds(objects: S3Store, server: S3Server) -> None:
    """Each call fails in its time, and afterwards all is as before."""
    job, done = job_of(PHOTO), await finished(objects)
    spool = await spooled(objects, job, PHOTO)
    folder = await objects.workspace(job.id)
    calls = (
        objects.accept(spool, job),
        objects.load(job.id),
        objects.blob(done, "thumb"),
        objects.fetch(job.id, folder),
        objects.save(done),
        objects.delete(done.id),
        objects.save_state(b"note"),
    )
    server.hang()
    try:
        assert max(await asyncio.gather(*map(time_to_fail, calls))) < 4
    finally:
        server.resume()
    await spool.discard()
    await objects.drop_workspace(folder)
    assert await objects.load(done.id) == done
    await accepted(objects)


async def test_a_server_that_is_not_there_is_told_at_once(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one clear line that names the store."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(
        StoreUnusable, match=r"^the store s3://spill-\w+/p cannot be used: the server cannot be"
    ):
        await S3Store(bucket, "p", 1, DAY).open()
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("storage:9000", "='storage:9000'"),
        ("http://storage:99999", "='http://storage:99999'"),
        ("http://me:a-password@storage", ""),
        ("me:a-password@storage:9000", ""),
    ],
)
async def test_an_endpoint_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, shown: str
) -> None:
    """Before anything is sent to it, and without a password that may stand in it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StoreUnusable, match=f"AWS_ENDPOINT_URL{shown} is no http:// or https:// address"):
        await S3Store("bucket", "p", 1, DAY).open()


async def test_a_bucket_that_is_not_there_is_told(bucket: str) -> None:
    """It is not made: whoever owns the server decides on that."""
    with pytest.raises(StoreUnusable, match=r"cannot be used: there is no such bucket"):
        await S3Store("spill-elsewhere", "p", 1, DAY).open()


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
async def test_wrong_credentials_are_told(
    ceph: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """In S3's own word for it, which is checked by the real server alone."""
    for name, value in (ceph.environment | {variable: "wrong"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnusable, match=r"cannot be used: (SignatureDoesNotMatch|InvalidAccessKeyId)"):
        await S3Store(ceph.new_bucket(), "p", 1, DAY).open()


async def test_a_damaged_secret_is_refused(open_objects: Open, inside: Bucket) -> None:
    """With a cut secret no token could be trusted, so the server does not start."""
    inside.put("secret", b"short")
    with pytest.raises(StoreUnusable, match=r"secret of .* is damaged: it has 5 bytes"):
        await open_objects()
