"""Leases are counted exactly by the NATS server, whichever replicas ask."""

import asyncio

import pytest

from app.cluster.leases import Leases
from app.job import new_id
from tests.cluster.conftest import MAX_RECEIVING, QUEUE_SIZE, Connect
from tests.cluster.jobs import publish

pytestmark = pytest.mark.anyio


async def test_leases_are_bounded_exactly_over_all_replicas(connect: Connect) -> None:
    """Of 30 requests at once, five get a lease, and the next one only when a lease is returned."""
    replicas = [Leases(await connect()) for _ in range(3)]
    taken = await asyncio.gather(*(replicas[number % 3].take() for number in range(30)))
    assert sum(lease is not None for lease in taken) == MAX_RECEIVING
    await replicas[0].count()
    own = [lease for lease in taken[::3] if lease is not None]
    assert replicas[0].held_elsewhere == MAX_RECEIVING - len(own)
    holder, lease = next((number % 3, lease) for number, lease in enumerate(taken) if lease is not None)
    await returned(replicas[holder], lease)
    assert await replicas[1].take() is not None
    assert await replicas[2].take() is None


async def returned(leases: Leases, lease: int) -> None:
    """Return a lease and wait until the server knows."""
    leases.give_back(lease)
    await asyncio.gather(*leases._returning)


async def test_the_order_of_leases_decides_who_fits_into_the_queue(connect: Connect) -> None:
    """Of three uploads at three replicas for the last two places, the two that came first fit."""
    connections = [await connect() for _ in range(3)]
    for _ in range(QUEUE_SIZE - 2):
        assert await publish(connections[0], new_id())
    replicas = [Leases(connection) for connection in connections]
    taken = [await replica.take() for replica in replicas]
    fits = [
        await replica.fits(lease or 0, QUEUE_SIZE) for replica, lease in zip(replicas, taken, strict=True)
    ]
    assert fits == [True, True, False]
    await returned(replicas[0], taken[0] or 0)
    assert await replicas[2].fits(taken[2] or 0, QUEUE_SIZE)
