"""The queue of the cluster: its bound is exact, and no job is in it twice."""

import asyncio

import pytest

from app.cluster.jetstream import grow
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
