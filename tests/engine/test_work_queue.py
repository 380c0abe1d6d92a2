"""The work queue: jobs of the upload queue and, now and then, of the deferred queue; none is ever lost."""

import asyncio
from dataclasses import replace

import pytest

from app.backpressure.brownout import Brownout, DeferredQueue
from app.backpressure.drain_rate import DrainRate
from app.backpressure.upload_queue import UploadQueue
from app.engine.job_handle import JobHandle
from app.engine.job_plan import Batch
from app.engine.work_queue import WorkQueue
from app.job import Job, JobStatus, new_id
from tests.clocks import settle

pytestmark = pytest.mark.anyio

ALL_VARIANTS, REDUCED = Batch(()), Batch((), ("large",))


def work_queue_of(capacity: int = 20) -> WorkQueue:
    """A work queue for one worker, with a deferred queue for ten jobs."""
    upload_queue: UploadQueue[JobHandle] = UploadQueue(capacity, capacity, capacity, DrainRate(1, capacity))
    return WorkQueue(upload_queue, Brownout(0.75, 0.25, DeferredQueue(10)))


def fresh() -> JobHandle:
    """A new job."""
    return JobHandle(Job(new_id(), 1000.0, 10, ()), "somebody")


def deferred() -> JobHandle:
    """A job that is done but for a deferred variant."""
    handle = fresh()
    handle.job = replace(handle.job, status=JobStatus.DONE, deferred=("large",))
    return handle


async def taken(work_queue: WorkQueue) -> JobHandle:
    """The next job, which must be there."""
    handle = await work_queue.take()
    assert handle is not None
    return handle


async def test_an_idle_worker_is_woken_for_a_deferred_variant() -> None:
    """Each of those that wait gets one job, of whichever queue."""
    work_queue = work_queue_of()
    idle = [asyncio.create_task(work_queue.take()) for _ in range(3)]
    await settle()
    jobs = [deferred(), deferred()]
    for handle in jobs:
        work_queue.put(handle)
    await settle()
    assert {task.result() for task in idle if task.done()} == set(jobs)
    last = fresh()
    work_queue.put(last)
    await settle()
    assert {task.result() for task in idle} == {*jobs, last}


async def test_a_job_for_an_idle_worker_begins_no_brownout() -> None:
    """In a queue of one place too: the job fills it for a moment only, as a worker waits for it."""
    work_queue = work_queue_of(capacity=1)
    idle = asyncio.create_task(work_queue.take())
    await settle()
    work_queue.enqueue(work_queue.upload_queue.reserve("somebody"), fresh())
    await idle
    assert not work_queue.snapshot().active
    assert work_queue.snapshot().begun == 0


async def test_nothing_is_lost_when_both_come_at_once() -> None:
    """In either order, before the one who waits has looked up."""
    for first, second in ((deferred, fresh), (fresh, deferred)):
        work_queue = work_queue_of()
        idle = asyncio.create_task(work_queue.take())
        await settle()
        jobs = {first(), second()}
        for handle in jobs:
            work_queue.put(handle)
        assert {await idle, await taken(work_queue)} == jobs


async def test_a_worker_that_is_cancelled_loses_no_job() -> None:
    """Neither one that was woken already nor one that waits on: the job is for whoever is left."""
    work_queue = work_queue_of()
    for kind in (fresh, deferred):
        first, second = (asyncio.create_task(work_queue.take()) for _ in range(2))
        await settle()
        handle = kind()
        work_queue.put(handle)
        first.cancel()
        await settle()
        assert first.cancelled()
        assert second.result() is handle


async def test_those_who_wait_longest_are_served_first() -> None:
    """A wake-up that brought nothing does not cost a worker its turn."""
    work_queue = work_queue_of()
    idle = [asyncio.create_task(work_queue.take()) for _ in range(4)]
    await settle()
    for number, kind in enumerate((fresh, deferred, fresh, deferred)):
        work_queue.wake_all()
        handle = kind()
        work_queue.put(handle)
        await settle()
        assert [task.done() for task in idle] == [waiting <= number for waiting in range(4)]
        assert idle[number].result() is handle


async def test_a_job_is_not_for_a_worker_that_wants_none_any_more() -> None:
    """It is asked when it is woken, and the next one gets the job."""
    work_queue, wanted = work_queue_of(), asyncio.Event()
    wanted.set()
    pausing = asyncio.create_task(work_queue.take(wanted.is_set))
    await settle()
    other = asyncio.create_task(work_queue.take())
    await settle()
    wanted.clear()
    handle = fresh()
    work_queue.put(handle)
    assert await other is handle
    assert await pausing is None


async def test_while_new_jobs_wait_one_job_in_ten_is_a_deferred_one() -> None:
    """And every job is one when no new job waits."""
    work_queue = work_queue_of(30)
    for _ in range(25):
        work_queue.put(fresh())
    for _ in range(5):
        work_queue.put(deferred())
    kinds = "".join(["d" if (await taken(work_queue)).job.deferred else "." for _ in range(30)])
    assert kinds == ".........d.........d.......ddd"


async def test_closed_it_gives_out_nothing() -> None:
    """Workers that wait get None, and jobs that wait stay where they are."""
    work_queue = work_queue_of()
    idle = [asyncio.create_task(work_queue.take()) for _ in range(2)]
    await settle()
    work_queue.close()
    assert await asyncio.gather(*idle) == [None, None]
    work_queue.put(deferred())
    work_queue.put(fresh())
    assert await work_queue.take() is None
    assert work_queue.snapshot().deferred == work_queue.upload_queue.waiting == 1


async def test_what_is_removed_is_not_taken() -> None:
    """From either queue; what waits in neither cannot be removed."""
    work_queue = work_queue_of()
    handle, later, other = fresh(), deferred(), deferred()
    for each in (handle, later, other):
        work_queue.put(each)
    assert work_queue.remove(handle)
    assert work_queue.remove(later)
    assert not work_queue.remove(later)
    assert await taken(work_queue) is other
    assert not work_queue.remove(other)


async def test_a_job_that_is_tried_again_gives_up_its_place_in_the_deferred_queue() -> None:
    """Whether variants of it are deferred is decided anew when it is begun."""
    work_queue = work_queue_of()
    handle = fresh()
    assert work_queue.brownout.deferred_queue.reserve(handle.job.id)
    work_queue.put(handle)
    assert len(work_queue.brownout.deferred_queue) == 0


async def test_deferred_variants_that_are_made_while_jobs_wait_slow_the_drain() -> None:
    """A worker's time on them counts towards the jobs that leave; while no job waits it does not."""
    work_queue = work_queue_of()
    work_queue.put(fresh())
    for _ in range(100):
        for _ in range(9):
            work_queue.record(REDUCED, 0.1, deferred=False)
        work_queue.record(ALL_VARIANTS, 0.9, deferred=True)
    assert work_queue.upload_queue.drain_rate.jobs_per_s == pytest.approx(5, rel=0.1)
    work_queue.record(REDUCED, 0.1, deferred=False)
    await taken(work_queue)
    before = work_queue.upload_queue.drain_rate.jobs_per_s
    for _ in range(100):
        work_queue.record(ALL_VARIANTS, 0.9, deferred=True)
    work_queue.record(REDUCED, 0.1, deferred=False)
    assert work_queue.upload_queue.drain_rate.jobs_per_s == pytest.approx(before, rel=0.05)


async def test_waits_are_estimated_for_positions_and_for_deferred_variants() -> None:
    """A position waits for those before it, deferred variants for both queues; a running job for nothing."""
    work_queue = work_queue_of()
    work_queue.record(ALL_VARIANTS, 2.0, deferred=False)
    for _ in range(3):
        work_queue.put(fresh())
    later = deferred()
    work_queue.put(later)
    assert work_queue.wait(fresh(), 2) == 4.0
    assert work_queue.wait(later, None) == 8.0
    assert work_queue.wait(fresh(), None) is None


async def test_in_a_brownout_the_estimate_reckons_with_its_end() -> None:
    """Sixteen of twenty wait: if no more come, the last five are begun after its end, with all variants."""
    work_queue = work_queue_of()
    work_queue.record(ALL_VARIANTS, 1.0, deferred=False)
    for _ in range(200):
        work_queue.record(REDUCED, 0.1, deferred=False)
    for _ in range(16):
        work_queue.put(fresh())
    assert work_queue.snapshot().active
    wait = work_queue.wait(fresh(), 16)
    assert wait == pytest.approx(11 * 0.1 + 5 * 1.0, rel=0.05)
