"""The breaker around NATS."""

import asyncio

import pytest

from app.backpressure.circuit_breaker import BreakerState
from app.cluster.connection import EngineDown
from tests.cluster.conftest import Connect
from tests.cluster.servers import NatsServer

pytestmark = pytest.mark.anyio


async def test_a_hanging_server_opens_the_breaker_within_a_second(connect: Connect, nats: NatsServer) -> None:
    """Two failed requests open it, but not twenty that were under way at the same time."""
    connection = await connect()
    loop = asyncio.get_running_loop()

    async def fail() -> None:
        with pytest.raises(EngineDown):
            async with connection.request() as js:
                await js.account_info()

    nats.suspend()
    started = loop.time()
    await asyncio.gather(*(fail() for _ in range(20)))
    assert connection.breaker.snapshot().state == BreakerState.CLOSED
    await fail()
    assert connection.breaker.snapshot().state == BreakerState.OPEN
    assert loop.time() - started < 1
    nats.resume()
