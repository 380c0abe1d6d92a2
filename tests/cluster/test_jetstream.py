"""The queue of the cluster: its bound is exact, and no job is in it twice."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.cluster.connection import NatsConnection
from app.cluster.jetstream import DEAD, JOBS, LEASES, Bounds, grow, prepare
from app.job import new_id
from tests.cluster.conftest import QUEUE_SIZE, Connect
from tests.cluster.jobs import publish

pytestmark = pytest.mark.anyio


async def test_the_queue_is_bounded_exactly_and_has_no_job_twice(connect: Connect) -> None:
    """The server refuses jobs beyond the bound, and tells a full queue from a job that it has already."""
    connections = [await connect() for _ in range(4)]
    jobs = [new_id() for _ in range(50)]
    first = await asyncio.gather(*(publish(connections[i % 4], job) for i, job in enumerate(jobs)))
    assert (first.count(True), first.count(False)) == (QUEUE_SIZE, 50 - QUEUE_SIZE)
    second = await asyncio.gather(*(publish(connections[i % 4], job) for i, job in enumerate(jobs)))
    assert [answer is None for answer in second] == [answer is True for answer in first]


async def test_a_lower_bound_drops_no_job(connect: Connect) -> None:
    """A server would drop the jobs beyond a lower bound, so the bound is only ever raised."""
    connection = await connect()
    jobs = [new_id() for _ in range(QUEUE_SIZE)]
    assert all([await publish(connection, job) for job in jobs])
    await grow(connection, 5)
    assert [await publish(connection, job) for job in jobs] == [None] * QUEUE_SIZE
    await grow(connection, QUEUE_SIZE + 1)
    assert await publish(connection, new_id())


async def bounds(connection: NatsConnection) -> tuple[int | None, int | None, float | None]:
    """The bounds of the streams: jobs, leases, and the seconds after which a lease ends."""
    async with connection.request(5) as js:
        jobs, leases = [(await js.stream_info(name)).config for name in (JOBS, LEASES)]
    return jobs.max_msgs, leases.max_msgs, leases.max_age


async def test_a_worker_changes_no_bound(connect: Connect) -> None:
    """Its settings of the queue are not meant for the cluster; what is missing it creates by them."""
    connection = await connect()
    before = await bounds(connection)
    with capture_logs() as logs:
        await prepare(connection, Bounds(50, 9, 90), may_change=False)
    assert await bounds(connection) == before
    assert logs == []
    async with connection.request(5) as js:
        for name in (JOBS, DEAD, LEASES):
            await js.delete_stream(name)
    await prepare(connection, Bounds(50, 9, 90), may_change=False)
    assert await bounds(connection) == (50, 9, 90)


async def test_a_replica_changes_bounds_and_logs_it(connect: Connect) -> None:
    """Once: preparing the same again changes nothing and logs nothing."""
    connection = await connect()
    with capture_logs() as logs:
        for _ in range(2):
            await prepare(connection, Bounds(50, 9, 90), may_change=True)
    assert await bounds(connection) == (50, 9, 90)
    assert [line["event"] for line in logs] == [
        "the queue has got more places",
        "a stream has got other bounds",
    ]
