"""The promises: which refused clients hold a turn, how many of them will come, and when to forget one."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

_MISSED = 1.0
"""Seconds past its turn at which a client is no longer reckoned with."""
_HONOURED = 30.0
"""Seconds past its turn for which a client that comes late still goes before newcomers."""
_PER_CLIENT = 10
_PER_NET = 64
_FEWEST = 0.25
"""The least share of clients to reckon with, however many stay away."""
_DOUBT, _MEMORY = 10, 200
"""Returns that the first measured one weighs against, and those that the share is measured over."""
_SPARE = 64


@dataclass(slots=True, eq=False)
class Reservation:
    """A place kept for one upload from the moment `due` on."""

    key: str
    client: str
    net: str
    due: float
    awaited: bool = False
    missed: bool = False
    token_waived: bool = False
    """Whether its client has come back and paid no token for it."""


class ReservationTable:
    """A table of turns by key, at most `capacity`, and few of one client or net. Times are the caller's.

    Each change is O(log n). A turn is *awaited* from the moment on when a place must be free for it. One that
    nobody used is *missed* a second later and forgotten after half a minute; the share of clients that do
    come back is measured from both.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.awaited = 0
        self.missed = 0
        self.returning = 1.0
        self._returns = _DOUBT
        self._reservations: dict[str, Reservation] = {}
        self._by_client: Counter[str] = Counter()
        self._by_net: Counter[str] = Counter()
        self._expiry: list[tuple[float, int, Reservation]] = []
        self._watched = 0

    def __len__(self) -> int:
        return len(self._reservations)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._reservations.values())

    def get(self, key: str) -> Reservation | None:
        """The turn that this upload holds."""
        return self._reservations.get(key)

    @property
    def expected(self) -> float:
        """How many of those who hold a turn will come."""
        return self.returning * (len(self._reservations) - self.missed)

    @property
    def expected_due(self) -> float:
        """How many of those will come who are awaited."""
        return self.returning * self.awaited

    def has_client(self, client: str) -> bool:
        """Whether any upload of this client holds a turn."""
        return client in self._by_client

    def has_room(self, client: str, net: str) -> bool:
        """Whether one more turn may be kept for this client."""
        return (
            len(self._reservations) < self.capacity
            and self._by_client[client] < _PER_CLIENT
            and self._by_net[net] < _PER_NET
        )

    def add(self, reservation: Reservation, awaited_in: float, now: float) -> None:
        """Remember a turn, to be awaited some seconds from `now`; the caller has asked for room."""
        self._reservations[reservation.key] = reservation
        self._by_client[reservation.client] += 1
        self._by_net[reservation.net] += 1
        if awaited_in > 0:
            self._schedule(reservation, now + awaited_in)
        else:
            self._await(reservation)

    def waive_token(self, key: str) -> None:
        """The upload that holds a turn pays no token, this once."""
        self._reservations[key].token_waived = True

    def cancel(self, reservation: Reservation) -> None:
        """A turn is over before it came up."""
        self._remove(reservation)

    def redeem(self, reservation: Reservation) -> None:
        """Its client came back: the turn is over."""
        self._remove(reservation)
        self._learn(1)

    def sweep(self, now: float) -> None:
        """Let time pass: turns that nobody used become missed, then forgotten."""
        while self._expiry and self._expiry[0][0] <= now:
            reservation = heappop(self._expiry)[2]
            if self._reservations.get(reservation.key) is not reservation:
                continue
            if reservation.missed:
                self._remove(reservation)
            elif not reservation.awaited:
                self._await(reservation)
            else:
                reservation.awaited, reservation.missed = False, True
                self.awaited -= 1
                self.missed += 1
                self._learn(0)
                self._schedule(reservation, reservation.due + _HONOURED)

    def seed(self, returning: float) -> None:
        """Start from a share of returns that was measured before."""
        self.returning = min(1.0, max(_FEWEST, returning))
        self._returns = _MEMORY

    def _learn(self, came: int) -> None:
        self._returns = min(_MEMORY, self._returns + 1)
        self.returning = max(_FEWEST, self.returning + (came - self.returning) / self._returns)

    def _await(self, reservation: Reservation) -> None:
        reservation.awaited = True
        self.awaited += 1
        self._schedule(reservation, reservation.due + _MISSED)

    def _remove(self, reservation: Reservation) -> None:
        del self._reservations[reservation.key]
        self.awaited -= reservation.awaited
        self.missed -= reservation.missed
        for count, name in ((self._by_client, reservation.client), (self._by_net, reservation.net)):
            count[name] -= 1
            if not count[name]:
                del count[name]

    def _schedule(self, reservation: Reservation, at: float) -> None:
        """Look at the turn again then. Used ones stay in the heap, but are never most of it."""
        if len(self._expiry) > 2 * len(self._reservations) + _SPARE:
            self._expiry = [
                entry for entry in self._expiry if self._reservations.get(entry[2].key) is entry[2]
            ]
            heapify(self._expiry)
        self._watched += 1
        heappush(self._expiry, (at, self._watched, reservation))
