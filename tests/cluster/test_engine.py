"""What a replica answers when there is no room for an upload."""

import pytest

from app.backpressure.reservation_table import Requester
from app.backpressure.waiting_room import QueueFull
from app.cluster.engine import ClusterEngine
from app.cluster.leases import Leases
from tests.cluster.conftest import Connect

pytestmark = pytest.mark.anyio


async def test_slots_that_are_all_taken_are_not_called_a_full_queue(
    engine: ClusterEngine, connect: Connect
) -> None:
    """Another replica holds all receiving slots, and nothing waits in the queue."""
    others = Leases(await connect())
    await engine.start()
    while await others.take() is not None:
        pass
    await engine._leases.count()
    with pytest.raises(QueueFull, match=r"^all receiving slots are taken; "):
        await engine.reserve(Requester("key", "client", "net"), 0, lambda _: None)
