"""The fair queue: waiting jobs leave round robin over clients, not first come first served."""

import asyncio
import itertools
from bisect import bisect_left
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
    """The entries of one client in their order; one leaves in each round, the first in `first_round`.

    Clients take their turns in the order in which they came.
    """

    client: str
    turn: int
    first_round: int
    entries: list[E] = field(default_factory=list)

    def place(self, at: int) -> _Place:
        """When the entry leaves that has `at` others of its client before it."""
        return self.first_round + at, self.turn, self.client


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
        self._numbers: dict[E, int] = {}
        """Entries in the order in which they came."""
        self._round = 0
        """The round of the entry that left last."""
        self._turns = itertools.count()
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._places)

    def append(self, entry: E) -> None:
        """Add an entry after the others of its client; a client that had none is served after all others."""
        line = self._lines.get(entry.client)
        if line is None:
            line = self._lines[entry.client] = _Line(entry.client, next(self._turns), self._round + 1)
        self._places.add(line.place(len(line.entries)))
        line.entries.append(entry)
        self._numbers[entry] = next(self._arrivals)

    def popleft(self) -> E:
        """Remove the next entry. Raises IndexError when the queue is empty."""
        self._round, _, client = self._places.pop_first()
        line = self._lines[client]
        line.first_round += 1
        return self._take(line, 0)

    def remove(self, entry: E) -> None:
        """Remove this entry; later ones of its client move up. Raises ValueError when it is not here."""
        line, at = self._find(entry)
        self._places.remove(line.place(len(line.entries) - 1))
        self._take(line, at)

    def index(self, entry: E) -> int:
        """How many entries leave before this one. Raises ValueError when it is not in the queue."""
        line, at = self._find(entry)
        return self._places.rank(line.place(at))

    def first_of(self, client: str) -> int | None:
        """How many entries leave before the first of this client; None when it has none."""
        line = self._lines.get(client)
        return None if line is None else self._places.rank(line.place(0))

    def _find(self, entry: E) -> tuple[_Line[E], int]:
        """The line of an entry, and how many of its client are before it. Raises ValueError."""
        number = self._numbers.get(entry)
        if number is None:
            raise ValueError("this entry is not in the queue")
        line = self._lines[entry.client]
        return line, bisect_left(line.entries, number, key=self._numbers.__getitem__)

    def _take(self, line: _Line[E], at: int) -> E:
        """Remove an entry of a client, whose place was removed before."""
        entry = line.entries.pop(at)
        del self._numbers[entry]
        if not line.entries:
            del self._lines[line.client]
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
