"""The fair queue: waiting jobs leave round robin over clients, not first come first served."""

import asyncio
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from app.backpressure.ranking import Ranking


class Queued(Protocol):
    """What the fair queue needs to know of an entry: whose it is."""

    client: str


E = TypeVar("E", bound=Queued)


_Place = tuple[int, int, str]
"""When an entry leaves: the round, the turn of its client in each round, and the client."""


@dataclass(slots=True)
class _Line(Generic[E]):
    """The entries of one client, and the places in which they leave; both in order, and equally many.

    Clients take their turns in the order in which they came.
    """

    turn: int = 0
    entries: list[E] = field(default_factory=list)
    places: list[_Place] = field(default_factory=list)


class FairQueue(Generic[E]):
    """A first-in-first-out queue for each client, served round robin: one entry of each client in turn.

    A client with many entries therefore delays another client by one entry at most. Each entry gets a place
    when it is added: a client has one place in each round, and its first is in the round after the present
    one (as in start-time fair queueing, Goyal, Vin and Cheng 1996). So the place of an entry among all others
    is found in O(log n), and not by playing the rounds to come. `append()` and `popleft()` take constant
    time, but for one copy of memory, so that this can stand where asyncio.Queue keeps a deque.
    """

    def __init__(self) -> None:
        self._places: Ranking[_Place] = Ranking()
        self._lines: dict[str, _Line[E]] = {}
        self._round = 0
        """The round of the entry that left last."""
        self._turns = 0

    def __len__(self) -> int:
        return len(self._places)

    def append(self, entry: E) -> None:
        """Add an entry after the others of its client; a client that had none is served after all others."""
        line = self._lines.get(entry.client)
        if line is None:
            self._turns += 1
            line = self._lines[entry.client] = _Line(self._turns)
        last = line.places[-1][0] if line.places else self._round
        place = (last + 1, line.turn, entry.client)
        self._places.add(place)
        line.places.append(place)
        line.entries.append(entry)

    def popleft(self) -> E:
        """Remove the next entry. Raises IndexError when the queue is empty."""
        self._round, _, client = self._places.pop_first()
        line = self._lines[client]
        del line.places[0]
        return self._take(client, line, 0)

    def remove(self, entry: E) -> None:
        """Remove this entry; later ones of its client move up. Raises ValueError when it is not here."""
        line = self._line_of(entry)
        at = line.entries.index(entry)
        self._places.remove(line.places.pop())
        self._take(entry.client, line, at)

    def index(self, entry: E) -> int:
        """How many entries leave before this one. Raises ValueError when it is not in the queue.

        Linear in the length of its client's queue, and logarithmic in all others.
        """
        line = self._line_of(entry)
        return self._places.rank(line.places[line.entries.index(entry)])

    def first_of(self, client: str) -> int | None:
        """How many entries leave before the first of this client; None when it has none."""
        line = self._lines.get(client)
        return None if line is None else self._places.rank(line.places[0])

    def _line_of(self, entry: E) -> _Line[E]:
        return self._lines.get(entry.client) or _Line()

    def _take(self, client: str, line: _Line[E], at: int) -> E:
        """Remove an entry of a client, whose place was removed before."""
        entry = line.entries.pop(at)
        if not line.entries:
            del self._lines[client]
        return entry


class FairAsyncQueue(asyncio.Queue[E]):
    """An asyncio.Queue that serves clients round robin, through the three hooks meant for subclasses."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        # asyncio.Queue itself looks at `_queue` to know whether it is empty.
        self._queue = self.fair = FairQueue[E]()

    def _put(self, item: E) -> None:
        self.fair.append(item)

    def _get(self) -> E:
        return self.fair.popleft()
