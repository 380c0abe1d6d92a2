"""The reservation table: who holds a reservation, how many of those will come, and when to forget one."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heapify, heappop, heappush

from app.backpressure.reservation_calendar import ReservationCalendar

_MISSED_AFTER_S = 1.0
"""Seconds after its time at which a reservation counts as missed: no slot is kept for it any more."""
_HONOURED_S = 30.0
"""Seconds after its time for which a client that comes late still goes before those without reservation."""
SHOWN_S = 60
"""Seconds of which a snapshot tells how many reservations are due."""
_MAX_PER_CLIENT = 10
_MAX_PER_NETWORK = 64
_MAX_MISSES_PER_NETWORK = 3
"""Reservations of one network that are missed in a row before its others are not counted on any more."""
_MIN_RETURN_RATE = 0.25
"""The share of clients that is counted on at least, however many stay away."""
_PRIOR_RETURNS, _MAX_RETURNS = 10, 200
"""Returns that the assumed share counts as, and returns that the measured share remembers."""
_MAX_CHANGES = 500
"""Changes of state that are made at once: of a hundred thousand that are due together, 3 ms of work."""
_MAX_STALE = 64
"""Entries of finished reservations that the heap may have beyond twice the size of the table."""


class ReservationState(StrEnum):
    """What a reservation means for others now."""

    AHEAD = "ahead"
    """Its time is so far ahead that no slot needs to be free for it yet."""
    AWAITED = "awaited"
    """A slot must be free for it."""
    MISSED = "missed"
    """Its client did not come in time, or others of its network did not. It is honoured when its client
    comes after all, but no slot is kept for it."""


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
    change: int = 0
    """The number of its next change of state. A change with another number was overtaken."""


_Change = tuple[float, int, Reservation]
"""A moment at which a reservation changes its state, and the number of the change."""


@dataclass(slots=True)
class _Network:
    """The reservations of one network, and how many were missed since one of its clients came back."""

    reservations: list[Reservation] = field(default_factory=list)
    misses: int = 0


class ReservationTable:
    """At most `capacity` reservations by the keys of their uploads, and a few for each client and network.

    Times are in seconds of the caller's clock. Each change takes O(log n). Reservations that nobody uses pass
    through all states and disappear half a minute after their time. The share of clients that come back is
    measured from those that were used and those that were missed.

    A network of which nobody comes back is found out by its first few reservations, and the others are then
    counted as missed before their time. Else whoever leaves reservations from many addresses could keep the
    moments of the next minutes from everybody.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.return_rate = 1.0
        """The share of clients with a reservation that come back, as measured."""
        self._returns = _PRIOR_RETURNS
        self._reservations: dict[str, Reservation] = {}
        self._states = dict.fromkeys(ReservationState, 0)
        self._per_client: Counter[str] = Counter()
        self._networks: dict[str, _Network] = {}
        self._calendar = ReservationCalendar()
        self._changes: list[_Change] = []
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
        """How many clients with a reservation will come, at their time or later."""
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
        network = self._networks.get(requester.net)
        return (
            len(self) < self.capacity
            and self._per_client[requester.client] < _MAX_PER_CLIENT
            and (network is None or len(network.reservations) < _MAX_PER_NETWORK)
        )

    def first_free(self, moment: float, max_per_s: float) -> int:
        """Whole seconds after `moment` until a second comes in which less than `max_per_s` are expected."""
        second = int(moment)
        return self._calendar.first_below(second, max_per_s / self.return_rate) - second

    def due(self, moment: float) -> list[int]:
        """How many reservations are due in each of the `SHOWN_S` seconds from this moment on."""
        return self._calendar.counts(int(moment), SHOWN_S)

    def add(self, reservation: Reservation, now: float, awaited_from: float) -> None:
        """Add a reservation that is awaited from a moment on. Its upload must not have another one.

        Room is the caller's to check: after a restart, reservations that were made before are added anyway.
        """
        requester = reservation.requester
        self._reservations[requester.key] = reservation
        self._per_client[requester.client] += 1
        network = self._networks.setdefault(requester.net, _Network())
        network.reservations.append(reservation)
        self._states[reservation.state] += 1
        self._calendar.add(int(reservation.due), 1)
        if network.misses >= _MAX_MISSES_PER_NETWORK:
            self._set_missed(reservation)
        elif awaited_from <= now:
            self._set_awaited(reservation)
        else:
            self._schedule(reservation, awaited_from)

    def remove(self, reservation: Reservation) -> None:
        """Remove a reservation that nobody used."""
        requester = reservation.requester
        del self._reservations[requester.key]
        self._states[reservation.state] -= 1
        if reservation.state is not ReservationState.MISSED:
            self._calendar.add(int(reservation.due), -1)
        self._per_client[requester.client] -= 1
        if not self._per_client[requester.client]:
            del self._per_client[requester.client]
        network = self._networks[requester.net]
        network.reservations.remove(reservation)
        if not network.reservations:
            del self._networks[requester.net]

    def redeem(self, reservation: Reservation) -> None:
        """Remove a reservation whose client came back and gets a slot, or may wait for one."""
        self._networks[reservation.requester.net].misses = 0
        self.remove(reservation)
        self._record_return(1.0)

    def sweep(self, now: float) -> None:
        """Make the changes of state that are due by now, some hundreds of them; the next call goes on."""
        for _ in range(_MAX_CHANGES):
            if not self._changes or self._changes[0][0] > now:
                return
            change = heappop(self._changes)
            if not self._is_current(change):
                continue
            reservation = change[2]
            match reservation.state:
                case ReservationState.AHEAD:
                    self._set_awaited(reservation)
                case ReservationState.AWAITED:
                    self._set_missed(reservation)
                    self._count_miss(self._networks[reservation.requester.net])
                case ReservationState.MISSED:
                    self.remove(reservation)

    def seed(self, return_rate: float) -> None:
        """Start from a share of returns that an earlier process measured."""
        self.return_rate = min(1.0, max(_MIN_RETURN_RATE, return_rate))
        self._returns = _MAX_RETURNS

    def _count_miss(self, network: _Network) -> None:
        """Count a client that stayed away. A network counts once in the share of returns until one comes."""
        network.misses += 1
        if network.misses == 1:
            self._record_return(0.0)
        elif network.misses == _MAX_MISSES_PER_NETWORK:
            for reservation in network.reservations:
                if reservation.state is not ReservationState.MISSED:
                    self._set_missed(reservation)

    def _record_return(self, returned: float) -> None:
        """Count a client that came back (1.0) or stayed away (0.0) in the share of returns."""
        self._returns = min(_MAX_RETURNS, self._returns + 1)
        measured = self.return_rate + (returned - self.return_rate) / self._returns
        self.return_rate = max(_MIN_RETURN_RATE, measured)

    def _set_awaited(self, reservation: Reservation) -> None:
        self._set_state(reservation, ReservationState.AWAITED)
        self._schedule(reservation, reservation.due + _MISSED_AFTER_S)

    def _set_missed(self, reservation: Reservation) -> None:
        self._set_state(reservation, ReservationState.MISSED)
        self._calendar.add(int(reservation.due), -1)
        self._schedule(reservation, reservation.due + _HONOURED_S)

    def _set_state(self, reservation: Reservation, state: ReservationState) -> None:
        self._states[reservation.state] -= 1
        self._states[state] += 1
        reservation.state = state

    def _is_current(self, change: _Change) -> bool:
        _, number, reservation = change
        return number == reservation.change and self.get(reservation.requester.key) is reservation

    def _schedule(self, reservation: Reservation, at: float) -> None:
        """Change the state of the reservation at that moment, and not when it was to change before.

        Removing an entry from the middle of a heap is slow, so those that are not current any more stay until
        their moment comes, or until most of the heap is made of them.
        """
        if len(self._changes) > 2 * len(self) + _MAX_STALE:
            self._changes = [change for change in self._changes if self._is_current(change)]
            heapify(self._changes)
        self._scheduled += 1  # orders changes of the same moment too, for reservations cannot be compared
        reservation.change = self._scheduled
        heappush(self._changes, (at, self._scheduled, reservation))
