"""What a worker's outcome makes of a job: done, done in part, to be tried again, or failed."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine.job_plan import Batch, JobDefaults
from app.engine.outcomes import OutcomeRecorder
from app.job import Job, JobStatus, new_id
from app.storage.local.store import LocalStore
from tests import samples
from tests.clocks import HandClock
from workers.messages import Done, Failed, Made, Source
from workers.variants import parse_variants

pytestmark = pytest.mark.anyio

VARIANTS = parse_variants("large=16,small=8")
ORDERS = JobDefaults(VARIANTS, 10**6, 30.0, 2**30, truncated=False, blurhash=False)
PHOTO = samples.jpeg(16, 12)
DIED = Failed("x", "worker-died", "It died.")


@pytest.fixture
def anyio_backend() -> str:
    """Real time: files are written in threads."""
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """An open store."""
    store = LocalStore(tmp_path, 2**30, 3600, HandClock(5000.0))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def recorder(store: LocalStore) -> OutcomeRecorder:
    """Dates every record 5000 s after the epoch."""
    return OutcomeRecorder(store, ORDERS, HandClock(5000.0))


async def begun(store: LocalStore) -> Job:
    """An accepted job that a worker has in hand."""
    job = Job(new_id(), 1000.0, len(PHOTO), wanted=())
    spool = await store.spool(job.id)
    await spool.write(PHOTO)
    await store.accept(spool, job)
    return replace(job, status=JobStatus.PROCESSING)


async def done(store: LocalStore, job: Job, *names: str) -> tuple[Done, Path]:
    """What a worker says, and its folder, when it has made these variants."""
    folder = await store.workspace(job.id)
    for name in names:
        (folder / f"{name}.jpg").write_bytes(PHOTO)
    made = tuple(Made(name, f"{name}.jpg", "jpeg", 16, 12) for name in names)
    return Done(job.id, Source("jpeg", 16, 12), made), folder


async def half_made(store: LocalStore, recorder: OutcomeRecorder) -> Job:
    """A job that is done with its small variant; the large one is put off."""
    job = await begun(store)
    outcome, folder = await done(store, job, "small")
    return await recorder.settle(job, Batch(VARIANTS[1:], ("large",)), outcome, folder)


async def test_a_job_that_is_made_whole_is_final(store: LocalStore, recorder: OutcomeRecorder) -> None:
    """Its record is there before anybody is told, and its source is gone."""
    job = await begun(store)
    settled = await recorder.settle(job, Batch(VARIANTS), *await done(store, job, "small", "large"))
    assert (settled.status, settled.finished_at, list(settled.made)) == (
        JobStatus.DONE,
        5000.0,
        ["large", "small"],
    )
    assert settled.is_final
    assert await store.load(job.id) == settled
    assert not store.folders.source(job.id).exists()


async def test_the_first_part_makes_it_done_and_the_second_final(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """What is put off is on record, and the source kept for it."""
    job = await half_made(store, recorder)
    assert (job.status, list(job.made), job.deferred) == (JobStatus.DONE, ["small"], ("large",))
    assert not job.is_final
    assert store.folders.source(job.id).exists()
    assert await store.load(job.id) == job
    settled = await recorder.settle(job, Batch(VARIANTS[:1]), *await done(store, job, "large"))
    assert (list(settled.made), settled.deferred, settled.is_final) == (["large", "small"], (), True)
    assert not store.folders.source(job.id).exists()


async def test_a_death_is_on_record_and_a_second_is_the_end(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """Tried once more, even after a restart, and not for ever."""
    job = await recorder.settle(await begun(store), Batch(VARIANTS), DIED, None)
    assert (job.status, job.deaths) == (JobStatus.QUEUED, 1)
    known = await store.load(job.id)
    assert known == job
    settled = await recorder.settle(known, Batch(VARIANTS), DIED, None)
    assert (settled.status, settled.problem) == (JobStatus.FAILED, ("worker-died", "It died."))
    assert settled.is_final


async def test_a_second_part_that_dies_twice_is_given_up(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """The job stays done with what was made of it; nothing is promised any more, and it says why."""
    job = await half_made(store, recorder)
    again = await recorder.settle(job, Batch(VARIANTS[:1]), DIED, None)
    assert again == replace(job, deaths=1)
    settled = await recorder.settle(again, Batch(VARIANTS[:1]), DIED, None)
    assert (settled.status, list(settled.made), settled.deferred) == (JobStatus.DONE, ["small"], ())
    assert settled.problem == ("worker-died", "It died.")
    assert settled.is_final


@pytest.mark.parametrize("reason", ["undecodable", "too-slow", "too-much-memory", "too-many-pixels"])
async def test_what_would_only_happen_again_is_not_tried_again(
    store: LocalStore, recorder: OutcomeRecorder, reason: str
) -> None:
    """A first part fails the job, a second one only itself."""
    failure = Failed("x", reason, "No.")
    assert (
        await recorder.settle(await begun(store), Batch(VARIANTS), failure, None)
    ).status == JobStatus.FAILED
    settled = await recorder.settle(await half_made(store, recorder), Batch(VARIANTS[:1]), failure, None)
    assert (settled.status, settled.problem, settled.is_final) == (JobStatus.DONE, (reason, "No."), True)


async def test_another_answer_than_was_asked_for_is_not_believed(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """All variants where one was asked for, or none of the right name: the worker is not trusted again."""
    for part, names in ((Batch(VARIANTS[1:], ("large",)), ["small", "large"]), (Batch(VARIANTS), ["small"])):
        job = await begun(store)
        settled = await recorder.settle(job, part, *await done(store, job, *names))
        assert (settled.status, settled.made) == (JobStatus.FAILED, {})
        assert settled.problem is not None
        assert settled.problem[0] == "worker-died"
