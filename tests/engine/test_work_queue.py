"""The supply of work: the queue's jobs, and at its turns the lane's; nothing is lost between the two."""

import asyncio
from dataclasses import replace

import pytest

from app.backpressure.brownout import Brownout, Lane
from app.backpressure.drain_rate import Pacer
from app.backpressure.upload_queue import Backlog
from app.engine.job_handle import Live
from app.engine.job_plan import Part
from app.engine.work_queue import Supply
from app.job import DONE, Job, new_id
from tests.clocks import settle

pytestmark = pytest.mark.anyio

WHOLE, BRIEF = Part(()), Part((), ("large",))


def supply_of(places: int = 20) -> Supply:
    """One worker's supply, with a lane for ten."""
    backlog: Backlog[Live] = Backlog(places, places, places, Pacer(1, places))
    return Supply(backlog, Brownout(0.75, 0.25, Lane(10)))


def fresh() -> Live:
    """A job to be begun."""
    return Live(Job(new_id(), 1000.0, 10, ()), "somebody")


def rest() -> Live:
    """A job that is done but for a variant that was put off."""
    live = fresh()
    live.job = replace(live.job, status=DONE, deferred=("large",))
    return live


async def taken(supply: Supply) -> Live:
    """What is taken next, there being something."""
    live = await supply.take()
    assert live is not None
    return live


async def test_an_idle_worker_is_woken_for_a_rest() -> None:
    """Whoever waits for the queue gets what comes to the lane, one for each."""
    supply = supply_of()
    idle = [asyncio.create_task(supply.take()) for _ in range(3)]
    await settle()
    rests = [rest(), rest()]
    for live in rests:
        supply.put(live)
    await settle()
    assert {task.result() for task in idle if task.done()} == set(rests)
    last = fresh()
    supply.put(last)
    await settle()
    assert {task.result() for task in idle} == {*rests, last}


async def test_nothing_is_lost_when_both_come_at_once() -> None:
    """In either order, before the one who waits has looked up."""
    for first, second in ((rest, fresh), (fresh, rest)):
        supply = supply_of()
        idle = asyncio.create_task(supply.take())
        await settle()
        jobs = {first(), second()}
        for live in jobs:
            supply.put(live)
        assert {await idle, await taken(supply)} == jobs


async def test_while_jobs_wait_one_turn_in_ten_is_the_lane_s() -> None:
    """And all of them when none does."""
    supply = supply_of(30)
    for _ in range(25):
        supply.put(fresh())
    for _ in range(5):
        supply.put(rest())
    kinds = "".join(["r" if (await taken(supply)).job.deferred else "." for _ in range(30)])
    assert kinds == ".........r.........r.......rrr"


async def test_closed_it_gives_out_nothing() -> None:
    """Those who wait go, and what waits stays."""
    supply = supply_of()
    idle = [asyncio.create_task(supply.take()) for _ in range(2)]
    await settle()
    supply.close()
    assert await asyncio.gather(*idle) == [None, None]
    supply.put(rest())
    supply.put(fresh())
    assert await supply.take() is None
    assert supply.snapshot().deferred == supply.backlog.waiting == 1


async def test_what_is_removed_is_not_taken() -> None:
    """From the queue or from the lane; what waits in neither was not removed."""
    supply = supply_of()
    live, later, other = fresh(), rest(), rest()
    for each in (live, later, other):
        supply.put(each)
    assert supply.remove(live)
    assert supply.remove(later)
    assert not supply.remove(later)
    assert await taken(supply) is other
    assert not supply.remove(other)


async def test_a_job_that_is_tried_again_gives_up_its_place_in_the_lane() -> None:
    """It is decided anew, when it is begun, whether it is made in brief."""
    supply = supply_of()
    live = fresh()
    assert supply.brownout.lane.hold(live.job.id)
    supply.put(live)
    assert len(supply.brownout.lane) == 0


async def test_rests_that_are_made_while_jobs_wait_slow_the_drain() -> None:
    """A worker's time on them counts to the jobs that leave; in idle hours it does not."""
    supply = supply_of()
    supply.put(fresh())
    for _ in range(100):
        for _ in range(9):
            supply.record(BRIEF, 0.1, rest=False)
        supply.record(WHOLE, 0.9, rest=True)
    assert supply.backlog.pacer.rate == pytest.approx(5, rel=0.1)
    supply.record(BRIEF, 0.1, rest=False)
    await taken(supply)
    before = supply.backlog.pacer.rate
    for _ in range(100):
        supply.record(WHOLE, 0.9, rest=True)
    supply.record(BRIEF, 0.1, rest=False)
    assert supply.backlog.pacer.rate == pytest.approx(before, rel=0.05)


async def test_waits_are_told_for_places_and_for_rests() -> None:
    """A place waits for those before it, a rest for all who wait and for the lane; what runs, for nothing."""
    supply = supply_of()
    supply.record(WHOLE, 2.0, rest=False)
    for _ in range(3):
        supply.put(fresh())
    later = rest()
    supply.put(later)
    assert supply.wait(fresh(), 2) == 4.0
    assert supply.wait(later, None) == 8.0
    assert supply.wait(fresh(), None) is None


async def test_in_a_brownout_the_wait_told_is_for_whole_jobs_too() -> None:
    """Sixteen of twenty wait: the last five would be taken after its end, should nobody come any more."""
    supply = supply_of()
    supply.record(WHOLE, 1.0, rest=False)
    for _ in range(200):
        supply.record(BRIEF, 0.1, rest=False)
    for _ in range(16):
        supply.put(fresh())
    assert supply.snapshot().active
    wait = supply.wait(fresh(), 16)
    assert wait == pytest.approx(11 * 0.1 + 5 * 1.0, rel=0.05)
