"""What every store keeps to, in a directory or in a bucket of either server."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.job import JobStatus, new_id
from app.storage.interface import JobGone, StoreFull, VariantRejected
from tests import samples
from tests.clocks import HandClock
from tests.storage.conftest import Open
from tests.storage.jobs import (
    DAY,
    PHOTO,
    accepted,
    claim,
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

pytestmark = pytest.mark.anyio


# --- accepting ------------------------------------------------------------------------------------------


async def test_an_accepted_upload_is_all_there(store: Any) -> None:
    """After `accept`, and not before, there are bytes and record, whatever pieces they came in."""
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
async def test_a_discarded_upload_leaves_nothing(store: Any, size: int) -> None:
    """Whether nothing, little or much had come in."""
    job = job_of(PHOTO)
    spool = await store.spool(job.id)
    if size:
        await spool.write(bytes(size))
    await spool.discard()
    await spool.discard()
    assert await store.load(job.id) is None
    assert await pending(store) == []
    assert used(store) == 0


async def test_a_job_that_is_over_makes_way_for_the_next_of_its_id(store: Any, clock: HandClock) -> None:
    """Even before it is swept, for nobody can ask for it any more."""
    job = await finished(store, clock.now)
    clock.advance(DAY + 1)
    again = await accepted(store, job=replace(job, status=JobStatus.QUEUED, finished_at=None, made={}))
    assert await store.load(job.id) == again
    assert await store.blob(job, "thumb") is None
    assert await fetched(store, again) == PHOTO
    assert used(store) == len(PHOTO)


# --- after a restart ------------------------------------------------------------------------------------


async def test_unfinished_jobs_come_back_whole(open_store: Open) -> None:
    """Accepted, or done with variants deferred: each is handed out once, and its upload is there."""
    before = await open_store()
    waiting, deferring, through = await accepted(before), await accepted(before), await finished(before)
    await spooled(before, job_of(PHOTO), bytes(1_000_000))  # never accepted
    deferring.status, deferring.finished_at, deferring.deferred = JobStatus.DONE, time.time(), ("large",)
    await before.save(deferring)
    await before.close()
    after = await open_store()
    back = {job.id: job for job in await pending(after)}
    assert back == {waiting.id: waiting, deferring.id: deferring}
    assert through.id not in back
    assert [await fetched(after, job) for job in back.values()] == [PHOTO, PHOTO]


async def test_delete_tokens_outlive_a_restart_and_differ(open_store: Open) -> None:
    """They are an HMAC under the store's secret: the same after a restart, another for each job."""
    store = await open_store()
    job_id = new_id()
    token = store.delete_token(job_id)
    assert len(token) == 64
    assert token != store.delete_token(new_id())
    await store.close()
    assert (await open_store()).delete_token(job_id) == token


async def test_a_note_for_the_next_process_is_read_once(open_store: Open) -> None:
    """The last one that was left."""
    store = await open_store()
    assert await store.load_state() is None
    await store.save_state(b"first")
    await store.save_state(b"second")
    await store.close()
    store = await open_store()
    assert await store.load_state() == b"second"
    assert await store.load_state() is None


# --- what a worker made ---------------------------------------------------------------------------------


async def test_adopted_files_are_served_as_they_were_hashed(store: Any) -> None:
    """A variant's size and digest are those of the file, and its bytes can be read from any offset."""
    job = await accepted(store)
    data = PHOTO + os.urandom(1_000_000)
    job.made.update(await made(store, job, thumb=data))
    variant = job.made["thumb"]
    assert (variant.file, variant.size, variant.format) == ("thumb.jpg", len(data), "jpeg")
    assert len(variant.digest) == 64
    assert await read(store, job, "thumb") == data
    blob = await store.blob(job, "thumb", (10, 14))
    assert await blob.read(10, 5) == data[10:15]
    blob.close()
    blob = await store.blob(job, "thumb")
    assert await blob.read(700_000, 5) == data[700_000:700_005]
    assert await span(blob, 0, 300_000) == data[:300_000]
    assert await blob.read(len(data), 5) == b""
    blob.close()


def _as_symlink(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def _as_hardlink(path: Path, outside: Path) -> None:
    path.hardlink_to(outside)


def _as_directory(path: Path, outside: Path) -> None:
    path.mkdir()


def _as_pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def _as_other_format(path: Path, outside: Path) -> None:
    path.write_bytes(samples.png())


def _as_page(path: Path, outside: Path) -> None:
    path.write_bytes(b"<!doctype html><script>alert(1)</script>")


def _as_nothing(path: Path, outside: Path) -> None:
    path.write_bytes(b"")


def _missing(path: Path, outside: Path) -> None:
    pass


FORGERIES = [
    _as_symlink,
    _as_hardlink,
    _as_directory,
    _as_pipe,
    _as_other_format,
    _as_page,
    _as_nothing,
    _missing,
]


@pytest.mark.parametrize("forge", FORGERIES)
async def test_what_a_hostile_worker_leaves_is_not_adopted(
    store: Any, tmp_path: Path, forge: Callable[[Path, Path], None]
) -> None:
    """Nothing but plain files with their format's first bytes is taken, and of such a job nothing at all."""
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(PHOTO)
    job = await accepted(store)
    folder = await store.workspace(job.id)
    (folder / "good.jpg").write_bytes(PHOTO)
    forge(folder / "bad.jpg", outside)
    with pytest.raises(VariantRejected):
        await store.take_variants(job, folder, [claim("good"), claim("bad")])
    await store.drop_workspace(folder)
    assert used(store) == len(PHOTO)
    assert not folder.exists()
    assert outside.read_bytes() == PHOTO


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
    """Neither by a worker that was still at it, nor by one that ends for the second time."""
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


async def test_what_is_promised_does_not_expire(store: Any, clock: HandClock) -> None:
    """A job that still waits, or has variants deferred, lives as long as that takes."""
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


# --- space ----------------------------------------------------------------------------------------------


async def test_promised_and_kept_bytes_share_one_limit(open_store: Open) -> None:
    """An upload counts from its admission on, first as a promise and then as what it is."""
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
async def test_only_ids_reach_the_store(store: Any, job_id: str) -> None:
    """What is no id names nothing."""
    assert await store.load(job_id) is None
    with pytest.raises(ValueError, match="not an id"):
        await store.delete(job_id)
