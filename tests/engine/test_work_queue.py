"""The supply of work: the queue's jobs, and at its turns the lane's; nothing is lost between the two."""

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

WHOLE, BRIEF = Batch(()), Batch((), ("large",))


def supply_of(places: int = 20) -> WorkQueue:
    """One worker's supply, with a lane for ten."""
    upload_queue: UploadQueue[JobHandle] = UploadQueue(places, places, places, DrainRate(1, places))
    return WorkQueue(upload_queue, Brownout(0.75, 0.25, DeferredQueue(10)))


def fresh() -> JobHandle:
    """A job to be begun."""
    return JobHandle(Job(new_id(), 1000.0, 10, ()), "somebody")


def rest() -> JobHandle:
    """A job that is done but for a variant that was put off."""
    handle = fresh()
    handle.job = replace(handle.job, status=JobStatus.DONE, deferred=("large",))
    return handle


async def taken(work_queue: WorkQueue) -> JobHandle:
    """What is taken next, there being something."""
    handle = await work_queue.take()
    assert handle is not None
    return handle


async def test_an_idle_worker_is_woken_for_a_rest() -> None:
    """Whoever waits for the queue gets what comes to the lane, one for each."""
    work_queue = supply_of()
    idle = [asyncio.create_task(work_queue.take()) for _ in range(3)]
    await settle()
    rests = [rest(), rest()]
    for handle in rests:
        work_queue.put(handle)
    await settle()
    assert {task.result() for task in idle if task.done()} == set(rests)
    last = fresh()
    work_queue.put(last)
    await settle()
    assert {task.result() for task in idle} == {*rests, last}


async def test_nothing_is_lost_when_both_come_at_once() -> None:
    """In either order, before the one who waits has looked up."""
    for first, second in ((rest, fresh), (fresh, rest)):
        work_queue = supply_of()
        idle = asyncio.create_task(work_queue.take())
        await settle()
        jobs = {first(), second()}
        for handle in jobs:
            work_queue.put(handle)
        assert {await idle, await taken(work_queue)} == jobs


async def test_while_jobs_wait_one_turn_in_ten_is_the_lane_s() -> None:
    """And all of them when none does."""
    work_queue = supply_of(30)
    for _ in range(25):
        work_queue.put(fresh())
    for _ in range(5):
        work_queue.put(rest())
    kinds = "".join(["r" if (await taken(work_queue)).job.deferred else "." for _ in range(30)])
    assert kinds == ".........r.........r.......rrr"


async def test_closed_it_gives_out_nothing() -> None:
    """Those who wait go, and what waits stays."""
    work_queue = supply_of()
    idle = [asyncio.create_task(work_queue.take()) for _ in range(2)]
    await settle()
    work_queue.close()
    assert await asyncio.gather(*idle) == [None, None]
    work_queue.put(rest())
    work_queue.put(fresh())
    assert await work_queue.take() is None
    assert work_queue.snapshot().deferred == work_queue.upload_queue.waiting == 1


async def test_what_is_removed_is_not_taken() -> None:
    """From the queue or from the lane; what waits in neither was not removed."""
    work_queue = supply_of()
    handle, later, other = fresh(), rest(), rest()
    for each in (handle, later, other):
        work_queue.put(each)
    assert work_queue.remove(handle)
    assert work_queue.remove(later)
    assert not work_queue.remove(later)
    assert await taken(work_queue) is other
    assert not work_queue.remove(other)


async def test_a_job_that_is_tried_again_gives_up_its_place_in_the_lane() -> None:
    """It is decided anew, when it is begun, whether it is made in brief."""
    work_queue = supply_of()
    handle = fresh()
    assert work_queue.brownout.deferred_queue.reserve(handle.job.id)
    work_queue.put(handle)
    assert len(work_queue.brownout.deferred_queue) == 0


async def test_rests_that_are_made_while_jobs_wait_slow_the_drain() -> None:
    """A worker's time on them counts to the jobs that leave; in idle hours it does not."""
    work_queue = supply_of()
    work_queue.put(fresh())
    for _ in range(100):
        for _ in range(9):
            work_queue.record(BRIEF, 0.1, deferred=False)
        work_queue.record(WHOLE, 0.9, deferred=True)
    assert work_queue.upload_queue.drain_rate.jobs_per_s == pytest.approx(5, rel=0.1)
    work_queue.record(BRIEF, 0.1, deferred=False)
    await taken(work_queue)
    before = work_queue.upload_queue.drain_rate.jobs_per_s
    for _ in range(100):
        work_queue.record(WHOLE, 0.9, deferred=True)
    work_queue.record(BRIEF, 0.1, deferred=False)
    assert work_queue.upload_queue.drain_rate.jobs_per_s == pytest.approx(before, rel=0.05)


async def test_waits_are_told_for_places_and_for_rests() -> None:
    """A place waits for those before it, a rest for all who wait and for the lane; what runs, for nothing."""
    work_queue = supply_of()
    work_queue.record(WHOLE, 2.0, deferred=False)
    for _ in range(3):
        work_queue.put(fresh())
    later = rest()
    work_queue.put(later)
    assert work_queue.wait(fresh(), 2) == 4.0
    assert work_queue.wait(later, None) == 8.0
    assert work_queue.wait(fresh(), None) is None


async def test_in_a_brownout_the_wait_told_is_for_whole_jobs_too() -> None:
    """Sixteen of twenty wait: the last five would be taken after its end, should nobody come any more."""
    work_queue = supply_of()
    work_queue.record(WHOLE, 1.0, deferred=False)
    for _ in range(200):
        work_queue.record(BRIEF, 0.1, deferred=False)
    for _ in range(16):
        work_queue.put(fresh())
    assert work_queue.snapshot().active
    wait = work_queue.wait(fresh(), 16)
    assert wait == pytest.approx(11 * 0.1 + 5 * 1.0, rel=0.05)
