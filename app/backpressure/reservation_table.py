"""The reservation table: who holds a reservation, how many of those will come, and when to forget one."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush

_MISSED_AFTER_S = 1.0
"""Seconds after its time at which a reservation counts as missed: no slot is kept for it any more."""
_HONOURED_S = 30.0
"""Seconds after its time for which a client that comes late still goes before those without reservation."""
_MAX_PER_CLIENT = 10
_MAX_PER_NETWORK = 64
_MIN_RETURN_RATE = 0.25
"""The share of clients that is counted on at least, however many stay away."""
_PRIOR_RETURNS, _MAX_RETURNS = 10, 200
"""Returns that the assumed share counts as, and returns that the measured share remembers."""
_MAX_STALE = 64
"""Entries of finished reservations that the heap may have beyond twice the size of the table."""


class ReservationState(StrEnum):
    """What a reservation means for others now."""

    AHEAD = "ahead"
    """Its time is so far ahead that no slot needs to be free for it yet."""
    AWAITED = "awaited"
    """A slot must be free for it."""
    MISSED = "missed"
    """Its client did not come in time. It is honoured for a while, but not counted on."""


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks to bring in which upload.

    `key` identifies the upload, so that several uploads of one client have a reservation each; `client` is
    its sender and `net` the wider network of that.
    """

    key: str
    client: str
    net: str


@dataclass(slots=True, eq=False)
class Reservation:
    """A slot that is kept for one upload from the moment `due` on."""

    requester: Requester
    due: float
    state: ReservationState = ReservationState.AHEAD
    token_waived: bool = False
    """Whether its client has come back already and was not charged a token."""


class ReservationTable:
    """At most `capacity` reservations by the keys of their uploads, and a few for each client and network.

    Times are in seconds of the caller's clock. Each change takes O(log n). Reservations that nobody uses pass
    through all states and disappear half a minute after their time. The share of clients that come back is
    measured from those that were used and those that were missed.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.return_rate = 1.0
        """The share of clients with a reservation that come back, as measured."""
        self._returns = _PRIOR_RETURNS
        self._reservations: dict[str, Reservation] = {}
        self._states = dict.fromkeys(ReservationState, 0)
        self._per_client: Counter[str] = Counter()
        self._per_net: Counter[str] = Counter()
        self._changes: list[tuple[float, int, Reservation]] = []
        """A heap of the moments at which reservations change their state."""
        self._scheduled = 0

    def __len__(self) -> int:
        return len(self._reservations)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._reservations.values())

    def get(self, key: str) -> Reservation | None:
        """The reservation of this upload."""
        return self._reservations.get(key)

    @property
    def awaited(self) -> int:
        """Reservations for which a slot must be free now."""
        return self._states[ReservationState.AWAITED]

    @property
    def missed(self) -> int:
        """Reservations whose clients did not come in time."""
        return self._states[ReservationState.MISSED]

    @property
    def expected(self) -> float:
        """How many clients with a reservation will come, sooner or later."""
        return self.return_rate * (len(self) - self.missed)

    @property
    def expected_due(self) -> float:
        """How many of the awaited clients will come."""
        return self.return_rate * self.awaited

    def has_client(self, client: str) -> bool:
        """Whether any upload of this client has a reservation."""
        return client in self._per_client

    def has_room(self, requester: Requester) -> bool:
        """Whether the table, the requester's client and its network may have one reservation more."""
        return (
            len(self) < self.capacity
            and self._per_client[requester.client] < _MAX_PER_CLIENT
            and self._per_net[requester.net] < _MAX_PER_NETWORK
        )

    def add(self, reservation: Reservation, now: float, awaited_from: float) -> None:
        """Add a reservation that is awaited from a moment on. Its upload must not have another one.

        Room is the caller's to check: after a restart, reservations that were made before are added anyway.
        """
        requester = reservation.requester
        self._reservations[requester.key] = reservation
        self._per_client[requester.client] += 1
        self._per_net[requester.net] += 1
        self._states[reservation.state] += 1
        if awaited_from <= now:
            self._set_awaited(reservation)
        else:
            self._schedule(reservation, awaited_from)

    def remove(self, reservation: Reservation) -> None:
        """Remove a reservation that nobody used."""
        requester = reservation.requester
        del self._reservations[requester.key]
        self._states[reservation.state] -= 1
        for counts, name in ((self._per_client, requester.client), (self._per_net, requester.net)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    def redeem(self, reservation: Reservation) -> None:
        """Remove a reservation whose client came back at its time or later."""
        self.remove(reservation)
        self._record_return(1.0)

    def sweep(self, now: float) -> None:
        """Make the changes of state that are due by now."""
        while self._changes and self._changes[0][0] <= now:
            reservation = heappop(self._changes)[2]
            if not self._is_current(reservation):
                continue
            match reservation.state:
                case ReservationState.AHEAD:
                    self._set_awaited(reservation)
                case ReservationState.AWAITED:
                    self._set_state(reservation, ReservationState.MISSED)
                    self._record_return(0.0)
                    self._schedule(reservation, reservation.due + _HONOURED_S)
                case ReservationState.MISSED:
                    self.remove(reservation)

    def seed(self, return_rate: float) -> None:
        """Start from a share of returns that an earlier process measured."""
        self.return_rate = min(1.0, max(_MIN_RETURN_RATE, return_rate))
        self._returns = _MAX_RETURNS

    def _record_return(self, returned: float) -> None:
        """Count a client that came back (1.0) or stayed away (0.0) in the share of returns."""
        self._returns = min(_MAX_RETURNS, self._returns + 1)
        measured = self.return_rate + (returned - self.return_rate) / self._returns
        self.return_rate = max(_MIN_RETURN_RATE, measured)

    def _set_awaited(self, reservation: Reservation) -> None:
        self._set_state(reservation, ReservationState.AWAITED)
        self._schedule(reservation, reservation.due + _MISSED_AFTER_S)

    def _set_state(self, reservation: Reservation, state: ReservationState) -> None:
        self._states[reservation.state] -= 1
        self._states[state] += 1
        reservation.state = state

    def _is_current(self, reservation: Reservation) -> bool:
        return self._reservations.get(reservation.requester.key) is reservation

    def _schedule(self, reservation: Reservation, at: float) -> None:
        """Change the state of the reservation at that moment.

        Removing an entry from the middle of a heap is slow, so those of removed reservations stay until their
        moment comes, or until most of the heap is made of them.
        """
        if len(self._changes) > 2 * len(self) + _MAX_STALE:
            self._changes = [change for change in self._changes if self._is_current(change[2])]
            heapify(self._changes)
        self._scheduled += 1  # orders changes of the same moment, for reservations cannot be compared
        heappush(self._changes, (at, self._scheduled, reservation))
