"""What every store has to do after a restart or a crash, in a directory or in a bucket."""

import time
from typing import Any

import pytest

from app.job import JobStatus, new_id
from app.storage.interface import StoreUnusable
from tests.storage.conftest import Open
from tests.storage.jobs import (
    PHOTO,
    accepted,
    fetched,
    finished,
    job_of,
    pending,
    spooled,
    used,
)
from tests.storage.outside import StoreFiles, names_of

pytestmark = pytest.mark.anyio


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


async def test_a_job_deleted_meanwhile_does_not_stop_the_others(open_store: Open) -> None:
    """A client may delete its image while a start is still reading the unfinished jobs."""
    before = await open_store()
    jobs = {job.id: job for job in [await accepted(before) for _ in range(3)]}
    await before.close()
    after = await open_store()
    feed = after.pending()
    first = await anext(feed)
    assert first == jobs.pop(first.id)
    deleted = jobs.popitem()[1]
    await after.delete(deleted.id)
    assert [job async for job in feed] == list(jobs.values())


async def test_a_job_that_ended_as_the_server_died_does_not_come_back(
    open_store: Open, files: StoreFiles
) -> None:
    """After a crash between the final record and the removal of the source, a start removes the source."""
    before = await open_store()
    job = await accepted(before)
    job.status, job.finished_at = JobStatus.FAILED, time.time()
    files.put(files.record(job), job.to_record())
    await before.close()
    after = await open_store()
    assert used(after) == len(PHOTO)
    assert await pending(after) == []
    assert used(after) == 0
    assert await after.load(job.id) == job
    assert files.names() == names_of(files, job)


DAMAGES = [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"version":2}', b'{"version":1,"id":7}']


@pytest.mark.parametrize("record", DAMAGES)
async def test_a_job_with_a_damaged_record_is_made_whole(
    open_store: Open, files: StoreFiles, record: bytes
) -> None:
    """As long as its upload is there, every variant is made rather than the job lost."""
    before = await open_store()
    job = await accepted(before)
    files.put(files.record(job), record)
    await before.close()
    after = await open_store()
    assert await after.load(job.id) is None
    (again,) = await pending(after)
    assert (again.id, again.size, again.wanted) == (job.id, len(PHOTO), ())
    assert abs(again.created_at - time.time()) < 60
    assert await after.load(job.id) == again


async def test_another_job_s_record_is_no_record(store: Any, files: StoreFiles) -> None:
    """A record that names another id is damaged too."""
    job, other = await accepted(store), await accepted(store)
    files.put(files.record(job), other.to_record())
    assert await store.load(job.id) is None


async def test_a_damaged_secret_is_refused(open_store: Open, files: StoreFiles) -> None:
    """With a cut secret no delete token could be trusted, so the service does not start."""
    await (await open_store()).close()
    files.put("secret", b"short")
    with pytest.raises(StoreUnusable, match=r"secret .* is damaged: it has 5 bytes"):
        await open_store()


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (
            b"2\n",
            r"has layout 2, which a newer version of Spillway wrote; version [0-9.]+ reads layouts up to 1",
        ),
        (b"new", "the layout of .* is damaged"),
    ],
)
async def test_a_store_of_a_newer_version_is_left_alone(
    open_store: Open, files: StoreFiles, layout: bytes, said: str
) -> None:
    """Neither a start nor `spillway check` changes anything in it."""
    store = await open_store()
    await accepted(store)
    await store.close()
    before = files.names()
    files.put("layout", layout)
    for attempt in (open_store, store.check):
        with pytest.raises(StoreUnusable, match=said):
            await attempt()
    assert files.names() == before


async def test_a_store_without_a_layout_gets_one(open_store: Open, files: StoreFiles) -> None:
    """Versions before there were layouts wrote none."""
    store = await open_store()
    await store.close()
    files.remove("layout")
    await (await open_store()).close()
    assert files.get("layout") == b"1\n"


async def test_delete_tokens_outlive_a_restart_and_differ(open_store: Open) -> None:
    """They are derived from the store's secret: the same after a restart, another for each job."""
    store = await open_store()
    job_id = new_id()
    token = store.delete_token(job_id)
    assert len(token) == 64
    assert token != store.delete_token(new_id())
    await store.close()
    assert (await open_store()).delete_token(job_id) == token


async def test_the_saved_state_is_read_once(open_store: Open) -> None:
    """By the next process, as it was saved last."""
    store = await open_store()
    assert await store.load_state() is None
    await store.save_state(b"first")
    await store.save_state(b"second")
    await store.close()
    store = await open_store()
    assert await store.load_state() == b"second"
    assert await store.load_state() is None
