"""Jobs of an Idempotency-Key, in every store: their ids, and what happens when an id is used again."""

import asyncio
import hashlib
from typing import Any

import pytest

from app.job import is_id
from app.storage.interface import JobExists
from tests import samples
from tests.clocks import HandClock
from tests.storage.conftest import Open
from tests.storage.jobs import DAY, PHOTO, accepted, fetched, finished, job_of, pending, spooled, used

pytestmark = pytest.mark.anyio


async def test_the_id_depends_on_client_key_and_store(open_store: Open) -> None:
    """The same after a restart; another for each client and key, also if both together read the same."""
    store = await open_store()
    ids = {
        store.id_of_key(client, key) for client, key in (("a", "bc"), ("ab", "c"), ("b", "bc"), ("a", "b"))
    }
    assert len(ids) == 4
    assert all(map(is_id, ids))
    await store.close()
    assert (await open_store()).id_of_key("a", "bc") in ids


async def test_what_tells_a_repeat_is_kept_with_the_record(open_store: Open) -> None:
    """The digest of the upload, the variants asked for and the reference survive a restart."""
    store = await open_store()
    keyed = job_of(PHOTO)
    keyed.asked, keyed.reference = ("thumb",), "IMG 1"
    await accepted(store, job=keyed)
    plain = await accepted(store, samples.jpeg(2000, 1500, noise=True))  # more than the spool gathers
    await store.close()
    after = {job.id: job for job in await pending(await open_store())}
    assert after[keyed.id].digest == hashlib.sha256(PHOTO).hexdigest()
    assert (after[keyed.id].asked, after[keyed.id].reference) == (("thumb",), "IMG 1")
    assert (after[plain.id].asked, after[plain.id].digest) == (None, plain.digest)


async def test_a_second_job_of_an_id_is_not_accepted(store: Any) -> None:
    """Whether the first waits or is done, it stays as it was, and nothing is counted twice."""
    for first in (await accepted(store), await finished(store)):
        before = used(store)
        job = job_of(PHOTO, created_at=2000.0)
        job.id = first.id
        spool = await spooled(store, job, PHOTO)
        with pytest.raises(JobExists):
            await store.accept(spool, job)
        await spool.discard()
        assert await store.load(first.id) == first
        assert used(store) == before


async def test_of_two_at_once_one_is_accepted(store: Any) -> None:
    """Never both and never neither, and the upload is that of the accepted one."""
    jobs = [job_of(PHOTO, created_at=1000.0 + n) for n in range(2)]
    jobs[1].id = jobs[0].id
    spools = [await spooled(store, job, PHOTO) for job in jobs]
    spools[1].folder = spools[1].folder.with_name("second")
    accepting = (store.accept(spool, job) for spool, job in zip(spools, jobs, strict=True))
    results = await asyncio.gather(*accepting, return_exceptions=True)
    for spool in spools:
        await spool.discard()
    assert [type(result) for result in results if result is not None] == [JobExists]
    accepted_job = jobs[[type(each) for each in results].index(type(None))]
    assert await store.load(jobs[0].id) == accepted_job
    assert await fetched(store, accepted_job) == PHOTO
    assert used(store) == len(PHOTO)


@pytest.mark.parametrize("kind", ["local"], indirect=True)
async def test_the_sweep_spares_a_new_job_of_the_same_id(open_store: Open, clock: HandClock) -> None:
    """The old one was over when the sweep looked, and a new upload has replaced it since."""
    store = await open_store()
    old = await finished(store)
    clock.advance(DAY + 1)
    assert await store.load(old.id) is None
    new = job_of(PHOTO)
    new.id = old.id
    await accepted(store, job=new)
    assert await store.write_in_thread(store.folders.remove_if_over, new.id) == 0
    assert await store.load(new.id) == new
    assert used(store) == len(PHOTO)
