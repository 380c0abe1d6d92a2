"""What a worker is told to make of a job: all variants, the most needed one, or the deferred ones."""

from dataclasses import replace
from pathlib import Path

from app.backpressure.brownout import Brownout, DeferredQueue
from app.engine.job_plan import Batch, JobDefaults
from app.job import Job, JobStatus, MadeVariant, new_id
from workers.variants import parse_variants, read_specs

VARIANTS = parse_variants("large=1600,thumb=96,small=320@webp:70")
JOB_DEFAULTS = JobDefaults(VARIANTS, 10**6, 30.0, 2**30, truncated=False, blurhash=True)
LARGE, THUMB, SMALL = VARIANTS


def brownout_of(waiting: int) -> Brownout:
    """A brownout that has seen `waiting` jobs in a queue for ten."""
    brownout = Brownout(0.75, 0.25, DeferredQueue(5))
    brownout.observe(waiting, 10)
    return brownout


def job_of(*wanted: str) -> Job:
    """A new job that asks for these variants, or for all when there are none."""
    return Job(new_id(), 1000.0, 10, wanted)


def test_without_pressure_all_variants_are_made_at_once() -> None:
    """Those that the job asks for, or those of the settings."""
    assert JOB_DEFAULTS.batch(job_of(), brownout_of(0)) == Batch(VARIANTS)
    assert JOB_DEFAULTS.batch(job_of("large=1600", "thumb=96"), brownout_of(0)) == Batch((LARGE, THUMB))


def test_in_a_brownout_the_smallest_variant_asked_for_comes_first() -> None:
    """That of the fewest pixels, wherever it stands in the list; a single variant is never deferred."""
    assert JOB_DEFAULTS.batch(job_of(), brownout_of(10)) == Batch((THUMB,), ("large", "small"))
    batch = JOB_DEFAULTS.batch(job_of(LARGE.spec, SMALL.spec), brownout_of(10))
    assert batch == Batch((SMALL,), ("large",))
    assert JOB_DEFAULTS.batch(job_of("large=1600"), brownout_of(10)) == Batch((LARGE,))
    shapes = job_of("wide=800x200/cover", "tall=x300", "box=400x300", "width=350x")
    assert JOB_DEFAULTS.batch(shapes, brownout_of(10)).now == read_specs(["tall=x300"])


def test_a_thumbnail_may_stand_in_for_the_variant_that_others_follow() -> None:
    """Not for a single one, which may be the answer itself, nor of a job on which a worker has died."""
    defaults = replace(JOB_DEFAULTS, stand_ins=True)
    batch = defaults.batch(job_of(), brownout_of(10))
    assert batch == Batch((THUMB,), ("large", "small"), stand_in=True)
    assert defaults.task(job_of(), batch, Path("/s"), Path("/f")).stand_in
    for job in (job_of("thumb=96"), replace(job_of(), deaths=1), replace(job_of(), deferred=("thumb",))):
        assert not defaults.batch(job, brownout_of(10)).stand_in
    assert not defaults.batch(job_of(), brownout_of(0)).stand_in


def test_a_job_of_an_earlier_version_keeps_its_variants() -> None:
    """A record holds them as they were spelt then, under names that are reserved by now."""
    job = job_of("original=800", "variants=96@webp:70")
    assert [each.name for each in JOB_DEFAULTS.batch(job, brownout_of(0)).now] == ["original", "variants"]


def test_deferred_variants_are_made_in_a_brownout_or_not() -> None:
    """As the job asked for them when it was accepted."""
    job = replace(job_of("big=1200", "thumb=96"), status=JobStatus.DONE, deferred=("big",))
    for waiting in (0, 10):
        assert JOB_DEFAULTS.batch(job, brownout_of(waiting)) == Batch(parse_variants("big=1200"))


def test_the_task_names_the_batch_and_asks_once_for_a_blurhash() -> None:
    """The batch of deferred variants makes no second one, unless the first was of the thumbnail."""
    job = job_of()
    task = JOB_DEFAULTS.task(job, Batch((THUMB,)), Path("/s"), Path("/f"))
    assert (task.variants, task.source, task.folder, task.blurhash) == (("thumb=96",), "/s", "/f", True)
    assert task.background == "white"
    assert not JOB_DEFAULTS.task(
        replace(job, blurhash="LEHV6n"), Batch((LARGE,)), Path("/s"), Path("/f")
    ).blurhash
    stood_in = MadeVariant("thumb.provisional.jpg", 96, 72, 9, "jpeg", "0" * 64, provisional=True)
    again = replace(job, blurhash="LEHV6n", made={"thumb": stood_in})
    assert JOB_DEFAULTS.task(again, Batch((LARGE,)), Path("/s"), Path("/f")).blurhash
