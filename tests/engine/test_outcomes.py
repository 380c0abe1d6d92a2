"""What a worker's outcome makes of a job: done, done with variants deferred, tried again, or failed."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine.job_plan import Batch, JobDefaults
from app.engine.outcomes import Cancelled, Outcome, OutcomeRecorder, Postponed, outcome_of
from app.job import Job, JobStatus, new_id
from app.storage.interface import StoreFull
from app.storage.local.store import LocalStore
from app.webhooks.outbox import Outbox
from tests import samples
from tests.clocks import HandClock
from workers.messages import Done, Failed, Made, Source
from workers.variants import parse_variants

pytestmark = pytest.mark.anyio

VARIANTS = parse_variants("large=16,small=8")
JOB_DEFAULTS = JobDefaults(VARIANTS, 10**6, 30.0, 2**30, truncated=False, blurhash=False)
PHOTO = samples.jpeg(16, 12)
DIED = Failed("x", "worker-died", "It died.")


@pytest.fixture
def anyio_backend() -> str:
    """Real time: files are written in threads."""
    return "asyncio"


@pytest.fixture
def clock() -> HandClock:
    """5000 s after the epoch."""
    return HandClock(5000.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """An open store."""
    store = LocalStore(tmp_path, 2**30, 3600, HandClock(5000.0))
    await store.open()
    await store.survey()
    yield store
    await store.close()


@pytest.fixture
def recorder(store: LocalStore, clock: HandClock) -> OutcomeRecorder:
    """Dates every record by `clock`."""
    return OutcomeRecorder(store, JOB_DEFAULTS, Outbox(), clock)


async def started(store: LocalStore) -> Job:
    """An accepted job that a worker has begun."""
    job = Job(new_id(), 1000.0, len(PHOTO), wanted=())
    spool = await store.spool(job.id)
    await spool.write(PHOTO)
    await store.accept(spool, job)
    return replace(job, status=JobStatus.PROCESSING)


async def done(store: LocalStore, job: Job, *names: str) -> tuple[Done, Path]:
    """A worker's answer, and its folder, when it has made these variants."""
    folder = await store.workspace(job.id)
    for name in names:
        (folder / f"{name}.jpg").write_bytes(PHOTO)
    made = tuple(Made(name, f"{name}.jpg", "jpeg", 16, 12) for name in names)
    return Done(job.id, Source("jpeg", 16, 12), made), folder


async def stood_in(store: LocalStore, job: Job, *names: str) -> tuple[Done, Path]:
    """As `done`, made of the thumbnail."""
    answer, folder = await done(store, job, *names)
    return replace(answer, made=tuple(replace(each, provisional=True) for each in answer.made)), folder


async def partly_made(store: LocalStore, recorder: OutcomeRecorder) -> Job:
    """A job that is done with its small variant; the large one is deferred."""
    job = await started(store)
    outcome, folder = await done(store, job, "small")
    return await recorder.settle(job, Batch(VARIANTS[1:], ("large",)), outcome, folder)


async def test_a_job_with_all_variants_is_final(store: LocalStore, recorder: OutcomeRecorder) -> None:
    """Its record is there before anybody is told, and its source is gone."""
    job = await started(store)
    settled = await recorder.settle(job, Batch(VARIANTS), *await done(store, job, "small", "large"))
    assert (settled.status, settled.finished_at, list(settled.made)) == (
        JobStatus.DONE,
        5000.0,
        ["large", "small"],
    )
    assert settled.is_final
    assert settled.completed_at == 5000.0
    assert await store.load(job.id) == settled
    assert not store.folders.source(job.id).exists()


async def test_the_first_batch_makes_a_job_done_and_the_second_final(
    store: LocalStore, recorder: OutcomeRecorder, clock: HandClock
) -> None:
    """Deferred variants are on record, and the source is kept for them. The first one's time stays."""
    job = await partly_made(store, recorder)
    assert (job.finished_at, job.completed_at) == (5000.0, None)
    clock.advance(60)
    assert (job.status, list(job.made), job.deferred) == (JobStatus.DONE, ["small"], ("large",))
    assert not job.is_final
    assert store.folders.source(job.id).exists()
    assert await store.load(job.id) == job
    settled = await recorder.settle(job, Batch(VARIANTS[:1]), *await done(store, job, "large"))
    assert (list(settled.made), settled.deferred, settled.is_final) == (["large", "small"], (), True)
    assert (settled.finished_at, settled.completed_at) == (5000.0, 5060.0)
    assert store.expires_at(settled) == 5060.0 + store.retention
    assert not store.folders.source(job.id).exists()


async def test_what_a_thumbnail_stands_in_for_is_deferred_with_the_others(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """Then the true one replaces it; the job is complete only now."""
    job, batch = await started(store), Batch(VARIANTS[1:], ("large",), stand_in=True)
    job = await recorder.settle(job, batch, *await stood_in(store, job, "small"))
    assert (job.status, list(job.made), job.deferred) == (JobStatus.DONE, ["small"], ("large", "small"))
    assert (job.is_provisional, job.completed_at) == (True, None)
    settled = await recorder.settle(job, Batch(VARIANTS), *await done(store, job, "large", "small"))
    assert (list(settled.made), settled.deferred) == (["large", "small"], ())
    assert (settled.is_provisional, settled.is_final) == (False, True)


async def test_a_provisional_variant_without_leave_is_rejected(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """Else a worker that an image has taken over could have its job done again for ever."""
    job = await started(store)
    settled = await recorder.settle(job, Batch(VARIANTS), *await stood_in(store, job, "small", "large"))
    assert (settled.status, settled.made) == (JobStatus.FAILED, {})


async def test_a_job_is_tried_again_after_one_death_and_failed_after_two(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """The first death is on record, so a restart does not bring it a third try."""
    job = await recorder.settle(await started(store), Batch(VARIANTS), DIED, None)
    assert (job.status, job.deaths) == (JobStatus.QUEUED, 1)
    known = await store.load(job.id)
    assert known == job
    settled = await recorder.settle(known, Batch(VARIANTS), DIED, None)
    assert (settled.status, settled.problem) == (JobStatus.FAILED, ("worker-died", "It died."))
    assert settled.is_final


async def test_deferred_variants_are_given_up_after_two_deaths(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """The job stays done with the variants that it has, nothing is deferred any more, and it says why."""
    job = await partly_made(store, recorder)
    again = await recorder.settle(job, Batch(VARIANTS[:1]), DIED, None)
    assert again == replace(job, deaths=1)
    settled = await recorder.settle(again, Batch(VARIANTS[:1]), DIED, None)
    assert (settled.status, list(settled.made), settled.deferred) == (JobStatus.DONE, ["small"], ())
    assert settled.problem == ("worker-died", "It died.")
    assert settled.is_final


@pytest.mark.parametrize("reason", ["undecodable", "too-slow", "too-much-memory", "too-many-pixels"])
async def test_a_failure_that_would_only_repeat_is_final(
    store: LocalStore, recorder: OutcomeRecorder, reason: str
) -> None:
    """It fails the job; when it meets deferred variants, these are given up and the job stays done."""
    failure = Failed("x", reason, "No.")
    assert (
        await recorder.settle(await started(store), Batch(VARIANTS), failure, None)
    ).status == JobStatus.FAILED
    settled = await recorder.settle(await partly_made(store, recorder), Batch(VARIANTS[:1]), failure, None)
    assert (settled.status, settled.problem, settled.is_final) == (JobStatus.DONE, (reason, "No."), True)


async def test_an_answer_with_other_variants_than_asked_for_is_rejected(
    store: LocalStore, recorder: OutcomeRecorder
) -> None:
    """With more of them, or with fewer; the job is not tried again, because the worker may be taken over."""
    for batch, names in ((Batch(VARIANTS[1:], ("large",)), ["small", "large"]), (Batch(VARIANTS), ["small"])):
        job = await started(store)
        settled = await recorder.settle(job, batch, *await done(store, job, *names))
        assert (settled.status, settled.made) == (JobStatus.FAILED, {})
        assert settled.problem is not None
        assert settled.problem[0] == "worker-died"


async def test_an_unexpected_exception_counts_as_a_death(
    store: LocalStore, recorder: OutcomeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of which this program cannot record the outcome is tried once more, and not for ever."""

    async def take_variants(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(store, "take_variants", take_variants)
    job = await started(store)
    for deaths, status in ((1, JobStatus.QUEUED), (2, JobStatus.FAILED)):
        job = await recorder.settle(job, Batch(VARIANTS), *await done(store, job, "small", "large"))
        assert (job.status, job.deaths) == (status, deaths)
    assert job.problem == ("worker-died", "What was made of it could not be kept.")


async def test_a_failure_of_the_store_is_no_death(
    store: LocalStore, recorder: OutcomeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller tries it again; the record is what it was."""

    async def take_variants(*_: object) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(store, "take_variants", take_variants)
    job = await started(store)
    with pytest.raises(StoreFull):
        await recorder.settle(job, Batch(VARIANTS), *await done(store, job, "small", "large"))
    assert await store.load(job.id) == replace(job, status=JobStatus.QUEUED)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (DIED, DIED),
        (Failed("x", "undecodable", "No."), Failed("x", "undecodable", "No.")),
        (Failed("x", "cancelled", ""), Cancelled()),
        (Failed("x", "no-space", "The disk is full."), Postponed("The disk is full.")),
        (
            Failed("x", "no-process", "No process."),
            Postponed("No process.", "there was no process for the job"),
        ),
    ],
)
async def test_an_answer_may_tell_of_something_else_than_the_image(answer: Failed, outcome: Outcome) -> None:
    """That the job was cancelled or that the disk is full is no failure of the job."""
    assert outcome_of(answer) == outcome
