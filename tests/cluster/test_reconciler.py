"""The reconciler repairs a queue that differs from the store."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Container
from pathlib import Path

import pytest

from app.backpressure.drain_rate import DrainRate
from app.cluster import reconciler
from app.cluster.jetstream import JOBS, JobStream, job_subject
from app.cluster.job_registry import JobRegistry
from app.cluster.reconciler import Reconciler
from app.cluster.upload_queue import SharedUploadQueue
from app.job import Job, new_id
from app.runtime.metrics import Histograms
from app.storage.interface import StoreUnavailable
from app.storage.local.store import LocalStore
from tests.cluster.conftest import Connect
from tests.cluster.jobs import publish
from tests.storage.jobs import DAY, accepted, finished

pytestmark = pytest.mark.anyio


class _Store(LocalStore):
    """Gives the same unfinished jobs at each round, counts reads of records, and fails some."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 10**9, DAY)
        self.waiting: list[Job] = []
        self.reads: Counter[str] = Counter()
        self.unreadable: set[str] = set()

    async def pending(self, except_for: Container[str] = ()) -> AsyncIterator[Job]:
        for job in self.waiting:
            if job.id in except_for:
                continue
            self.reads[job.id] += 1
            yield job

    async def load(self, job_id: str) -> Job | None:
        self.reads[job_id] += 1
        if job_id in self.unreadable:
            raise StoreUnavailable("not now")
        return await super().load(job_id)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[_Store]:
    """An open store."""
    store = _Store(tmp_path / "data")
    await store.open()
    await store.survey()
    yield store
    await store.close()


async def test_an_ended_job_does_not_stay_in_the_queue(connect: Connect, store: _Store) -> None:
    """A killed server may bring back acknowledged messages, which would hold their places for ever."""
    connection = await connect()
    ended, waiting = await finished(store), await accepted(store)
    for job in (ended, waiting):
        assert await publish(connection, job.id)
    stream = JobStream(connection)
    assert await Reconciler(registry(), store, stream).round()
    assert await stream.job_ids() == [waiting.id]


async def test_a_job_that_is_never_delivered_is_taken_out_to_be_queued_again(
    connect: Connect, store: _Store
) -> None:
    """After a purge, as after a crash, nats-server 2.9 takes waiting messages for acknowledged ones."""
    connection = await connect()
    passed_over, purged = [await accepted(store) for _ in range(2)]
    for job in (passed_over, purged):
        assert await publish(connection, job.id)
    async with connection.request() as js:
        await js.purge_stream(JOBS, subject=job_subject(purged.id))
    stream = JobStream(connection)
    if not await stream.passed_over():
        pytest.skip("this version of nats-server passes over no message")
    await Reconciler(registry(), store, stream).round()
    assert await stream.job_ids() == []
    store.waiting = [passed_over]
    await Reconciler(registry(), store, stream).round()
    assert await stream.job_ids() == [passed_over.id]


async def test_the_record_of_a_waiting_job_is_read_once_a_round(connect: Connect, store: _Store) -> None:
    """It was heard of long ago, is in the store and in the queue, and nothing has to be done about it."""
    connection = await connect()
    job = await accepted(store)
    store.waiting = [job]
    assert await publish(connection, job.id)
    known = registry(heard_of=[job])
    assert await Reconciler(known, store, JobStream(connection)).round()
    assert store.reads[job.id] == 1
    assert known.find(job.id) is not None


async def test_most_jobs_that_are_where_they_should_be_are_not_read(
    connect: Connect, store: _Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ten thousand in the queue, each replica would read as many records each half minute."""
    monkeypatch.setattr(reconciler, "_MAX_READ_AGAIN", 2)
    connection = await connect()
    jobs = [await accepted(store) for _ in range(5)]
    lost = await accepted(store)
    store.waiting = [*jobs, lost]
    for job in jobs:
        assert await publish(connection, job.id)
    known, stream = registry(heard_of=[*jobs, lost]), JobStream(connection)
    assert await Reconciler(known, store, stream).round()
    assert sum(store.reads[job.id] for job in jobs) == 2
    assert store.reads[lost.id] == 1
    assert lost.id in await stream.job_ids()


async def test_a_job_that_cannot_be_read_keeps_no_other_from_being_repaired(
    connect: Connect, store: _Store
) -> None:
    """Lost jobs are queued, ended ones forgotten and withdrawn; the round says that it was not complete."""
    connection = await connect()
    lost, unreadable, heard_of, queued = [await accepted(store) for _ in range(2)] + [
        await finished(store) for _ in range(2)
    ]
    store.waiting, store.unreadable = [lost], {unreadable.id}
    for job in (unreadable, queued):
        assert await publish(connection, job.id)
    known = registry(heard_of=[unreadable, Job(heard_of.id, heard_of.created_at, 10, ())])
    stream = JobStream(connection)
    assert not await Reconciler(known, store, stream).round()
    assert set(await stream.job_ids()) == {lost.id, unreadable.id}
    assert known.find(heard_of.id) is None
    assert known.find(unreadable.id) is not None


async def test_a_round_is_given_up_when_nothing_can_be_read(connect: Connect, store: _Store) -> None:
    """A store that is away is not asked for every job."""
    jobs = [await accepted(store) for _ in range(20)]
    store.unreadable = {job.id for job in jobs}
    known = registry(heard_of=jobs)
    assert not await Reconciler(known, store, JobStream(await connect())).round()
    assert store.reads.total() < 10


class _LongQueue(JobStream):
    """A queue of so many jobs that nobody would want to make them for a test."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs

    async def passed_over(self) -> int:
        return 0

    async def job_ids(self) -> list[str]:
        return [job.id for job in self._jobs]


async def test_a_long_queue_is_gone_through_some_at_a_time(store: _Store) -> None:
    """Requests are answered meanwhile."""
    jobs = [Job(new_id(), 1000.0, 10, ()) for _ in range(2000)]
    checking = asyncio.ensure_future(
        Reconciler(registry(heard_of=jobs), store, _LongQueue(jobs)).withdraw_ended()
    )
    for _ in range(4):
        await asyncio.sleep(0)
        assert not checking.done()
    await checking
    assert not store.reads


def registry(heard_of: list[Job] | None = None) -> JobRegistry:
    """A registry that heard of some jobs when its clock began, long ago."""
    upload_queue = SharedUploadQueue(20, 5, 5, DrainRate(1, 5), max_wait_s=60, receiving_elsewhere=lambda: 0)
    registry = JobRegistry(upload_queue, Histograms(), clock=lambda: 0.0)
    for job in heard_of or []:
        registry.update(job)
    return registry
