"""A disk that fails at fsync: whatever was to be made durable is as it was before."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.job import JobStatus
from app.storage.local.store import LocalStore
from tests.storage.jobs import DAY, PHOTO, accepted, finished, job_of, made, spooled, used

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """A store works in threads, so its loop has to wait for them."""
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """An open store, empty."""
    opened = LocalStore(tmp_path / "data", 10**9, DAY)
    await opened.open()
    await opened.survey()
    yield opened
    await opened.close()


@contextmanager
def failing(after: int) -> Iterator[list[int]]:
    """After so many calls, every fsync fails as on a dying disk; the descriptors of those that failed."""
    fsync, failed, done = os.fsync, [], [0]

    def fails(descriptor: Any) -> None:
        done[0] += 1
        if done[0] > after:
            failed.append(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    os.fsync = fails
    try:
        yield failed
    finally:
        os.fsync = fsync


@pytest.mark.parametrize("after", range(5))
async def test_an_upload_is_not_accepted_by_half(store: LocalStore, after: int) -> None:
    """If upload, record, folder, shard or name cannot be made durable, there is no job at all."""
    job = job_of(PHOTO)
    spool = await spooled(store, job, PHOTO)
    with failing(after) as failed, pytest.raises(OSError, match="Input/output"):
        await store.accept(spool, job)
    await spool.discard()
    assert len(failed) == 1
    assert await store.load(job.id) is None
    assert not [path for path in store.directory.root.rglob("*") if path.name in ("source", "job.json")]
    assert used(store) == 0
    await accepted(store, job=job)
    assert await store.load(job.id) == job


async def test_an_upload_needs_five_calls_of_fsync(store: LocalStore) -> None:
    """And no more; the next one in the same shard needs four, because the shard is durable by then."""
    job = job_of(PHOTO)
    with failing(5):
        await accepted(store, job=job)
    other = job_of(PHOTO)
    other.id = job.id[:2] + other.id[2:]
    with failing(4):
        await accepted(store, job=other)


async def test_a_job_is_not_deleted_by_half(store: LocalStore) -> None:
    """If the deletion cannot be made durable, the job is there as before and can be deleted later."""
    job = await finished(store)
    before = used(store)
    with failing(0), pytest.raises(OSError, match="Input/output"):
        await store.delete(job.id)
    assert await store.load(job.id) == job
    assert used(store) == before
    await store.delete(job.id)
    assert (await store.load(job.id), used(store)) == (None, 0)


async def test_an_outcome_that_is_not_durable_is_no_outcome(store: LocalStore) -> None:
    """The upload stays, so the job can be tried again."""
    job = await accepted(store)
    job.status, job.finished_at = JobStatus.FAILED, time.time()
    for after in (0, 1):
        with failing(after), pytest.raises(OSError, match="Input/output"):
            await store.save(job)
        assert store.folders.source(job.id).exists()
    await store.save(job)
    assert not store.folders.source(job.id).exists()


@pytest.mark.parametrize("after", [0, 1])
async def test_variants_that_are_not_durable_are_counted_once(store: LocalStore, after: int) -> None:
    """The second attempt replaces files of the first, which failed before or after they were moved."""
    job = await accepted(store)
    with failing(after), pytest.raises(OSError, match="Input/output"):
        await made(store, job, thumb=PHOTO)
    await made(store, job, thumb=PHOTO)
    await store.sweep()
    assert used(store) == 2 * len(PHOTO)
    await store.delete(job.id)
    assert used(store) == 0


async def test_bytes_are_counted_though_many_come_and_go_at_once(store: LocalStore) -> None:
    """Twenty jobs are accepted, twenty finished and twenty deleted while the store counts its files."""
    done = [await finished(store) for _ in range(20)]
    waiting = [await accepted(store) for _ in range(20)]
    for job in waiting:
        job.status, job.finished_at = JobStatus.FAILED, time.time()
    store._space.recount_wanted = True
    await asyncio.gather(
        *(accepted(store) for _ in range(20)),
        *(store.save(job) for job in waiting),
        *(store.delete(job.id) for job in done),
    )
    await store.sweep()
    assert used(store) == 20 * len(PHOTO)
