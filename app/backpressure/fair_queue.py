"""The rota: waiting jobs in the order in which they leave, round robin over clients."""

from collections import OrderedDict, deque
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What the rota needs to know of an entry."""

    client: str


E = TypeVar("E", bound=Queued)


class FairQueue(Generic[E]):
    """A line for each client, and the clients in turn: one of theirs, then one of the next client's.

    So a client with many jobs delays another by one of them at most. `append` and `popleft` are O(1), so that
    it can stand where asyncio.Queue keeps a deque; looking for an entry is O(clients).
    """

    def __init__(self) -> None:
        # Not a dict: finding the first entry of one walks over all that were taken from its front.
        self._queues: OrderedDict[str, deque[E]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, entry: E) -> None:
        """Put an entry at the end of its client's line; a client that had none comes after all others."""
        self._queues.setdefault(entry.client, deque()).append(entry)
        self._count += 1

    def popleft(self) -> E:
        """Take the next entry; its client comes after all others then. Raises StopIteration when empty."""
        client = next(iter(self._queues))
        entry = self._queues[client].popleft()
        self._queues.move_to_end(client)
        self._removed(client)
        return entry

    def remove(self, entry: E) -> None:
        """Take an entry out. Raises ValueError when it is not there."""
        self._queues.get(entry.client, deque[E]()).remove(entry)
        self._removed(entry.client)

    def index(self, entry: E) -> int:
        """How many leave before this entry. Raises ValueError when it is not there."""
        own = self._queues.get(entry.client, deque[E]()).index(entry)
        ahead, rounds = own, own + 1
        for client, line in self._queues.items():
            if client == entry.client:
                rounds = own  # those who come after it have one go less before this entry's
            else:
                ahead += min(len(line), rounds)
        return ahead

    def first_of(self, client: str) -> int | None:
        """How many leave before the client's first; None when it has none here."""
        line = self._queues.get(client)
        return None if line is None else self.index(line[0])

    def _removed(self, client: str) -> None:
        self._count -= 1
        if not self._queues[client]:
            del self._queues[client]
