"""What a worker is told to make: all of a job, its most needed variant, or the rest."""

from dataclasses import replace
from pathlib import Path

from app.backpressure.brownout import Brownout, DeferredQueue
from app.engine.job_plan import Batch, JobDefaults
from app.job import Job, JobStatus, new_id
from workers.variants import parse_variants

VARIANTS = parse_variants("large=1600,thumb=96,small=320@webp:70")
ORDERS = JobDefaults(VARIANTS, 10**6, 30.0, 2**30, truncated=False, blurhash=True)
LARGE, THUMB, SMALL = VARIANTS


def brownout_of(waiting: int) -> Brownout:
    """One that has seen so many of ten places taken."""
    brownout = Brownout(0.75, 0.25, DeferredQueue(5))
    brownout.observe(waiting, 10)
    return brownout


def job_of(*wanted: str) -> Job:
    """A new job that asks for variants, all when it names none."""
    return Job(new_id(), 1000.0, 10, wanted)


def test_without_pressure_a_job_is_made_whole() -> None:
    """All that it asks for, or all there is."""
    assert ORDERS.batch(job_of(), brownout_of(0)) == Batch(VARIANTS)
    assert ORDERS.batch(job_of("large=1600", "thumb=96"), brownout_of(0)) == Batch((LARGE, THUMB))


def test_in_a_brownout_the_smallest_that_is_asked_for_comes_first() -> None:
    """The smallest by its side, wherever it stands in the list; a single one is made as ever."""
    assert ORDERS.batch(job_of(), brownout_of(10)) == Batch((THUMB,), ("large", "small"))
    part = ORDERS.batch(job_of(LARGE.spec, SMALL.spec), brownout_of(10))
    assert part == Batch((SMALL,), ("large",))
    assert ORDERS.batch(job_of("large=1600"), brownout_of(10)) == Batch((LARGE,))


def test_the_rest_is_what_was_put_off_brownout_or_not() -> None:
    """As the job asked for it, when it was accepted."""
    job = replace(job_of("big=1200", "thumb=96"), status=JobStatus.DONE, deferred=("big",))
    for waiting in (0, 10):
        assert ORDERS.batch(job, brownout_of(waiting)) == Batch(parse_variants("big=1200"))


def test_the_task_names_the_part_and_asks_once_for_a_blurhash() -> None:
    """The second part makes none again."""
    job = job_of()
    task = ORDERS.task(job, Batch((THUMB,)), Path("/s"), Path("/f"))
    assert (task.variants, task.source, task.folder, task.blurhash) == (("thumb=96",), "/s", "/f", True)
    assert not ORDERS.task(replace(job, blurhash="LEHV6n"), Batch((LARGE,)), Path("/s"), Path("/f")).blurhash
