"""Four ways to answer a client for whom there is no slot."""

import math
import random
from collections.abc import Callable

from app.backpressure.reservation_table import Requester
from app.backpressure.reservations import Admit, QueueLoad, Reservations, Wait
from bench.simulator.crowds import Client
from bench.simulator.world import Policy, World


class _FirstCome:
    """Admits any client while there are slots and room in the queue, and keeps no slot for anybody."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ask(self, client: Client) -> None:
        """Admit or refuse."""
        world = self._world
        if world.waiting < world.capacity and world.receiving < world.max_receiving:
            world.admit(client)
        else:
            world.refuse(client, self._retry_after())

    def slot_freed(self) -> None:
        """Nothing to do: the next client that asks gets the slot."""

    def _retry_after(self) -> float:
        raise NotImplementedError


class Constant(_FirstCome):
    """`Retry-After: 1` for everybody."""

    def _retry_after(self) -> float:
        return 1.0


class Depth(_FirstCome):
    """The time in which the queue drains, with up to half of it again as jitter."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._chance = random.Random(7)  # noqa: S311 - jitter, not a secret

    def _retry_after(self) -> float:
        world = self._world
        return max(1, math.ceil(world.waiting / world.jobs_per_s * self._chance.uniform(1, 1.5)))


class Paced(_FirstCome):
    """For each client the next moment at which a slot comes free that nobody else was told."""

    _last_told = 0.0

    def _retry_after(self) -> float:
        world = self._world
        self._last_told = max(world.now, self._last_told) + 1 / world.jobs_per_s
        return max(1, math.ceil(self._last_told - world.now))


class Reserving:
    """What the service does: reservations, and a waiting room for those who come back at their time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.reservations = Reservations(
            world.workers, world.capacity, lambda: world.uploads_per_s, 100_000, clock=world.clock
        )
        self._waiting: dict[Wait, Client] = {}

    def _load(self) -> QueueLoad:
        world = self._world
        load = world.waiting + world.expected_soon
        free_receiving = world.max_receiving - world.receiving
        return QueueLoad(
            load,
            free_slots=min(world.capacity - load, free_receiving),
            unreserved_slots=min(world.capacity - world.waiting, free_receiving),
        )

    def ask(self, client: Client) -> None:
        """Admit, refuse, or let wait."""
        requester = Requester(client.key, client.address, client.net)
        decision = self.reservations.request(requester, self._load())
        if isinstance(decision, Admit):
            self._world.admit(client)
        elif isinstance(decision, Wait):
            self._waiting[decision] = client
            self._world.at(decision.until, lambda _: self._expire(decision), client)
        else:
            self._world.refuse(client, decision.retry_after)

    def slot_freed(self) -> None:
        """Admit those who have waited longest."""
        while wait := self.reservations.next_waiter(self._load().free_slots):
            self._world.admit(self._waiting.pop(wait))

    def _expire(self, wait: Wait) -> None:
        if client := self._waiting.pop(wait, None):
            refusal = self.reservations.expire_wait(wait, self._load().free_slots)
            self._world.refuse(client, refusal.retry_after)


POLICIES: dict[str, Callable[[World], Policy]] = {
    "constant 1 s": Constant,
    "depth / rate": Depth,
    "paced": Paced,
    "reservations": Reserving,
}
