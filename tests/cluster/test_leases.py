"""Leases are counted exactly by the NATS server, whichever replicas ask."""

import asyncio

import pytest

from app.backpressure.circuit_breaker import BreakerOpen, BreakerState
from app.cluster.connection import EngineDown
from app.cluster.jetstream import LEASES
from app.cluster.leases import Leases
from app.job import new_id
from tests.cluster.conftest import MAX_RECEIVING, QUEUE_SIZE, Connect
from tests.cluster.jobs import publish
from tests.cluster.servers import NatsServer
from tests.cluster.streams import queued

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


async def outstanding(nats: NatsServer) -> int:
    """How many leases the server counts."""
    return await asyncio.to_thread(queued, nats.url, LEASES)


async def settled(leases: Leases) -> None:
    """Settle the leases as soon as NATS answers again."""
    async with asyncio.timeout(10):
        while True:
            try:
                await leases.settle()
            except (EngineDown, BreakerOpen):
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_lease_whose_answer_was_lost_is_returned(connect: Connect, nats: NatsServer) -> None:
    """The server stores a message after the request for it has timed out; nobody would ever return it."""
    leases, other = Leases(await connect()), Leases(await connect())
    held = await leases.take()
    for _ in range(MAX_RECEIVING):
        nats.suspend()
        with pytest.raises((EngineDown, BreakerOpen)):
            await leases.take()
        nats.resume()
        await settled(leases)
    assert held is not None
    assert await outstanding(nats) == 1
    await leases.count()
    assert leases.held_elsewhere == 0
    assert [await other.take() is None for _ in range(MAX_RECEIVING)] == [False] * 4 + [True]


async def test_a_lease_of_a_cancelled_request_is_returned(connect: Connect, nats: NatsServer) -> None:
    """A client that disconnects ends the request at any moment, also while the server stores the lease."""
    leases = Leases(await connect())
    for _ in range(20):
        task = asyncio.create_task(leases.take())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await settled(leases)
    assert await outstanding(nats) == 0


async def test_all_leases_are_returned_after_a_stall_in_a_full_stream(
    connect: Connect, nats: NatsServer
) -> None:
    """A lost answer that said that all were taken leaves nothing to return."""
    leases = Leases(await connect())
    taken = [await leases.take() for _ in range(MAX_RECEIVING)]
    nats.suspend()
    with pytest.raises((EngineDown, BreakerOpen)):
        await leases.take()
    nats.resume()
    await settled(leases)
    assert await outstanding(nats) == MAX_RECEIVING
    nats.suspend()
    for lease in taken:
        assert lease is not None
        leases.give_back(lease)
    await asyncio.gather(*leases._returning)
    nats.resume()
    await settled(leases)
    assert await outstanding(nats) == 0


async def test_returning_a_lease_that_is_gone_is_no_failure(connect: Connect, nats: NatsServer) -> None:
    """Leases expire, and a restart of the server loses them: neither says that NATS is away."""
    connection = await connect()
    leases = Leases(connection)
    taken = [await leases.take() for _ in range(MAX_RECEIVING)]
    async with connection.request() as js:
        await js.purge_stream(LEASES)
    for lease in taken:
        await returned(leases, lease or 0)
    await leases.settle()
    assert connection.breaker.snapshot().state == BreakerState.CLOSED
    assert not connection.needs_setup
