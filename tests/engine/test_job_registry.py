"""The registry of jobs under way: finds them, counts how they end, and forgets them then."""

from dataclasses import asdict, replace

import pytest
from structlog.testing import capture_logs

from app.engine.job_handle import JobHandle
from app.engine.job_registry import JobRegistry
from app.job import Job, JobStatus, MadeVariant, new_id

pytestmark = pytest.mark.anyio

MADE = MadeVariant("thumb.jpg", 96, 72, 1000, "jpeg", "0" * 64)


def accepted(registry: JobRegistry) -> JobHandle:
    """A job that has just been accepted."""
    return registry.accept(Job(new_id(), 1000.0, 10, ()), "somebody")


def become(registry: JobRegistry, handle: JobHandle, **changes: object) -> None:
    """The job's record has changed."""
    before, handle.job = handle.job, replace(handle.job, **changes)  # type: ignore[arg-type]
    registry.publish_result(handle, before)


def counts(registry: JobRegistry) -> dict[str, int]:
    """The counters that are not 0."""
    return {name: count for name, count in asdict(registry.counters).items() if count}


async def test_every_end_is_counted_once() -> None:
    """A job that is done with variants deferred counts twice over: as done and as deferred."""
    registry = JobRegistry()
    done, failed, cancelled, deferred = (accepted(registry) for _ in range(4))
    become(registry, done, status=JobStatus.DONE, made={"thumb": MADE})
    become(registry, failed, status=JobStatus.FAILED, problem=("undecodable", "No."))
    registry.end_cancelled(cancelled)
    become(registry, deferred, status=JobStatus.DONE, deferred=("large",), made={"thumb": MADE})
    ended = {
        "accepted": 4,
        "accepted_bytes": 40,
        "done": 2,
        "failed": 1,
        "cancelled": 1,
        "deferred": 1,
    }
    assert counts(registry) == ended
    become(registry, deferred, deferred=(), made={"thumb": MADE, "large": MADE})
    assert counts(registry) == ended


async def test_a_job_is_found_until_it_is_final() -> None:
    """One that is done with variants deferred is still under way."""
    registry = JobRegistry()
    handle = accepted(registry)
    become(registry, handle, status=JobStatus.DONE, deferred=("large",))
    assert registry.find(handle.job.id) is handle
    become(registry, handle, deferred=())
    assert registry.find(handle.job.id) is None


async def test_a_job_that_is_deleted_while_variants_are_deferred_stays_counted_as_done() -> None:
    """Its files are not named any more, and its watchers hear that it is cancelled."""
    registry = JobRegistry()
    handle = accepted(registry)
    become(registry, handle, status=JobStatus.DONE, deferred=("large",), made={"thumb": MADE})
    registry.end_cancelled(handle)
    assert counts(registry) == {"accepted": 1, "accepted_bytes": 10, "done": 1, "deferred": 1}
    assert (handle.job.status, handle.job.made, handle.job.deferred) == (JobStatus.CANCELLED, {}, ())
    assert handle.finished.is_set()


async def test_a_job_of_an_earlier_run_is_not_counted_as_accepted() -> None:
    """It counts against no client's share, for its record does not name one."""
    registry = JobRegistry()
    first, second = (registry.resume(Job(new_id(), 1000.0, 10, ())) for _ in range(2))
    assert counts(registry) == {}
    assert first.client != second.client
    assert registry.find(second.job.id) is second


async def test_the_log_says_of_a_job_how_it_ended_and_what_it_cost() -> None:
    """Seconds, bytes and sizes; a reason or deferred variants only where there are any."""
    registry = JobRegistry()
    source = {"format": "jpeg", "width": 400, "height": 300}
    with capture_logs() as lines:
        done = {"status": JobStatus.DONE, "source": source, "made": {"thumb": MADE}}
        become(registry, accepted(registry), **done, finished_at=1001.5, completed_at=1001.5)
        become(registry, accepted(registry), **done, finished_at=1001.5, deferred=("large",))
        become(registry, accepted(registry), status=JobStatus.FAILED, problem=("undecodable", "No."))
    for line in lines:
        assert line.pop("event") == "job ended"
        assert len(line.pop("job")) == 32
        assert line.pop("log_level") == "info"
    made = {"status": "done", "seconds": 1.5, "bytes": 10, "source": "jpeg 400x300", "sizes": "thumb=96x72"}
    failed = {"status": "failed", "bytes": 10, "reason": "undecodable"}
    assert lines == [made, {**made, "deferred": "large"}, failed]
