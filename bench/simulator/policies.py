"""Four ways to answer a client for whom there is no place."""

import math
import random
from collections.abc import Callable

from app.backpressure.reservations import Admit, Reservations, Wait
from bench.simulator.crowds import Client
from bench.simulator.world import Policy, World


class _FirstComer:
    """Takes whoever comes while belt and dock have room, and keeps no place for anybody."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ask(self, client: Client) -> None:
        """Admit or refuse."""
        world = self._world
        if world.waiting < world.capacity and world.receiving < world.dock:
            world.admit(client)
        else:
            world.refuse(client, self._pause())

    def place_freed(self) -> None:
        """Whoever asks next will see it."""

    def _pause(self) -> float:
        raise NotImplementedError


class Constant(_FirstComer):
    """`Retry-After: 1` to everybody."""

    def _pause(self) -> float:
        return 1.0


class Depth(_FirstComer):
    """The time in which the queue drains, with up to half of it again as jitter."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._chance = random.Random(7)  # noqa: S311 - jitter, not a secret

    def _pause(self) -> float:
        return max(1, math.ceil(self._world.waiting / self._world.rate * self._chance.uniform(1, 1.5)))


class Paced(_FirstComer):
    """To each the next free moment that nobody else was told."""

    _tail = 0.0

    def _pause(self) -> float:
        world = self._world
        self._tail = max(world.now, self._tail) + 1 / world.rate
        return max(1, math.ceil(self._tail - world.now))


class InTurn:
    """What the service does: turns that are remembered, and a door."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.turns = Reservations(
            world.workers, world.capacity, lambda: world.pace, 100_000, clock=world.clock
        )
        self._door: dict[Wait, Client] = {}

    @property
    def _used(self) -> int:
        return self._world.waiting + self._world.landing

    @property
    def _free(self) -> int:
        return min(self._world.capacity - self._used, self._world.dock - self._world.receiving)

    @property
    def _room(self) -> int:
        """Places while nobody is promised any: uploads on their way count in the dock alone."""
        world = self._world
        return min(world.capacity - world.waiting, world.dock - world.receiving)

    def ask(self, client: Client) -> None:
        """Admit, refuse, or let wait at the door."""
        used, free, room = self._used, self._free, self._room
        answer = self.turns.request(
            client.key, client.address, client.address, used=used, free=free, room=room
        )
        if isinstance(answer, Admit):
            self._world.admit(client)
        elif isinstance(answer, Wait):
            self._door[answer] = client
            self._world.at(answer.until, lambda _: self._give_up(answer), client)
        else:
            self._world.refuse(client, answer.retry_after)

    def place_freed(self) -> None:
        """Call those at the door in."""
        while park := self.turns.next_waiter(self._free):
            self._world.admit(self._door.pop(park))

    def _give_up(self, park: Wait) -> None:
        if client := self._door.pop(park, None):
            self._world.refuse(client, self.turns.expire_wait(park, free=self._free).retry_after)


POLICIES: dict[str, Callable[[World], Policy]] = {
    "constant 1 s": Constant,
    "depth / rate": Depth,
    "paced": Paced,
    "turns": InTurn,
}
