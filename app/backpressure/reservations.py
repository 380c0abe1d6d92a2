"""Reservations: a Retry-After that keeps a place.

A refused upload gets a reservation: the next second in which, at the measured drain rate, a slot comes free
that is not reserved for another, remembered under a key of the upload. A client that comes back at its time
goes before all that have no reservation. If no slot is free in that second, it waits a little with its body
unread, and gets the next slot.

Uploads without reservation are admitted only where there is room for them beside all that have one, or where
the workers would run out of work. A client that comes early is told the same moment again, so that asking
more often gains nothing, unless the workers are about to be idle: then whoever is there gets in. The asyncio
half of this is `waiting_room`.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from app.backpressure.reservation_table import Requester, Reservation, ReservationTable

_MAX_AHEAD_S = 3600.0
"""How far ahead a client may be told to come back."""
_WAIT_TIMEOUT_S = 8.0
"""How long a client with a reservation waits for a slot."""
_MAX_WAITING = 512
"""Clients that wait for a slot at once."""
_MIN_WORK_S = 0.6
"""Seconds of queued work, beside one job for each worker, below which a free slot is never kept empty."""
_SLACK_S = 1.0
"""How much earlier than it must be a slot is kept free."""
_SPACING = 1.02
"""Reservations lie further apart than slots come free by this factor, about the error of a measured rate."""


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """The state of the upload queue when somebody asks to come in; all are numbers of jobs or uploads.

    `load` counts the jobs that wait and the uploads that soon will, `free_slots` how many uploads more may
    come in beside those, and `unreserved_slots` how many may while there is no reservation.
    """

    load: int
    free_slots: int
    unreserved_slots: int


@dataclass(frozen=True, slots=True)
class Admit:
    """The upload may take a slot now."""


@dataclass(frozen=True, slots=True, eq=False)
class Wait:
    """The upload may wait for a slot until the moment `until`.

    Ends with `next_waiter()`, `cancel_wait()` or `expire_wait()`, which are given this very object.
    """

    requester: Requester
    until: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """The upload shall come back in `retry_after` whole seconds; `reserved`: a slot is kept for it then."""

    retry_after: int
    reserved: bool = True


Decision = Admit | Wait | Refuse


@dataclass(frozen=True, slots=True)
class ReservationsSnapshot:
    """There are `outstanding` reservations, at most `capacity`.

    For `awaited` ones a slot is kept free, `missed` ones were not used in time. `waiting` clients wait for a
    slot, `return_rate` is the share of clients that come back, and `due` has how many are to in each second.
    """

    outstanding: int
    awaited: int
    missed: int
    capacity: int
    waiting: int
    return_rate: float
    due: list[int]


class Reservations:
    """Admits uploads, or tells them when to come back; holds at most `max_clients` reservations.

    Invariant: of the clients that come back, no more are due by any moment than there are free slots now and
    jobs that drain until then, but for the rounding to whole seconds. Where no reservation can be made,
    refusals are still spread out at the drain rate.

    Most callers want `request()`. They ask `waive_token()` before they charge the client a token, and offer
    each slot that comes free to `next_waiter()`.
    """

    def __init__(
        self,
        workers: int,
        capacity: int,
        rate: Callable[[], float],
        max_clients: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`capacity` jobs may wait; `rate()` gives how many leave per second while all workers are busy."""
        self._workers = workers
        self._capacity = capacity
        self._rate = rate
        self._clock = clock
        self._table = ReservationTable(max_clients)
        self._waiting: dict[Wait, None] = {}  # an ordered set: the client that has waited longest is first
        self._last_unreserved = -math.inf  # the latest moment that a client without reservation was told

    def resize(self, workers: int, capacity: int) -> None:
        """Change the size of the service. Reservations that were made stay as they are."""
        self._workers, self._capacity = workers, capacity

    def is_due(self, key: str) -> bool:
        """Whether this upload comes back at its time and owes no token for that."""
        return self._find_due(key) is not None

    def waive_token(self, key: str) -> bool:
        """As `is_due()`, but once for each reservation: a client that asks again is charged a token."""
        reservation = self._find_due(key)
        if reservation is None:
            return False
        reservation.token_waived = True
        return True

    def request(self, requester: Requester, queue: QueueLoad, *, not_before: float = 0) -> Decision:
        """Decide on an upload. A client that is refused is told to stay away for `not_before` s at least."""
        now = self._now()
        reservation = self._table.get(requester.key)
        if self._is_idle(queue):  # so those that were told to come without a reservation stay away
            self._last_unreserved = -math.inf
        if reservation is None:
            if self._admits_unreserved(requester.client, queue):
                return Admit()
        elif reservation.due <= now:
            self._table.redeem(reservation)
            if queue.free_slots > len(self._waiting):
                return Admit()
            if len(self._waiting) < _MAX_WAITING:
                wait = Wait(requester, now + _WAIT_TIMEOUT_S)
                self._waiting[wait] = None
                return wait
        elif self._is_idle(queue):
            self._table.redeem(reservation)
            return Admit()
        return self.refuse(requester, queue.free_slots, not_before=not_before)

    def refuse(
        self, requester: Requester, free_slots: int, *, reopens_in: float = 0, not_before: float = 0
    ) -> Refuse:
        """Refuse an upload: nobody is admitted for `reopens_in` s, this client not for `not_before` s."""
        now = self._now()
        reservation = self._table.get(requester.key)
        if reservation is not None:
            if now < reservation.due:
                return self._refuse_early(reservation, now, not_before)
            self._table.redeem(reservation)
        rate, table = self._rate(), self._table
        # All that wait or will come back fill the free slots before this client; the others have to drain.
        ahead = _SPACING * table.expected + len(self._waiting) - free_slots
        drained_in = max(0.0, ahead / rate - 1)  # a second less, for seconds are rounded up
        earliest = max(1, _whole_seconds(max(0.0, reopens_in) + drained_in))
        seconds = max(earliest, _whole_seconds(not_before))
        seconds += table.first_free(now + seconds, rate / _SPACING)
        if table.has_room(requester) and seconds <= _MAX_AHEAD_S:
            self._add(Reservation(requester, now + seconds), now)
            return Refuse(seconds)
        moment = max(now + earliest, self._last_unreserved + _SPACING * table.return_rate / rate)
        self._last_unreserved = min(moment, now + _MAX_AHEAD_S)
        return Refuse(_whole_seconds(max(self._last_unreserved - now, not_before)), reserved=False)

    def would_refuse(self, requester: Requester, queue: QueueLoad) -> bool:
        """Whether `request()` would refuse this upload now. Changes nothing."""
        now = self._now()
        reservation = self._table.get(requester.key)
        if reservation is None:
            return not self._admits_unreserved(requester.client, queue)
        if reservation.due <= now:
            return queue.free_slots <= len(self._waiting) >= _MAX_WAITING
        return not self._is_idle(queue)

    def next_waiter(self, free_slots: int) -> Wait | None:
        """Remove the client that has waited longest, if a slot is free: the slot is for this client."""
        if free_slots <= 0 or not self._waiting:
            return None
        oldest = next(iter(self._waiting))
        del self._waiting[oldest]
        return oldest

    def cancel_wait(self, wait: Wait) -> None:
        """The waiting client has gone. Does nothing when the wait has ended already."""
        self._waiting.pop(wait, None)

    def expire_wait(self, wait: Wait, free_slots: int, *, reopens_in: float = 0) -> Refuse:
        """End a wait without a slot. The client gets a new reservation."""
        self.cancel_wait(wait)
        return self.refuse(wait.requester, free_slots, reopens_in=reopens_in)

    def _now(self) -> float:
        now = self._clock()
        self._table.sweep(now)
        return now

    def _find_due(self, key: str) -> Reservation | None:
        now = self._now()
        reservation = self._table.get(key)
        if reservation is None or now < reservation.due or reservation.token_waived:
            return None
        return reservation

    def _admits_unreserved(self, client: str, queue: QueueLoad) -> bool:
        """Whether an upload without reservation may come in."""
        waiting, table = len(self._waiting), self._table
        free_slots = queue.free_slots - waiting
        is_unreserved = not waiting and not table.awaited and queue.unreserved_slots > 0
        if is_unreserved or free_slots > table.expected_due:
            return True
        if table.has_client(client):
            return self._is_idle(queue)
        needed = self._workers + _MIN_WORK_S * self._rate()
        return free_slots > 0 and queue.load + waiting < needed

    def _is_idle(self, queue: QueueLoad) -> bool:
        """Whether the workers are about to run out of work: there is less than one job to come for each."""
        return queue.free_slots > len(self._waiting) and queue.load + len(self._waiting) < self._workers

    def _refuse_early(self, reservation: Reservation, now: float, not_before: float) -> Refuse:
        """Tell a client that comes early the same moment, or a later one if it has no token before."""
        remaining = reservation.due - now
        seconds = _whole_seconds(max(remaining, not_before))
        if not_before > remaining:
            self._table.remove(reservation)
            self._add(Reservation(reservation.requester, now + seconds), now)
        return Refuse(seconds)

    def _add(self, reservation: Reservation, now: float) -> None:
        """Add a reservation. No slot is kept for it before all that may wait now has had time to drain."""
        drain_s = self._capacity / self._rate()
        self._table.add(reservation, now, awaited_from=reservation.due - drain_s - _SLACK_S)

    def export(self, wall: float) -> dict[str, Any]:
        """All reservations as data for JSON, for the next process; `wall` is the time of day in seconds.

        The keys are a stored format, older than the names in this module: "turns" are the reservations,
        "tail_s" is the latest of them (for earlier versions), "returning" the share of clients that return.
        """
        now = self._now()
        return {
            "at": wall,
            "tail_s": max((each.due - now for each in self._table), default=0.0),
            "returning": self._table.return_rate,
            "turns": [
                [each.requester.key, each.requester.client, each.requester.net, each.due - now]
                for each in self._table
            ],
        }

    def restore(self, state: dict[str, Any], wall: float) -> Iterator[None]:
        """Take over what an earlier process exported. Reservations whose time came meanwhile are due now.

        There may be a hundred thousand, so this is a generator that pauses after each.

        Raises:
            KeyError, TypeError, ValueError: this is not what `export()` gave; nothing was changed.
        """
        now, table, reservations = self._now(), self._table, []
        elapsed = max(0.0, wall - state["at"])
        for key, client, net, due_s in islice(state["turns"], table.capacity - len(table)):
            due = now + min(_MAX_AHEAD_S, max(0.0, due_s - elapsed))
            reservations.append(Reservation(Requester(str(key), str(client), str(net)), due))
            yield
        table.seed(state["returning"])
        for reservation in reservations:
            if table.get(reservation.requester.key) is None:
                self._add(reservation, now)
            yield

    def snapshot(self) -> ReservationsSnapshot:
        """The state now."""
        table, due = self._table, self._table.due(self._now())
        counts = len(table), table.awaited, table.missed, table.capacity, len(self._waiting)
        return ReservationsSnapshot(*counts, round(table.return_rate, 3), due)


def _whole_seconds(seconds: float) -> int:
    """Rounded up, except for the small errors that sums of floats have."""
    return math.ceil(round(seconds, 6))
