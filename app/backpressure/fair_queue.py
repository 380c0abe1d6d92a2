"""The fair queue: waiting jobs leave round robin over clients, not first come first served."""

import asyncio
from collections import OrderedDict, deque
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What the fair queue needs to know of an entry: whose it is."""

    client: str


E = TypeVar("E", bound=Queued)


class FairQueue(Generic[E]):
    """A first-in-first-out queue for each client, served round robin: one entry of each client in turn.

    A client with many entries therefore delays another client by one entry at most. `append()` and
    `popleft()` take constant time, so that this can stand where asyncio.Queue keeps a deque. Finding or
    removing an entry takes time linear in the number of clients and in the length of its client's queue.
    """

    def __init__(self) -> None:
        # The first client is served next. An OrderedDict and not a dict, for to find the first key of a dict
        # takes longer the more were removed from its front.
        self._queues: OrderedDict[str, deque[E]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, entry: E) -> None:
        """Add an entry after the others of its client; a client that had none is served after all others."""
        self._queues.setdefault(entry.client, deque()).append(entry)
        self._count += 1

    def popleft(self) -> E:
        """Remove the next entry; its client is then served after all others.

        Raises:
            StopIteration: the queue is empty.
        """
        client = next(iter(self._queues))
        entry = self._queues[client].popleft()
        self._queues.move_to_end(client)
        self._forget_one(client)
        return entry

    def remove(self, entry: E) -> None:
        """Remove this entry. Raises ValueError when it is not in the queue."""
        self._queues.get(entry.client, deque[E]()).remove(entry)
        self._forget_one(entry.client)

    def index(self, entry: E) -> int:
        """How many entries leave before this one. Raises ValueError when it is not in the queue."""
        own = self._queues.get(entry.client, deque[E]()).index(entry)
        ahead = own
        # A client that is served before this entry's client has one round more in which to be ahead of it.
        rounds = own + 1
        for client, queue in self._queues.items():
            if client == entry.client:
                rounds = own
            else:
                ahead += min(len(queue), rounds)
        return ahead

    def first_of(self, client: str) -> int | None:
        """How many entries leave before the first of this client; None when it has none."""
        queue = self._queues.get(client)
        return None if queue is None else self.index(queue[0])

    def _forget_one(self, client: str) -> None:
        self._count -= 1
        if not self._queues[client]:
            del self._queues[client]


class FairAsyncQueue(asyncio.Queue[E]):
    """An asyncio.Queue that serves clients round robin, through the three hooks meant for subclasses."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        # asyncio.Queue itself looks at `_queue` to know whether it is empty.
        self._queue = self.fair = FairQueue[E]()

    def _put(self, item: E) -> None:
        self.fair.append(item)

    def _get(self) -> E:
        return self.fair.popleft()
