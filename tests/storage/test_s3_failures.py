"""The store in a bucket of a server that hangs, cannot be reached, or is not configured."""

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from app.job import Job
from app.storage.interface import StoreUnavailable, StoreUnusable
from app.storage.s3.store import S3Store
from tests.service import free_port
from tests.storage.conftest import Open
from tests.storage.jobs import DAY, PHOTO, accepted, finished, job_of, spooled
from tests.storage.servers import S3Server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(open_s3: Open) -> S3Store:
    """An open store in the bucket, empty."""
    opened: S3Store = await open_s3()
    return opened


async def time_to_fail(call: Awaitable[Any]) -> float:
    """Seconds until a call has failed with an OSError."""
    started = time.monotonic()
    with pytest.raises(OSError, match="no answer within"):
        await call
    return time.monotonic() - started


async def test_a_server_that_hangs_costs_seconds(store: S3Store, server: S3Server) -> None:
    """Each call fails within its time limit, and when the server answers again, everything works."""
    job, done = job_of(PHOTO), await finished(store)
    spool = await spooled(store, job, PHOTO)
    folder = await store.workspace(job.id)
    calls = (
        store.accept(spool, job),
        store.load(job.id),
        store.blob(done, "thumb"),
        store.fetch(job, folder),
        store.save(done),
        store.delete(done.id),
        store.save_state(b"note"),
    )
    server.hang()
    try:
        assert max(await asyncio.gather(*map(time_to_fail, calls))) < 4
    finally:
        server.resume()
    await spool.discard()
    await store.drop_workspace(folder)
    assert await store.load(done.id) == done
    await accepted(store)


async def test_a_record_that_cannot_be_read_keeps_back_no_other_job(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever it is, all other unfinished jobs are found before that is reported."""
    jobs = [await accepted(store) for _ in range(3)]
    unreadable, read = "", store._records.read

    async def failing(job_id: str) -> Job | None:
        if job_id == unreadable:
            raise StoreUnavailable("not now")
        return await read(job_id)

    monkeypatch.setattr(store._records, "read", failing)
    for job in jobs:
        unreadable, found = job.id, set()
        feed = store.pending()
        for _ in range(len(jobs) - 1):
            found.add((await anext(feed)).id)
        with pytest.raises(StoreUnusable, match="not now"):
            await anext(feed)
        assert found == {each.id for each in jobs} - {unreadable}


async def test_a_server_that_cannot_be_reached_is_reported_at_once(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that names the store."""
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
async def test_a_malformed_endpoint_is_reported(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, shown: str
) -> None:
    """Before anything is sent to it, and without a password that may be in it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StoreUnusable, match=f"AWS_ENDPOINT_URL{shown} is no http:// or https:// address"):
        await S3Store("bucket", "p", 1, DAY).open()


async def test_a_missing_bucket_is_reported(bucket: str) -> None:
    """It is not created: that is for the owner of the server to decide."""
    with pytest.raises(StoreUnusable, match=r"cannot be used: there is no such bucket"):
        await S3Store("spill-elsewhere", "p", 1, DAY).open()


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
async def test_wrong_credentials_are_reported(
    ceph: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """With the error code of S3. Only the real server checks them."""
    for name, value in (ceph.environment | {variable: "wrong"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnusable, match=r"cannot be used: (SignatureDoesNotMatch|InvalidAccessKeyId)"):
        await S3Store(ceph.new_bucket(), "p", 1, DAY).open()
